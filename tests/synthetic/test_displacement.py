"""How far an MR lies from its place, on a head whose uptake follows its MR in a way of its own."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from csrd.synthetic.displacement import displacement

VOXEL_MM = 2.5


@pytest.fixture(scope="module")
def scan() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A PET with noise whose uptake rises and then falls with the MR, the MR, and the head."""
    rng = np.random.default_rng(3)
    mr = ndimage.gaussian_filter(rng.normal(0, 1, (56, 60, 52)), 2)
    mr = 1 + 0.4 * mr / mr.std()
    uptake = 1.5 - 2 * (mr - 1.2) ** 2
    pet = ndimage.gaussian_filter(uptake, 6 / 2.355 / VOXEL_MM) + 0.3 * rng.normal(0, 1, mr.shape)
    mask = np.zeros(mr.shape, bool)
    mask[8:-8, 8:-8, 8:-8] = True
    return torch.tensor(pet, dtype=torch.float32), torch.tensor(mr, dtype=torch.float32), torch.tensor(mask)


def test_an_mr_in_its_place_is_found_there(scan):
    assert displacement(*scan, VOXEL_MM).norm() < 0.3


@pytest.mark.parametrize("axis, voxels", [(0, 1), (1, -1), (2, 1), (2, -2)])
def test_the_direction_and_about_the_distance_of_a_displacement_are_found(scan, axis, voxels):
    pet, mr, mask = scan
    found = displacement(pet, mr.roll(voxels, axis), mask, VOXEL_MM)
    others = [float(found[other].abs()) for other in range(3) if other != axis]
    assert np.sign(float(found[axis])) == np.sign(voxels) and max(others) < 1
    assert abs(float(found[axis])) > 0.6 * abs(voxels) * VOXEL_MM


def test_fine_voxels_are_skipped_with_the_same_result(scan):
    pet, mr, mask = (
        part.repeat_interleave(2, 0).repeat_interleave(2, 1).repeat_interleave(2, 2) for part in scan
    )
    assert torch.allclose(displacement(pet, mr, mask, VOXEL_MM / 2), displacement(*scan, VOXEL_MM))


def test_an_mr_that_explains_nothing_has_no_place(scan):
    pet, mr, mask = scan
    other = torch.rand(mr.shape, generator=torch.Generator().manual_seed(1))
    assert displacement(pet, other, mask, VOXEL_MM) is None

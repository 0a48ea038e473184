"""The axial slices that texture and perceptual metrics see."""

import numpy as np
import pytest

from csrd.io.volume import Volume
from csrd.metrics.metric import Reference

SHAPE = (20, 30, 8)


@pytest.fixture
def reference() -> Reference:
    array = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE) + 1
    mask = np.zeros(SHAPE, bool)
    mask[2:12, 5:25, 3:6] = True
    return Reference(Volume(array, np.diag([2.0, 2, 2, 1])), mask)


def test_the_box_is_grown_to_multiples_of_16_on_both_sides(reference):
    slices = reference.slices(reference.pet.array)
    assert slices.shape == (3, 32, 16)  # slices 3 to 5; 20 rows grow to 32, 10 columns to 16
    rows, columns = (np.flatnonzero(slices.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    assert (rows[0], rows[-1]) == (6, 25) and (columns[0], columns[-1]) == (3, 12)


def test_front_is_up_and_outside_the_mask_is_zero(reference):
    slices = reference.slices(reference.pet.array)
    assert (
        slices[0, 6, 3] == reference.pet.array[2, 24, 3]
    )  # upper left: the most anterior row, the leftmost column
    assert np.count_nonzero(slices) == reference.mask.sum()


@pytest.mark.parametrize("flip", [0, 1, 2])
def test_flipped_arrays_of_the_same_head_give_the_same_slices(reference, flip):
    affine = reference.pet.affine.copy()
    affine[:3, 3] += affine[:3, flip] * (SHAPE[flip] - 1)
    affine[:3, flip] *= -1
    turned = Volume(np.flip(reference.pet.array, flip), affine)
    other = Reference(turned, np.flip(reference.mask, flip))
    assert np.array_equal(other.slices(turned.array), reference.slices(reference.pet.array))

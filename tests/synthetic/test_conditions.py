"""What a network is shown of a scan of unknown dose, on noise and images whose figures are known."""

import math

import pytest
import torch

from csrd.synthetic.conditions import bands, conditions, noise_level, residual_unit
from csrd.synthetic.guided import guided

VOXEL_MM = 2.0


@pytest.fixture
def noisy() -> torch.Tensor:
    """Return a mean of 1 with white noise of 0.2, (48, 48, 48)."""
    return 1 + 0.2 * torch.randn(48, 48, 48, generator=torch.Generator().manual_seed(1))


def test_the_level_of_white_noise_is_its_deviation(noisy):
    """A Gaussian of σ voxels leaves (4π σ²)^(-3/2) of white noise's variance, and 2 (2π σ²)^(-3/2) of its
    product with the noise itself: for σ = 3, 0.9944 of the deviation are finer than the filter."""
    sigma = 6.0 / VOXEL_MM
    left = 1 - 2 * (2 * math.pi * sigma**2) ** -1.5 + (4 * math.pi * sigma**2) ** -1.5
    level = noise_level(noisy, torch.ones(48, 48, 48, dtype=torch.bool), VOXEL_MM)
    assert float(level) == pytest.approx(0.2 * math.sqrt(left), rel=0.01)


def test_the_level_is_that_inside_the_mask(noisy):
    mask = torch.zeros(48, 48, 48, dtype=torch.bool)
    mask[8:40, 8:40, 8:40] = True
    loud = torch.where(mask, noisy, 5 * noisy)
    assert float(noise_level(noisy, mask, VOXEL_MM)) == pytest.approx(0.2, rel=0.03)
    assert float(noise_level(loud, ~mask, VOXEL_MM)) > 0.8


def test_bands_vanish_where_nothing_is_fine_and_add_up_to_what_is():
    flat = torch.full((32, 32, 32), 3.0)
    assert bands(flat, 0.5, VOXEL_MM).abs().max() < 1e-5
    point = torch.zeros(32, 32, 32)
    point[16, 16, 16] = 1.0
    found = bands(point, 0.5, VOXEL_MM)
    # a Gaussian of 5 mm keeps (2π)^(-3/2) / 2.5³ of a point's peak; the bands have the rest, in units of 0.5
    assert float(found.sum(0)[16, 16, 16]) == pytest.approx(
        (1 - (2 * math.pi) ** -1.5 / 2.5**3) / 0.5, rel=1e-3
    )
    assert float(found.sum()) == pytest.approx(0, abs=1e-3)


def test_without_an_mr_its_channels_are_empty(noisy):
    level = torch.tensor(0.2)
    without, with_mr = conditions(noisy, None, level, VOXEL_MM), conditions(noisy, noisy, level, VOXEL_MM)
    assert without.shape == with_mr.shape == (9, 48, 48, 48)
    assert (without[1:3] == 0).all() and torch.equal(with_mr[1], noisy) and (with_mr[2] == 1).all()
    assert torch.equal(without[[0, 3, 4]], with_mr[[0, 3, 4]])
    unit = residual_unit(level)
    assert torch.equal(without[3:5], bands(noisy, unit, VOXEL_MM))
    assert torch.allclose(with_mr[5:] * unit, noisy - guided(noisy, noisy, VOXEL_MM), atol=1e-6)

import math

import pytest
import torch

from csrd.diffusion.loss import NoiseLevels, residual_loss
from csrd.diffusion.precondition import Denoiser

SIGMA_DATA, SPREAD = 0.5, 0.8
VOXELS = (1, 40, 40, 40)
"""Of one patch: the variance of a Gaussian is then known to 0.6 % (one standard deviation)."""


def loss_of(denoiser: Denoiser, sigma: float) -> float:
    generator = torch.Generator().manual_seed(0)
    y, n = torch.randn(2, 1, *VOXELS, generator=generator)
    return float(
        residual_loss(denoiser, SPREAD * y, torch.zeros_like(y), torch.zeros(1), torch.tensor([sigma]), n)
    )


@pytest.mark.parametrize("sigma", [0.05, 0.5, 5.0])
def test_loss_of_a_network_that_says_nothing(zero, sigma):
    # D = c_skip (y + n)
    skip = SIGMA_DATA**2 / (sigma**2 + SIGMA_DATA**2)
    error = (1 - skip) ** 2 * SPREAD**2 + skip**2 * sigma**2
    expected = error * (1 / sigma**2 + 1 / SIGMA_DATA**2)
    assert loss_of(Denoiser(zero, SIGMA_DATA), sigma) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("sigma", [0.05, 0.5, 5.0])
def test_loss_of_the_best_network_is_the_posterior_variance(ideal, sigma):
    variance = 1 / (1 / SPREAD**2 + 1 / sigma**2)
    expected = variance * (1 / sigma**2 + 1 / SIGMA_DATA**2)
    assert loss_of(ideal(SPREAD, SIGMA_DATA), sigma) == pytest.approx(expected, rel=0.03)


def test_loss_of_a_blank_patch_is_the_residuals_own_variance(zero):
    denoiser = Denoiser(zero, SIGMA_DATA)
    assert loss_of(denoiser, denoiser.blank) == pytest.approx(SPREAD**2 / SIGMA_DATA**2, rel=0.03)
    assert zero.x[:, 0].abs().max() == 0


def test_each_patch_has_its_own_loss(ideal):
    denoiser = ideal(SPREAD, SIGMA_DATA)
    y, n = torch.randn(2, 3, 1, 4, 5, 6)
    sigma = torch.tensor([0.1, 1.0, denoiser.blank])
    together = residual_loss(denoiser, y, torch.zeros_like(y), torch.zeros(3), sigma, n)
    assert together.shape == (3,)
    for i in range(3):
        one = slice(i, i + 1)
        alone = residual_loss(denoiser, y[one], torch.zeros_like(y[one]), torch.zeros(1), sigma[one], n[one])
        torch.testing.assert_close(together[one], alone)


def test_noise_levels_are_lognormal_and_a_share_is_blank(zero):
    denoiser, n = Denoiser(zero, SIGMA_DATA), 100_000
    drawn = NoiseLevels(-0.7, 1.4, 0.3).draw(n, denoiser, torch.Generator().manual_seed(0))
    blank = drawn == denoiser.blank
    assert blank.float().mean() == pytest.approx(0.3, abs=5 * math.sqrt(0.21 / n))
    logarithm = drawn[~blank].log()
    assert logarithm.mean() == pytest.approx(-0.7, abs=5 * 1.4 / math.sqrt(0.7 * n))
    assert logarithm.std() == pytest.approx(1.4, rel=5 / math.sqrt(1.4 * n))
    skew = ((logarithm - logarithm.mean()) / logarithm.std()).pow(3).mean()
    assert abs(skew) < 5 * math.sqrt(6 / (0.7 * n))


def test_without_a_share_nothing_is_blank(zero):
    denoiser = Denoiser(zero, SIGMA_DATA)
    assert (NoiseLevels(0, 1).draw(1000, denoiser, torch.Generator()) < denoiser.blank).all()

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from csrd.diffusion.loss import weight
from csrd.diffusion.precondition import BLANK, Denoiser, c_in, c_noise, c_out, c_skip

LEVEL = st.floats(1e-3, 1e2)


def double(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


@given(LEVEL, LEVEL)
def test_the_network_sees_unit_variance(sigma, sigma_data):
    assert float(c_in(double(sigma), sigma_data)) ** 2 * (sigma**2 + sigma_data**2) == pytest.approx(1)


@given(LEVEL, LEVEL)
def test_the_network_aims_at_unit_variance(sigma, sigma_data):
    # F's target is (y − c_skip (y + n)) / c_out, with y and n independent
    skip, out = float(c_skip(double(sigma), sigma_data)), float(c_out(double(sigma), sigma_data))
    assert ((1 - skip) ** 2 * sigma_data**2 + skip**2 * sigma**2) / out**2 == pytest.approx(1)


@given(LEVEL, LEVEL)
def test_c_skip_is_the_one_that_amplifies_errors_least(sigma, sigma_data):
    # EDM, appendix B.6: c_out² = (1 − c_skip)² σ_d² + c_skip² σ² is smallest there
    def error(skip: float) -> float:
        return (1 - skip) ** 2 * sigma_data**2 + skip**2 * sigma**2

    best = float(c_skip(double(sigma), sigma_data))
    assert error(best) <= min(error(best + 1e-3), error(best - 1e-3))


@given(LEVEL, LEVEL)
def test_the_weight_is_the_inverse_of_c_out_squared(sigma, sigma_data):
    product = weight(double(sigma), sigma_data) * c_out(double(sigma), sigma_data) ** 2
    assert float(product) == pytest.approx(1)


def test_the_noise_condition_is_a_quarter_of_the_logarithm():
    torch.testing.assert_close(
        c_noise(torch.tensor([1.0, math.e, 80.0])), torch.tensor([0, 0.25, 1.09550666])
    )


def test_the_denoiser_shows_scaled_residual_then_conditions(zero):
    r, conditions = torch.randn(2, 1, 3, 4, 5), torch.randn(2, 3, 3, 4, 5)
    sigma, dose = torch.tensor([0.1, 2.0]), torch.tensor([1.4, 2.3])
    out = Denoiser(zero, 0.5)(r, sigma, conditions, dose)
    for i, s in enumerate(sigma.tolist()):
        torch.testing.assert_close(zero.x[i, :1], r[i] / math.sqrt(s**2 + 0.25))
        torch.testing.assert_close(out[i], r[i] * 0.25 / (s**2 + 0.25))
    assert torch.equal(zero.x[:, 1:], conditions) and torch.equal(zero.dose, dose)
    torch.testing.assert_close(zero.noise, sigma.log() / 4)


def test_the_denoiser_of_gaussian_residuals(ideal):
    # the posterior mean of y ~ N(0, s²) given y + n, for a spread other than the one assumed
    r, sigma = torch.randn(2, 1, 3, 4, 5), torch.tensor([0.1, 2.0])
    out = ideal(0.8, 0.5)(r, sigma, torch.zeros_like(r), torch.zeros(2))
    shrink = 0.64 / (0.64 + sigma**2)
    torch.testing.assert_close(out, shrink.reshape(2, 1, 1, 1, 1) * r)


@pytest.mark.parametrize("sigma_data", [0.5, 0.37, 0.123])
def test_at_blank_the_residual_is_not_looked_at(small_network, sigma_data):
    denoiser = Denoiser(small_network, sigma_data)
    conditions, dose = torch.randn(1, 2, 8, 8, 8), torch.zeros(1)
    some, other = torch.randn(2, 1, 1, 8, 8, 8) * 1e3
    level = torch.full((1,), denoiser.blank)
    with torch.no_grad():
        answer = denoiser(some, level, conditions, dose)
        assert torch.equal(answer, denoiser(other, level, conditions, dose))
        assert answer.std() > 0.1 * sigma_data
        below = level * 0.999
        assert not torch.equal(
            denoiser(some, below, conditions, dose), denoiser(other, below, conditions, dose)
        )
    assert denoiser.blank == BLANK * sigma_data

import math

import pytest
import torch

from csrd.config import load
from csrd.diffusion.sampler import Churn, blend, heun, noise_levels

SPREAD = 0.8


def ideal(r: torch.Tensor, sigma: float) -> torch.Tensor:
    """Return the posterior mean of a residual ~ N(0, SPREAD²) of which r = residual + N(0, σ²) is known."""
    return r * SPREAD**2 / (SPREAD**2 + sigma**2)


def test_noise_levels_are_those_of_edm():
    sigmas = noise_levels(18, 0.002, 80.0, 7.0)
    assert len(sigmas) == 19 and sigmas[-1] == 0
    assert sigmas[0] == pytest.approx(80) and sigmas[-2] == pytest.approx(0.002)
    assert all(a > b for a, b in zip(sigmas, sigmas[1:], strict=False))
    # eq. 5: their seventh roots are evenly spaced
    roots = [s ** (1 / 7) for s in sigmas[:-1]]
    steps = [a - b for a, b in zip(roots, roots[1:], strict=False)]
    assert steps == pytest.approx([steps[0]] * 17)
    assert noise_levels(1, 0.002, 80.0) == [80.0, 0.0]


def test_the_ode_ends_where_it_must_and_at_second_order():
    # dr/dσ = σ r / (s² + σ²) has the solution r ∝ √(s² + σ²)
    start = torch.linspace(-2, 2, 9, dtype=torch.float64)
    exact = start * 10 * SPREAD / math.sqrt(SPREAD**2 + 10**2)
    errors = []
    for steps in (16, 32, 64, 128):
        # the last step, of Euler's method, errs by σ_min² / 2 s² only
        drawn = heun(ideal, start, noise_levels(steps, 1e-5, 10.0))
        errors.append(float((drawn - exact).abs().max() / exact.abs().max()))
    assert errors[-1] < 1e-3
    for coarse, fine in zip(errors, errors[1:], strict=False):
        assert 3.5 < coarse / fine < 4.7


def test_one_step_ends_at_the_denoised_noise():
    noise = torch.randn(1000)
    torch.testing.assert_close(heun(ideal, noise, [10.0, 0.0]), ideal(noise * 10, 10.0))


@pytest.mark.parametrize("S_noise", [1.0, 1.2])
def test_churn_keeps_the_variance(S_noise):
    n = 100_000
    generator = torch.Generator().manual_seed(0)

    def noise(_: int = 0) -> torch.Tensor:
        return torch.randn(n, generator=generator)

    churn = Churn(S_churn=20, S_min=0.01, S_max=5.0, S_noise=S_noise)
    drawn = heun(ideal, noise(), noise_levels(100, 1e-3, 20.0), churn, noise)
    ratio = float(drawn.var()) / SPREAD**2
    if S_noise == 1:
        assert ratio == pytest.approx(1, abs=0.02)
    else:  # noise that is too strong is noticed
        assert ratio > 1.05


def test_churn_makes_a_sample_forget_its_start():
    n = 20_000
    start, sigmas = torch.randn(n, generator=torch.Generator().manual_seed(0)), noise_levels(100, 1e-3, 20.0)
    generator = torch.Generator().manual_seed(1)
    plain = heun(ideal, start, sigmas)
    churned = heun(ideal, start, sigmas, Churn(S_churn=40), lambda _: torch.randn(n, generator=generator))
    assert torch.corrcoef(torch.stack([plain, start]))[0, 1] > 0.999
    assert abs(torch.corrcoef(torch.stack([churned, start]))[0, 1]) < 0.1


@pytest.mark.parametrize("s", [0.1, 0.2, 0.3, 0.5])
def test_the_defaults_few_steps_keep_a_gaussian_posteriors_spread(s):
    """Around its mean, from σ_0 and not from √(σ_0² + s²), as the default starts."""
    sampler = load({}).csrd.sampler
    sigmas = noise_levels(sampler.steps, sampler.sigma_min, sampler.sigma_max, sampler.rho)
    mean, noise = 3.0, torch.tensor([-1.0, 0.0, 2.0])
    drawn = heun(lambda r, sigma: mean + (r - mean) * s**2 / (s**2 + sigma**2), noise, sigmas, centre=mean)
    torch.testing.assert_close(drawn - mean, s * noise, rtol=0.1, atol=1e-6)


def test_churn_acts_inside_its_limits_only():
    churn = Churn(S_churn=8, S_min=0.1, S_max=1.0)
    assert churn.gamma(0.099, 40) == churn.gamma(1.01, 40) == 0
    assert churn.gamma(0.1, 40) == churn.gamma(1.0, 40) == pytest.approx(0.2)
    assert churn.gamma(0.5, 4) == pytest.approx(math.sqrt(2) - 1)
    seen = []

    def fresh(i: int) -> torch.Tensor:
        seen.append(i)
        return torch.zeros(3)

    sigmas = noise_levels(40, 0.01, 10.0)
    heun(ideal, torch.randn(3), sigmas, churn, fresh)
    assert seen == [i for i, sigma in enumerate(sigmas) if 0.1 <= sigma <= 1]


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_evaluations_are_counted_right(steps):
    levels = []

    def counted(r: torch.Tensor, sigma: float) -> torch.Tensor:
        levels.append(sigma)
        return ideal(r, sigma)

    heun(counted, torch.randn(3), noise_levels(steps, 0.02, 10.0))
    assert len(levels) == 2 * steps - 1
    assert min(levels) > 0  # where the slope has no value


def test_single_precision_is_kept_outside_and_not_inside():
    """A thousand small steps in float32 would lose what float64 keeps."""
    seen = set()

    def noted(r: torch.Tensor, sigma: float) -> torch.Tensor:
        seen.add(r.dtype)
        return ideal(r, sigma)

    start, sigmas = torch.randn(100), noise_levels(300, 1e-3, 10.0)
    single = heun(noted, start, sigmas)
    assert single.dtype == torch.float32 and seen == {torch.float32}
    torch.testing.assert_close(single.double(), heun(ideal, start.double(), sigmas), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_a_blend_errs_by_one_plus_the_share_squared(share):
    # truth and sample are independent draws of the same posterior N(mean, 1)
    n = 400_000
    mean, truth, sample = torch.randn(3, n, generator=torch.Generator().manual_seed(0))
    out = blend(mean, mean + sample, share)
    assert (out - mean - truth).square().mean() == pytest.approx(1 + share**2, abs=0.02)
    assert (out - mean).var() == pytest.approx(share**2, abs=0.02)

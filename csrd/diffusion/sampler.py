"""The stochastic second-order sampler of the residual (paper, eq. 4; EDM, algorithm 2)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Denoise = Callable[[Tensor, float], Tensor]
"""A function of (r, σ) that returns D(r; σ) under fixed conditions."""


@dataclass(frozen=True)
class Churn:
    """Noise that is added afresh at steps with `S_min` ≤ σ ≤ `S_max` (EDM, section 4)."""

    S_churn: float = 0.0
    S_min: float = 0.0
    S_max: float = math.inf
    S_noise: float = 1.0

    def gamma(self, sigma: float, steps: int) -> float:
        """Return the fraction by which σ is raised before a step."""
        inside = self.S_min <= sigma <= self.S_max
        return min(self.S_churn / steps, math.sqrt(2) - 1) if inside else 0.0


def noise_levels(steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> list[float]:
    """Return σ_0 = σ_max > … > σ_{N−1} = σ_min > σ_N = 0 (EDM, eq. 5)."""
    if steps == 1:
        return [sigma_max, 0.0]
    first, last = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return [(first + i / (steps - 1) * (last - first)) ** rho for i in range(steps)] + [0.0]


def heun(
    denoise: Denoise,
    noise: Tensor,
    sigmas: list[float],
    churn: Churn | None = None,
    fresh: Callable[[int], Tensor] | None = None,
    centre: Tensor | float = 0.0,
) -> Tensor:
    """Return a residual drawn along dr = −σ̇ σ ∇ log p dt, σ(t) = t (paper, eq. 1 and 4), by Heun's method.

    `noise` has unit variance; `sigmas` is of `noise_levels`; `fresh(i)` is the unit noise that `churn` adds
    at step i. Sampling starts at `centre` + σ_0 `noise`: around 0, as in EDM, with σ_0 far above the
    residual's standard deviation; or around the posterior mean with twice that deviation, which saves most of
    the steps. The state is kept in double precision; the result has `noise`'s.
    """
    churn, steps = churn or Churn(), len(sigmas) - 1
    r = centre + noise.double() * sigmas[0]
    for i in range(steps):
        sigma, below = sigmas[i], sigmas[i + 1]
        if gamma := churn.gamma(sigma, steps):
            assert fresh is not None, "churn adds fresh noise"
            raised = sigma * (1 + gamma)
            r = r + math.sqrt(raised**2 - sigma**2) * churn.S_noise * fresh(i).double()
            sigma = raised
        slope = _slope(denoise, noise, r, sigma)
        euler = r + (below - sigma) * slope
        if below == 0:
            return euler.to(noise.dtype)
        r = r + (below - sigma) * (slope + _slope(denoise, noise, euler, below)) / 2
    raise AssertionError("sigmas does not end at 0")


def _slope(denoise: Denoise, noise: Tensor, r: Tensor, sigma: float) -> Tensor:
    """Return dr/dσ = (r − D(r; σ)) / σ, which is −σ times the score (paper, eq. 3)."""
    return (r - denoise(r.to(noise.dtype), sigma).double()) / sigma


def blend(mean: Tensor, sample: Tensor, fraction: float) -> Tensor:
    """Return mean + f · (sample − mean), f = `fraction`; its squared error is 1 + f² times the mean's.

    For a Gaussian posterior this line is the optimal trade-off between error and likeness to real images
    (Freirich 2021, eq. 12). Averaging K samples has the error and the texture of f = 1/√K.
    """
    return torch.lerp(mean, sample, fraction)

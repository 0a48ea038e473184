"""Power-function averages of the weights, their length chosen after training (Karras 2024, section 3).

At time t the average of exponent γ has weights p(τ) ∝ τ^γ for the parameters at time τ in [0, t]. Two
averages are tracked. Their snapshots during the training combine to an average of any other length.
"""

import math

import numpy as np
import torch
from torch import Tensor

TRACKED = (0.05, 0.10)
"""Relative standard deviations of the two averages that are tracked."""


def exponent(std: float) -> float:
    """Return γ of the average whose p(τ) has standard deviation `std` · t (Karras 2024, eq. 123).

    The distribution p ∝ τ^γ on [0, 1] has variance (γ + 1) / ((γ + 2)² (γ + 3)).
    """
    assert 0 < std < 0.28, f"a power function has no relative deviation of {std}"
    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        spread = math.sqrt((middle + 1) / ((middle + 2) ** 2 * (middle + 3)))
        low, high = (middle, high) if spread > std else (low, middle)
    return (low + high) / 2


def decay(step: int, std: float) -> float:
    """Return β of the update at step t = 1, 2, …: (1 − 1/t)^(γ + 1) (Karras 2024, eq. 127)."""
    return (1 - 1 / step) ** (exponent(std) + 1)


@torch.no_grad()
def update(average: list[Tensor], weights: list[Tensor], beta: float) -> None:
    """Move the average towards the weights, in place."""
    torch._foreach_lerp_(average, weights, 1 - beta)


def coefficients(times: list[float], stds: list[float], time: float, std: float) -> np.ndarray:
    """Return how to sum snapshots (of `stds` at `times`) for the average of length `std` at `time`.

    Least squares between the weighings, with their inner products in closed form (Karras 2024, appendix C).
    """
    gammas = [exponent(s) for s in stds]
    target = exponent(std)
    among = [[_product(ta, ga, tb, gb) for tb, gb in zip(times, gammas, strict=True)]
             for ta, ga in zip(times, gammas, strict=True)]  # fmt: skip
    towards = [_product(ta, ga, time, target) for ta, ga in zip(times, gammas, strict=True)]
    found = np.linalg.lstsq(np.array(among), np.array(towards), rcond=None)[0]
    return found / found.sum()  # otherwise constant weights would shrink, by 2 % at std 0.2


def _product(t_a: float, gamma_a: float, t_b: float, gamma_b: float) -> float:
    """Return ∫ p_a p_b dτ of two weighings p(τ) = (γ + 1) τ^γ / t^(γ + 1) on [0, t]."""
    first, second = (t_a, gamma_a), (t_b, gamma_b)
    (t_a, gamma_a), (t_b, gamma_b) = sorted((first, second))
    rate = (gamma_a + 1) * (gamma_b + 1) / (gamma_a + gamma_b + 1)
    return rate * (t_a / t_b) ** gamma_b / t_b

"""Activity of regions over time: one tissue compartment each, from one input curve, in closed form.

With C_p the input and k2' the reference region's rate, C_R = K1' C_p ⊗ e^(−k2' t), and a region has

    C_T = R1 K1' C_p ⊗ e^(−k2a t)   with   k2a = R1 k2' / (1 + BP_ND)

which is the simplified reference tissue model (Lammertsma & Hume 1996) where both tissues have one
compartment. The input is Feng's (1993), a sum of exponentials of which one is multiplied by t; so are the
tissues' curves, and all integrals are exact. Nothing is shared with the fits in `csrd.kinetics`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

SCALED_S = 5400.0
"""The reference region's mean from the injection to this time, in s, is its SUV in the tracer's table."""
APART = 1e-4
"""Rates that differ relatively by less are set apart by this much where a formula divides by that."""
PER_MIN = 1 / 60.0

Term = tuple[float, int, float]
"""An amplitude c, a power n of 0 or 1 and a rate r in 1/s: c t^n e^(−r t), from t = 0 on."""


@dataclass(frozen=True)
class Curve:
    """A sum of terms; times are in s after the injection, before which it is 0."""

    terms: tuple[Term, ...]

    def at(self, times: np.ndarray) -> np.ndarray:
        """Return the values at `times`, of the same shape."""
        later = np.maximum(times, 0.0)
        values = sum(c * later**n * np.exp(-r * later) for c, n, r in self.terms)
        return np.where(np.asarray(times) < 0, 0.0, values)

    def integral(self, edges: np.ndarray, rate: float = 0.0) -> np.ndarray:
        """Return ∫ C(t) e^(−`rate` t) dt between `edges` (N + 1,), which begin at 0 or later; (N,)."""
        return np.diff(sum(_primitive(c, n, r + rate, edges) for c, n, r in self.terms))

    def scaled(self, factor: float) -> "Curve":
        """Return the curve times a factor."""
        return Curve(tuple((factor * c, n, r) for c, n, r in self.terms))

    def convolved(self, rate: float) -> "Curve":
        """Return the curve convolved with e^(−`rate` t)."""
        found: list[Term] = []
        for c, n, r in self.terms:
            k = rate if abs(rate - r) > APART * r else r * (1 + APART)
            gap = k - r
            found.append((c / gap, n, r))
            if n:
                found += [(-c / gap**2, 0, r), (c / gap**2, 0, k)]
            else:
                found.append((-c / gap, 0, k))
        return Curve(tuple(found))


def _primitive(c: float, n: int, rate: float, times: np.ndarray) -> np.ndarray:
    """Return ∫_0^t c s^n e^(−rate s) ds."""
    if n == 0:
        return -c * np.expm1(-rate * times) / rate
    return c * (-np.expm1(-rate * times) - rate * times * np.exp(-rate * times)) / rate**2


def feng(parameters_per_min: tuple[float, ...]) -> Curve:
    """Return (A1 t − A2 − A3) e^(−λ1 t) + A2 e^(−λ2 t) + A3 e^(−λ3 t), of A1 … λ3 with t in minutes."""
    a1, a2, a3, *rates = parameters_per_min
    first, second, third = (rate * PER_MIN for rate in rates)
    return Curve(((a1 * PER_MIN, 1, first), (-a2 - a3, 0, first), (a2, 0, second), (a3, 0, third)))


@dataclass(frozen=True)
class Kinetics:
    """A tracer's kinetics: the input, the reference region and its SUV, k2' in 1/s, BP_ND and R1 by region.

    A region without binding has as BP_ND its distribution volume over the reference's, minus 1.
    """

    input: Curve
    reference: str
    suv: float
    k2_reference: float
    bp: Mapping[str, float]
    r1: Mapping[str, float]

    @cached_property
    def _scale(self) -> float:
        """Return K1' in the input's own unit."""
        mean = self.input.convolved(self.k2_reference).integral(np.array([0.0, SCALED_S]))[0] / SCALED_S
        return self.suv / float(mean)

    def curve(self, region: str) -> Curve:
        """Return a region's concentration in SUV (g/mL, decay-corrected to the injection)."""
        r1 = self.r1[region]
        k2a = r1 * self.k2_reference / (1 + self.bp[region])
        return self.input.convolved(k2a).scaled(r1 * self._scale)

    def means(self, region: str, edges: np.ndarray, rate: float = 0.0) -> np.ndarray:
        """Return the means (N,) in SUV of frames between `edges` (N + 1,) in s.

        With the `rate` of the nuclide's decay the means are over the decays of a frame: of its counts, with
        one decay correction for the frame, as a reconstruction has it.
        """
        lived = np.diff(-np.expm1(-rate * edges) / rate) if rate else np.diff(edges)
        return self.curve(region).integral(edges, rate) / lived

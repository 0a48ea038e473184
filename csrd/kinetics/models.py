"""Binding potential of a region against a reference region: SRTM, MRTM2 and Logan's plot.

Symbols are those of Innis et al. 2007: BP_ND, R1, k2' (the reference's k2). Times are in s, rates in 1/s.
Every equation is averaged over the frames, which is what a scan measures (`csrd.kinetics.reference`).

Standard errors of MRTM2 and Logan's plot are those of linear regressions whose residuals are correlated: the
noise of a frame is in ∫C_T of all later frames. To first order a residual is a sum of all frames' noise
(Feng et al. 1996, whose filter removes it from the estimates; here it only enters their covariance). The
standard error of an estimated k2' is propagated through it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar

from csrd.kinetics.reference import Times

RATES = np.geomspace(1e-6, 0.1, 140)
"""k2a, in 1/s, among which SRTM's best is searched before it is refined."""
STEP = 1e-4
"""Relative step of k2' for the derivatives of estimates."""


class Value(NamedTuple):
    """An estimate and its standard error; NaN where a model has none."""

    value: float
    error: float = float("nan")


Estimates = tuple[np.ndarray, np.ndarray]
"""Estimates (K,) and their standard errors (K,)."""


@dataclass(frozen=True)
class Fit:
    """A region's estimates; k2' in 1/s. `bounded` says that SRTM's k2a is at an end of `RATES`."""

    bp: Value
    r1: Value = Value(float("nan"))
    k2_reference: Value = Value(float("nan"))
    bounded: bool = False

    @property
    def determined(self) -> bool:
        """Return whether the data determine BP_ND."""
        return not self.bounded and bool(np.isfinite(self.bp.value))


def decay_weights(starts: np.ndarray, durations: np.ndarray, half_life_s: float) -> np.ndarray:
    """Return frames' weights (N,): durations, times the fraction that has not decayed at their middles.

    `starts` and `durations` are in s. They are the inverse variances of curves that are corrected for decay,
    up to a factor, where the activity itself is even.
    """
    return durations * np.exp2(-(starts + durations / 2) / half_life_s)


class Reference:
    """The reference region's curve, with what is computed from it once for all regions.

    `starts`, `durations` (s) and `curve` are those of N frames, `weights` (N,) the inverse variances up to
    a factor.
    """

    def __init__(
        self, starts: np.ndarray, durations: np.ndarray, curve: np.ndarray, weights: np.ndarray
    ) -> None:
        self.times = Times.of(starts, durations)
        self.starts, self.curve, self.weights = starts, curve, weights
        self.integral = self.times.mean_integral(curve)
        self._integrals = self.times.integral_matrix()
        self._basis = self.times.convolved(curve, RATES)

    def srtm(self, curve: np.ndarray) -> Fit:
        """Return the fit of the simplified reference tissue model (Lammertsma & Hume 1996).

        C_T = R1 C_R + (k2 - R1 k2a) C_R * exp(-k2a t) with k2a = k2 / (1 + BP_ND): for each k2a linear in
        the other two, so that k2a alone is searched, first among `RATES` (Gunn et al. 1997). Standard errors
        are those of the nonlinear regression at its minimum.
        """
        losses = [self._linear(curve, basis)[1] for basis in self._basis]
        best = int(np.argmin(losses))
        low, high = np.log(RATES[max(best - 1, 0)]), np.log(RATES[min(best + 1, len(RATES) - 1)])
        found = minimize_scalar(
            lambda log: self._linear(curve, self._convolved(np.exp(log)))[1],
            bounds=(low, high),
            method="bounded",
            options={"xatol": 1e-7},
        )
        k2a = float(np.exp(found.x))
        (r1, second), _ = self._linear(curve, self._convolved(k2a))
        k2 = second + r1 * k2a
        estimates = np.array([k2 / k2a - 1, r1, k2 / r1 if r1 else np.nan])
        errors = self._errors(curve, self._srtm_curve, estimates)
        bp, r1_value, k2_reference = (Value(*pair) for pair in zip(estimates, errors, strict=True))
        return Fit(bp, r1_value, k2_reference, bounded=best in (0, len(RATES) - 1))

    def mrtm2(self, curve: np.ndarray, k2_reference: float, t_star: float = 0, k2_error: float = 0) -> Fit:
        """Return the fit of the multilinear reference tissue model with two parameters (Ichise et al. 2003).

        C_T = a (∫C_R + C_R / k2') + b ∫C_T over the frames from `t_star` on; BP_ND = -a / b - 1 and
        R1 = a / k2'. `k2_error` is the standard error of k2', 0 where it is known.
        """
        late = self.starts >= t_star
        integral, own = self.times.mean_integral(curve), np.eye(len(curve))

        def fit(k2: float) -> Estimates:
            design = np.column_stack([self.integral + self.curve / k2, integral])
            (a, b), covariance = self._regression(
                design, curve, late, lambda found: own - found[1] * self._integrals
            )
            gradients = np.array([[-1 / b, a / b**2], [1 / k2, 0]])
            return np.array([-a / b - 1, a / k2]), _errors_of(gradients, covariance)

        bp, r1 = _with_error_of_k2(fit, k2_reference, k2_error)
        return Fit(bp, r1, Value(k2_reference, k2_error or float("nan")))

    def logan(self, curve: np.ndarray, k2_reference: float, t_star: float, k2_error: float = 0) -> Fit:
        """Return the fit of Logan's plot with a reference region (Logan et al. 1996).

        ∫C_T / C_T = DVR (∫C_R + C_R / k2') / C_T + b, a line over the frames from `t_star` on;
        BP_ND = DVR - 1. Frames in which the region has no activity are left out. `k2_error` is the standard
        error of k2', 0 where it is known.
        """
        late = (self.starts >= t_star) & (curve > 0)
        over = np.where(curve > 0, curve, 1)
        target, own = self.times.mean_integral(curve) / over, np.eye(len(curve))

        def fit(k2: float) -> Estimates:
            x = (self.integral + self.curve / k2) / over
            (slope, _), covariance = self._regression(
                np.column_stack([x, np.ones_like(x)]),
                target,
                late,
                lambda found: (self._integrals - found[1] * own) / over[:, None],
            )
            return np.array([slope - 1]), _errors_of(np.array([[1.0, 0.0]]), covariance)

        (bp,) = _with_error_of_k2(fit, k2_reference, k2_error)
        return Fit(bp, k2_reference=Value(k2_reference, k2_error or float("nan")))

    def _convolved(self, rate: float) -> np.ndarray:
        return self.times.convolved(self.curve, np.array([rate]))[0]

    def _linear(self, curve: np.ndarray, basis: np.ndarray) -> tuple[np.ndarray, float]:
        """Return SRTM's two linear parameters for one k2a, and the weighted sum of squares left."""
        root = np.sqrt(self.weights)
        design = np.column_stack([self.curve, basis]) * root[:, None]
        scale = np.linalg.norm(design, axis=0)
        scaled = np.linalg.lstsq(design / scale, curve * root, rcond=None)[0]
        left = design / scale @ scaled - curve * root
        return scaled / scale, float(left @ left)

    def _srtm_curve(self, estimates: np.ndarray) -> np.ndarray:
        """Return C_T (N,) of BP_ND, R1 and k2'."""
        bp, r1, k2_reference = estimates
        k2a = r1 * k2_reference / (1 + bp)
        return r1 * (self.curve + (k2_reference - k2a) * self._convolved(k2a))

    def _errors(
        self, curve: np.ndarray, model: Callable[[np.ndarray], np.ndarray], estimates: np.ndarray
    ) -> np.ndarray:
        """Return the standard errors (P,) of a weighted nonlinear regression at its estimates (P,)."""
        steps = 1e-4 * np.maximum(np.abs(estimates), 1e-3 * np.array([1, 1, 1e-2]))
        root = np.sqrt(self.weights)
        shifts = np.diag(steps)
        jacobian = np.array(
            [(model(estimates + d) - model(estimates - d)) / (2 * d.sum()) for d in shifts]
        ).T * root[:, None]  # fmt: skip
        left = (curve - model(estimates)) * root
        freedom = len(curve) - len(estimates)
        if freedom < 1 or not np.isfinite(jacobian).all():
            return np.full(len(estimates), np.nan)
        scale = np.linalg.norm(jacobian, axis=0)
        if not (scale > 0).all():
            return np.full(len(estimates), np.nan)
        inverse = np.linalg.pinv((jacobian / scale).T @ (jacobian / scale))
        return np.sqrt(np.diag(inverse) * (left @ left) / freedom) / scale

    def _regression(
        self,
        design: np.ndarray,
        target: np.ndarray,
        inside: np.ndarray,
        noise: Callable[[np.ndarray], np.ndarray],
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the parameters (P,) and covariance of a weighted linear regression over some frames.

        `noise` returns, for parameters, the residuals' derivatives (N, N) by the values of the curve, whose
        errors are independent with variances of 1 / `weights` up to a factor. Parameters G r of residuals
        r = A n then have the covariance G A cov(n) A' G'; the factor is the sum of squared residuals over
        its mean for a factor of 1, which are the degrees of freedom where A is the identity.
        """
        root = np.sqrt(self.weights[inside])
        design, target = design[inside] * root[:, None], target[inside] * root
        scale = np.linalg.norm(design, axis=0)
        q, r = np.linalg.qr(design / scale)
        inverse = np.linalg.inv(r)
        estimates = inverse @ (q.T @ target)
        left = target - design / scale @ estimates
        spread = noise(estimates / scale)[inside] * root[:, None] / np.sqrt(self.weights)
        mean_left = np.sum((spread - q @ (q.T @ spread)) ** 2)
        variance = left @ left / mean_left if len(target) > len(estimates) else np.nan
        of_estimates = inverse @ (q.T @ spread)
        return estimates / scale, variance * (of_estimates @ of_estimates.T) / np.outer(scale, scale)


def _errors_of(gradients: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Return the standard errors (K,) of functions with `gradients` (K, P) by parameters."""
    return np.sqrt(np.diag(gradients @ covariance @ gradients.T))


def _with_error_of_k2(fit: Callable[[float], Estimates], k2: float, k2_error: float) -> list[Value]:
    """Return the estimates of a fit for one k2', with the standard error of k2' propagated (delta method)."""
    values, errors = fit(k2)
    if k2_error:
        step = STEP * k2
        slopes = (fit(k2 + step)[0] - fit(k2 - step)[0]) / (2 * step)
        errors = np.hypot(errors, slopes * k2_error)
    return [Value(float(value), float(error)) for value, error in zip(values, errors, strict=True)]


def common_k2_reference(fits: list[Fit]) -> Value:
    """Return the k2' that all regions share: the median of those known best, in 1/s; NaN where none is known.

    SRTM's k2' of a region with little binding is nearly undetermined: half of the regions, those with the
    smallest relative standard errors, are used. The variance is that of a median of many independent normal
    values around one, m / (4 (sum of their densities there)^2): of few it is larger than the true one, and
    noise of the reference, which they share, is not in it.
    """
    known = [
        (fit.k2_reference.error / fit.k2_reference.value, fit.k2_reference.value, fit.k2_reference.error)
        for fit in fits
        if fit.k2_reference.value > 0 and np.isfinite(fit.k2_reference.error) and not fit.bounded
    ]
    best = sorted(known)[: (len(known) + 1) // 2]
    if not best:
        return Value(float("nan"))
    _, values, errors = np.array(best).T
    precise = errors > 0
    error = np.sqrt(np.pi / 2 * len(best)) / np.sum(1 / errors) if precise.all() else 0.0
    return Value(float(np.median(values)), float(error))

"""Curves of one tissue, for which SRTM and the linear models hold exactly, and of two, in closed form."""

import numpy as np

K1, DELAY_S = 0.008, 15.0
PLASMA = ((3e4, 0.002), (2e4, 1.7e-4), (-5e4, 0.06))
"""Sums of A exp(-rate t), rates in 1/s, that begin at 0 after the delay."""


def frame_means(edges: np.ndarray, k2: float, r1: float = 1.0) -> np.ndarray:
    """Return the means of K1 C_p * exp(-k2 t) between edges in s; K1 is `r1` times that of the reference."""

    def integral(t: np.ndarray) -> np.ndarray:
        t = np.maximum(t - DELAY_S, 0)
        return r1 * K1 * sum(
            a / (k2 - b) * (-np.expm1(-b * t) / b + np.expm1(-k2 * t) / k2) for a, b in PLASMA
        )  # fmt: skip

    return np.diff(integral(edges)) / np.diff(edges)


def two_tissue(edges: np.ndarray, k2: float, bp: float, k4: float, r1: float = 1.0) -> np.ndarray:
    """Return the means between edges of a region with k3 = bp k4, of free and bound tracer together.

    Its response is a sum of two exponentials (Innis et al. 2007), each a curve of one tissue.
    """
    k3 = bp * k4
    total = k2 + k3 + k4
    distance = np.sqrt(total**2 - 4 * k2 * k4)
    fast, slow = (total + distance) / 2, (total - distance) / 2
    parts = (fast - k3 - k4) / distance, (k3 + k4 - slow) / distance
    return parts[0] * frame_means(edges, fast, r1) + parts[1] * frame_means(edges, slow, r1)

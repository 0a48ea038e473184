"""Coverage of the intervals from a predicted standard deviation."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from csrd.io.tables import KEYS

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.68, 0.7, 0.8, 0.9, 0.95)
COVERAGE_KEYS = [*KEYS, "target", "level"]


def quantile(level: float, samples: int) -> float:
    """Return t with P(|T| ≤ t) = `level`, for Student's T with as many degrees of freedom as `samples`.

    The standard deviation is a root mean square of `samples` deviations from a mean that was not estimated
    from them.

    >>> round(quantile(0.95, 10**9), 2)
    1.96
    """
    return float(stats.t.ppf((1 + level) / 2, samples))


def covered(error: np.ndarray, std: np.ndarray, samples: int, levels: Sequence[float]) -> np.ndarray:
    """Return for each nominal level the fraction of voxels with |error| ≤ t · std, float64 (levels,).

    `error` and the predicted standard deviation `std` (N,) are in one unit; `samples` is the number of
    samples behind `std`. A voxel without error counts as covered even where `std` is 0.
    """
    assert error.shape == std.shape and error.size, "a voxel has one error and one standard deviation"
    size = np.abs(error.astype(np.float64))
    return np.array([np.mean(size <= quantile(level, samples) * std) for level in levels])


def needed_factor(error: np.ndarray, std: np.ndarray, samples: int, level: float) -> float:
    """Return the factor of `std` with which `level` of the voxels are covered; see `covered`.

    Voxels where `std` is 0 are left out; without any other the factor is 1.
    """
    there = std > 0
    if not there.any():
        return 1.0
    sizes = np.abs(error[there].astype(np.float64)) / (quantile(level, samples) * std[there])
    return float(np.quantile(sizes, level))

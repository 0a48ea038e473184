"""Agreement of a quantity between test and retest of the same people."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95


@dataclass(frozen=True)
class Agreement:
    """Agreement over `count` people; differences in percent of the mean of both scans.

    `difference` and `difference_sd` are mean and standard deviation of retest minus test, `variability` the
    mean of its absolute value. `icc` is the intraclass correlation ICC(1,1) with its 95 % interval. What so
    few people do not determine is NaN.
    """

    count: int
    test: float
    retest: float
    difference: float
    difference_sd: float
    variability: float
    icc: float
    icc_low: float
    icc_high: float


def agreement(test: np.ndarray, retest: np.ndarray) -> Agreement:
    """Return the agreement of two measurements (N,) of N people."""
    differences = 200 * (retest - test) / (retest + test)
    sd = differences.std(ddof=1) if len(test) > 1 else np.nan
    return Agreement(
        len(test),
        float(test.mean()),
        float(retest.mean()),
        float(differences.mean()),
        float(sd),
        float(np.abs(differences).mean()),
        *intraclass(np.column_stack([test, retest])),
    )


def intraclass(values: np.ndarray) -> tuple[float, float, float]:
    """Return ICC(1,1) of measurements (N, K) of N people, and the ends of its 95 % interval.

    (MSB - MSW) / (MSB + (K - 1) MSW) of a one-way analysis of variance, the interval by F = MSB / MSW (Shrout
    & Fleiss 1979). NaN where there are fewer than two people, or all measurements are equal.
    """
    people, times = values.shape
    if people < 2:
        return (float("nan"),) * 3
    means = values.mean(axis=1)
    between = times * float(((means - values.mean()) ** 2).sum()) / (people - 1)
    within = float(((values - means[:, None]) ** 2).sum()) / (people * (times - 1))
    if not within:
        return (1.0, 1.0, 1.0) if between else (float("nan"),) * 3
    ratio, degrees = between / within, (people - 1, people * (times - 1))
    low = ratio / stats.f.ppf((1 + LEVEL) / 2, *degrees)
    high = ratio * stats.f.ppf((1 + LEVEL) / 2, *reversed(degrees))
    found = [float((f - 1) / (f + times - 1)) for f in (ratio, low, high)]
    return found[0], found[1], found[2]

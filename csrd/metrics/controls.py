"""Control rows of the tables: images that no denoiser makes, to compare the benchmark itself with.

They are shown apart from the methods, are never the best of a column, and take no part in a test.
"""

from collections.abc import Iterable

import numpy as np


def oracle_weight(low: np.ndarray, truth: np.ndarray, normal: np.ndarray) -> float:
    """Return a of the blend a · low + (1 − a) · truth that is nearest to the normal dose, least squares.

    a = ⟨low − truth, normal − truth⟩ / ⟨low − truth, low − truth⟩. The arrays hold the head's voxels. For a
    linear reconstruction it is 1 / D at a dose reduction factor of D, because the low dose's events are a
    part of the normal dose's.

    >>> oracle_weight(np.array([3.0, 1.0]), np.array([1.0, 1.0]), np.array([1.5, 1.0]))
    0.25
    """
    noise = (low - truth).astype(np.float64).ravel()
    return float(noise @ (normal - truth).astype(np.float64).ravel() / (noise @ noise))


def uptake_by_label(activity: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Return the mean uptake of each label 0 … count − 1 over that of the head (labels above 0), (count,).

    A label without a voxel has NaN.
    """
    sums = np.bincount(labels.ravel(), activity.ravel(), minlength=count)
    voxels = np.bincount(labels.ravel(), minlength=count)
    head = sums[1:].sum() / voxels[1:].sum()
    return np.divide(sums, voxels * head, out=np.full(count, np.nan), where=voxels > 0)


def mean_uptake(tables: Iterable[np.ndarray]) -> np.ndarray:
    """Return the mean over subjects of `uptake_by_label`, (count,); 0 for a label that none of them has."""
    stacked = np.stack(list(tables))
    there = np.isfinite(stacked)
    total = np.where(there, stacked, 0).sum(axis=0)
    return np.divide(total, there.sum(axis=0), out=np.zeros(stacked.shape[1]), where=there.any(axis=0))

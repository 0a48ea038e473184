"""Moments of a region's values over several thinnings of one scan."""

import numpy as np


def over_draws(images: np.ndarray, truth: np.ndarray) -> tuple[float, float, float, float, float]:
    """Return truth, bias, sd, voxel_bias, voxel_sd of a region, all in the unit of the images.

    `images` is (draws, voxels), one row for each thinning; `truth` is (voxels,). For the region's mean,
    `truth` is the true value, `bias` the mean over thinnings minus it, and `sd` their standard deviation (n −
    1). `voxel_bias` and `voxel_sd` are root mean squares over voxels of the mean error and of the standard
    deviation; sd²/n is subtracted from the square of the mean error (not below 0).

    >>> over_draws(np.array([[1.0, 3.0], [3.0, 5.0]]), np.array([2.0, 2.0]))[:2]
    (2.0, 1.0)
    """
    images, truth = images.astype(np.float64), truth.astype(np.float64)
    means, variances = images.mean(axis=1), images.var(axis=0, ddof=1)
    errors = np.mean((images.mean(axis=0) - truth) ** 2) - variances.mean() / len(images)
    return (
        float(truth.mean()),
        float(means.mean() - truth.mean()),
        float(means.std(ddof=1)),
        float(np.sqrt(max(errors, 0.0))),
        float(np.sqrt(variances.mean())),
    )

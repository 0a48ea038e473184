"""Bias and deviation by region: the same scan, thinned several times, denoised by every method."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from csrd.errors import InputError
from csrd.io.volume import Volume
from csrd.metrics.evaluate import KBQ_PER_BQ, KEYS, write_csv
from csrd.metrics.regions import region_masks


def noise(
    images: Mapping[str, Sequence[str | Path]],
    truth: str | Path,
    labels: str | Path,
    mask: str | Path,
    out: str | Path,
    *,
    subject: str,
    drf: int,
) -> None:
    """Write ``subject,drf,method,region,voxels,draws,truth,bias,sd,voxel_bias,voxel_sd`` in kBq/mL.

    A row per method and region of the simulation's `labels` in the head `mask`, from the moments of
    `over_draws`. `images` are each method's files, one a draw, `truth` is that of `match_truth`.
    Raises InputError where a method has fewer than two draws or an image is on another grid.
    """
    wanted, head = Volume.load(truth), Volume.load(mask, unit="mask")
    _refuse_other_grid(head, wanted, mask, truth)
    masks = region_masks(Volume.load(labels, unit="label"), wanted)
    places = {name: np.flatnonzero(where & (head.array > 0)) for (name, _), where in masks.items()}
    rows = []
    for method, paths in images.items():
        if len(paths) < 2:
            raise InputError(f"{method} has {len(paths)} draw; a deviation needs two or more (noise.draws)")
        draws = []
        for path in paths:
            image = Volume.load(path)
            _refuse_other_grid(image, wanted, path, truth)
            draws.append(image.array.ravel())
        for region, where in places.items():
            if where.size:
                values = over_draws(np.stack([draw[where] for draw in draws]), wanted.array.ravel()[where])
                sizes = [size * KBQ_PER_BQ for size in values]
                rows.append((subject, drf, method, region, where.size, len(paths), *sizes))
    columns = ["region", "voxels", "draws", "truth", "bias", "sd", "voxel_bias", "voxel_sd"]
    write_csv(pd.DataFrame(rows, columns=[*KEYS, *columns]), out)


def over_draws(images: np.ndarray, truth: np.ndarray) -> tuple[float, float, float, float, float]:
    """Return truth, bias, sd, voxel_bias, voxel_sd of a region, all in the unit of the images.

    `images` (draws, voxels), `truth` (voxels,). `truth`, `bias` and `sd` are of the region's mean: its value,
    the draws' mean minus it, their standard deviation (n − 1). The others are voxel by voxel: the root mean
    square over voxels of the mean error, from whose square the draws' share sd²/n is taken (not below 0),
    and of the standard deviation.

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


def _refuse_other_grid(image: Volume, grid: Volume, path: str | Path, name: str | Path) -> None:
    if not image.same_grid(grid):
        raise InputError(f"{path} is not on the grid of {name}; run the align stage on both")

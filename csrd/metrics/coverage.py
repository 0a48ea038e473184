"""Whether a method's spread is honest: how often what was to be found lies within so many spreads."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from csrd.errors import InputError
from csrd.io.files import inherited
from csrd.io.volume import Volume
from csrd.metrics.evaluate import KEYS, write_csv

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.68, 0.7, 0.8, 0.9, 0.95)
COVERAGE_KEYS = [*KEYS, "target", "level"]


def quantile(level: float, samples: int) -> float:
    """Return t with P(|T| ≤ t) = `level`, for Student's T with as many degrees of freedom as `samples`.

    The spread is a root mean square of `samples` departures from a mean that was not estimated from them.

    >>> round(quantile(0.95, 10**9), 2)
    1.96
    """
    return float(stats.t.ppf((1 + level) / 2, samples))


def covered(error: np.ndarray, spread: np.ndarray, samples: int, levels: Sequence[float]) -> np.ndarray:
    """Return for each nominal level the share of voxels with |error| ≤ t · spread, float64 (levels,).

    `error` and `spread` (N,) are in one unit; `samples` is how many the spread was made of. A voxel without
    error counts as covered even where the spread is 0.
    """
    assert error.shape == spread.shape and error.size, "a voxel has one error and one spread"
    size = np.abs(error.astype(np.float64))
    return np.array([np.mean(size <= quantile(level, samples) * spread) for level in levels])


def coverage(
    targets: Mapping[str, str | Path],
    mask: str | Path,
    images: Mapping[int, str | Path],
    spreads: Mapping[int, str | Path],
    out: str | Path,
    *,
    subject: str,
    method: str,
) -> None:
    """Write ``subject,drf,method,target,level,coverage``: a row per dose, target and level of `LEVELS`.

    `targets` has the file "normal", whose grid all others share, and maybe "truth", the noise-free activity
    there (`csrd.metrics.truth.match_truth`).
    `images` and `spreads` are files by dose. Only voxels of the head `mask` count.
    Of how many samples a spread was made stands in its sidecar.
    Raises InputError where a file is not on the grid of the normal dose, or a spread's sidecar does not say.
    """
    normal, head = Volume.load(targets["normal"]), Volume.load(mask, unit="mask")
    _refuse_other_grid(head, normal, mask)
    inside = head.array > 0
    wanted = {}
    for target, path in targets.items():
        volume = Volume.load(path)
        _refuse_other_grid(volume, normal, path)
        wanted[target] = volume.array[inside]
    rows = []
    for drf, path in sorted(images.items()):
        image, spread = Volume.load(path), Volume.load(spreads[drf])
        for volume, file in ((image, path), (spread, spreads[drf])):
            _refuse_other_grid(volume, normal, file)
        samples = _samples(spreads[drf])
        for target, values in wanted.items():
            shares = covered(values - image.array[inside], spread.array[inside], samples, LEVELS)
            rows += [
                (subject, drf, method, target, level, share)
                for level, share in zip(LEVELS, shares, strict=True)
            ]
    write_csv(pd.DataFrame(rows, columns=[*COVERAGE_KEYS, "coverage"]), out)


def _samples(path: str | Path) -> int:
    """Return of how many samples a spread was made."""
    samples = inherited(path).get("Samples")
    if not isinstance(samples, int) or samples < 1:
        raise InputError(f"the sidecar of {path} does not say its Samples; run the denoise stage again")
    return samples


def _refuse_other_grid(volume: Volume, grid: Volume, path: str | Path) -> None:
    if not volume.same_grid(grid):
        raise InputError(f"{path} is not on the grid of the normal dose; run the align stage on both")

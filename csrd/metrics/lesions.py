"""Lesions in an image: the recovery of known spots, and the number of false spots."""

from collections.abc import Iterable

import numpy as np
from scipy import ndimage

from csrd.io.tables import KEYS
from csrd.io.volume import Volume
from csrd.metrics.regions import recovered, spot_masks
from csrd.virtual.spots import Spot

SPOT_KEYS = [*KEYS, "spot"]
"""The columns that identify a row of the table of spots."""
INNER_MM, OUTER_MM = 3.0, 6.0
"""σ of the two Gaussians whose difference responds to spots of 4 to 7 mm radius."""
FALSE_CONTRAST = 0.10
"""Value of `excess_contrast` for a spot of 5.5 mm radius and contrast 1.4 at 6 mm FWHM."""
APART_MM = 7.0  # smallest distance of two spots: the radius of the largest


def spot_recovery(
    image: Volume, truth: Volume, bare: Volume, spots: Iterable[Spot]
) -> dict[str, list[float]]:
    """Return the recovery of each spot, by kind ("hot", "cold"): 1 as in the truth, 0 as if there were none.

    Parameters
    ----------
    image, truth, bare : Volume
        The image, the truth at its resolution, and the truth without spots, on one grid and in one unit.
    spots : iterable of Spot
        The spots, in the world of these images.

    Notes
    -----
    mean (image − bare) / mean (truth − bare) over the voxels of the spot (`csrd.metrics.regions.recovered`).
    """
    found: dict[str, list[float]] = {"hot": [], "cold": []}
    for (_, kind), where in spot_masks(spots, truth).items():
        found[kind].append(recovered(*(volume.array[where] for volume in (image, truth, bare))))
    return found


def mean_and_error(values: Iterable[float]) -> tuple[float, float]:
    """Return the mean of values and its standard error; the error of fewer than two is NaN.

    >>> mean_and_error([0.5, 1.5])
    (1.0, 0.5)
    """
    values = np.asarray(list(values), dtype=np.float64)
    if values.size < 2:
        return float(values.mean()) if values.size else np.nan, np.nan
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(values.size))


def excess_contrast(image: np.ndarray, truth: np.ndarray, voxel_mm: np.ndarray) -> np.ndarray:
    """Return by how much the image rises above the truth at the scale of lesions, (X, Y, Z), relative.

    (G_inner − G_outer) ∗ (image − truth) / G_outer ∗ truth, with Gaussians of `INNER_MM` and `OUTER_MM`.
    A smooth bias and noise of single voxels have no effect. 0 where the truth is 0.
    """
    error = image.astype(np.float32) - truth
    inner, outer = (ndimage.gaussian_filter(error, mm / voxel_mm) for mm in (INNER_MM, OUTER_MM))
    background = ndimage.gaussian_filter(truth.astype(np.float32), OUTER_MM / voxel_mm)
    return np.divide(inner - outer, background, out=np.zeros_like(error), where=background > 0)


def false_spots(image: np.ndarray, truth: np.ndarray, tissue: np.ndarray, voxel_mm: np.ndarray) -> int:
    """Return the number of hot spots that are in the image and not in the truth.

    Parameters
    ----------
    image, truth : ndarray (X, Y, Z)
        The image, and the truth at its resolution, in one unit.
    tissue : ndarray (X, Y, Z) of bool
        Where spots are looked for.
    voxel_mm : ndarray (3,)
        The voxel's edge lengths.

    Notes
    -----
    Local maxima of `excess_contrast` above `FALSE_CONTRAST`, at least `APART_MM` apart. Noise alone causes
    some in the normal dose, whose number is the one to compare with.
    """
    excess = excess_contrast(image, truth, np.asarray(voxel_mm))
    reach = np.ceil(APART_MM / np.asarray(voxel_mm)).astype(int)
    steps = np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij")
    ball = sum((step * mm) ** 2 for step, mm in zip(steps, voxel_mm, strict=True)) <= APART_MM**2
    peaks = excess == ndimage.maximum_filter(excess, footprint=ball)
    return int(np.count_nonzero(peaks & tissue & (excess > FALSE_CONTRAST)))

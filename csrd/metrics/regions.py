"""Masks of regions and spots, and the recovery of a spot's contrast."""

from collections.abc import Iterable

import numpy as np

from csrd.io.tables import KEYS
from csrd.io.volume import Volume
from csrd.resample import resample
from csrd.virtual.regions import REGIONS
from csrd.virtual.spots import Spot, apply_spot

REGION_KEYS = [*KEYS, "target", "region"]
LEFT_OUT = ("csf", "bone", "scalp")  # hardly any uptake, so that relative bias is meaningless
NORMAL = "normal"  # the normal dose as a row of its own, against the truth


def region_masks(labels: Volume, grid: Volume) -> dict[str, np.ndarray]:
    """Return the voxels (X, Y, Z) bool of each region of brain tissue on `grid`, by name."""
    nearest = resample(labels, grid, order=0).array
    return {name: nearest == label for name, label in REGIONS.items() if name not in LEFT_OUT}


def spot_masks(spots: Iterable[Spot], grid: Volume) -> dict[tuple[str, str], np.ndarray]:
    """Return the voxels (X, Y, Z) bool whose centre lies in each spot, by (name, "hot" or "cold")."""
    masks = {}
    for number, spot in enumerate(spots, start=1):
        index = np.linalg.solve(grid.affine, np.append(spot.centre_mm, 1.0))[:3]
        steps = np.ogrid[tuple(slice(0, n) for n in grid.shape)]
        squares = sum(((step - i) * mm) ** 2 for step, i, mm in zip(steps, index, grid.voxel_mm, strict=True))
        inside = squares <= max(spot.radius_mm**2, float(squares.min()))  # the nearest voxel at least
        masks[f"spot {number}", "hot" if spot.contrast > 1 else "cold"] = inside
    return masks


def without_spots(activity: Volume, spots: Iterable[Spot]) -> Volume:
    """Return the activity as it was before the spots were put into it."""
    factors = np.ones(activity.shape, np.float32)
    for spot in spots:
        apply_spot(factors, activity.affine, spot)
    return activity.like(activity.array / factors)


def recovered(image: np.ndarray, truth: np.ndarray, bare: np.ndarray) -> float:
    """Return the recovery of a spot: mean (image − bare) / mean (truth − bare) over its voxels.

    `bare` is the truth without spots. 1: as in the truth; 0: as if there were none.

    >>> recovered(np.array([2.5]), np.array([3.0]), np.array([2.0]))
    0.5
    """
    return float((image.mean() - bare.mean()) / (truth.mean() - bare.mean()))

"""Variation of uptake inside a virtual head: between its sides, between parcels of a region, and texture.

The sources of the constants are in docs/physics.md.
"""

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from csrd.io.volume import Volume
from csrd.virtual.regions import REGIONS

LIMIT_SD = 2.5  # largest deviation, in standard deviations
SIDES_SD = 0.035  # of a region's uptake on each side: left and right differ by √2 times that
PARCELS_SD, PARCEL_MM = 0.09, 15.0  # parcels of regions in `PARCELLED`, with a distance of 10 to 20 mm
TEXTURE = ((0.08, 8.0), (0.04, 4.0))  # standard deviation and σ in mm of fields over the whole head
PARCELLED = (
    "frontal",
    "parietal",
    "temporal",
    "occipital",
    "anterior_cingulate",
    "insula",
    "cerebellar_cortex",
)


def bounded_normal(rng: np.random.Generator, shape: int | tuple[int, ...] = ()) -> np.ndarray:
    """Return standard normal numbers, limited to `LIMIT_SD`."""
    return np.clip(rng.standard_normal(shape), -LIMIT_SD, LIMIT_SD)


def by_side(left: np.ndarray, right: np.ndarray, labels: Volume) -> np.ndarray:
    """Return the values (22,) of a voxel's label, those of its side of the scanner's middle, (X, Y, Z)."""
    return np.where(left_half(labels), left[labels.array], right[labels.array])


def left_half(grid: Volume) -> np.ndarray:
    """Return which voxels lie on the left of the scanner's middle, (X, 1, 1) bool."""
    return ((grid.affine[0, 3] + np.arange(grid.shape[0]) * grid.voxel_mm[0]) < 0)[:, None, None]


def parcels(rng: np.random.Generator, labels: Volume) -> np.ndarray:
    """Return factors around 1 (X, Y, Z), flat in each parcel of the `PARCELLED` regions and 1 elsewhere.

    Parcels are the voxels nearest to one of a lattice of displaced points, on each side by themselves.
    """
    inside = np.isin(labels.array, [REGIONS[name] for name in PARCELLED])
    index = np.argwhere(inside)
    nodes = [np.arange(0, edge + PARCEL_MM, PARCEL_MM) for edge in labels.shape * labels.voxel_mm]
    points = np.stack(np.meshgrid(*nodes, indexing="ij"), axis=-1).reshape(-1, 3)
    points += rng.uniform(-PARCEL_MM / 3, PARCEL_MM / 3, points.shape)
    _, nearest = cKDTree(points).query(index * labels.voxel_mm)
    values = 1 + PARCELS_SD * bounded_normal(rng, (2, len(points)))
    factors = np.ones(labels.shape, np.float32)
    factors[inside] = values[left_half(labels)[index[:, 0], 0, 0].astype(int), nearest]
    return factors


def texture(rng: np.random.Generator, grid: Volume) -> np.ndarray:
    """Return smooth factors around 1 (X, Y, Z), of two scales."""
    factors = np.ones(grid.shape)
    for sd, sigma_mm in TEXTURE:
        factors *= 1 + sd * smooth_field(rng, grid, sigma_mm)
    return factors


def smooth_field(rng: np.random.Generator, grid: Volume, sigma_mm: float) -> np.ndarray:
    """Return Gaussian noise of σ `sigma_mm` with unit variance, (X, Y, Z), drawn every σ / 2."""
    step = sigma_mm / 2
    noise = rng.standard_normal(tuple(int(edge // step) + 3 for edge in grid.shape * grid.voxel_mm))
    noise = ndimage.gaussian_filter(noise, 2.0, mode="wrap")
    return ndimage.affine_transform(
        noise / noise.std(), np.diag(grid.voxel_mm / step), output_shape=grid.shape, order=1
    )

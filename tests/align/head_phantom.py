"""A head that is a function of space, so that it can be put on any grid without interpolation."""

import numpy as np
from scipy.ndimage import gaussian_filter

from csrd.io.volume import Volume

RESOLUTION_MM, FILTER_MM = 7.0, 5.0  # of a scan, and of its noise

# centre (mm), half axes (mm), what they hold in PET (Bq/mL) and in MR; later ones lie over earlier ones.
PARTS = [
    ((0, 0, 0), (78, 98, 88), 5e3, 300.0),  # scalp
    ((0, 0, 0), (73, 93, 83), 1e3, 60.0),  # skull
    ((0, 2, 8), (66, 84, 68), 30e3, 500.0),  # cortex
    ((0, 2, 8), (58, 76, 60), 12e3, 900.0),  # white matter
    ((0, -50, -42), (46, 28, 22), 18e3, 550.0),  # cerebellum
    ((0, -18, -45), (12, 12, 30), 26e3, 800.0),  # brain stem
    ((13, 10, 12), (6, 24, 12), 3e3, 150.0),  # ventricles
    ((-13, 10, 12), (6, 24, 12), 3e3, 150.0),
    ((26, 10, 4), (7, 18, 12), 50e3, 600.0),  # putamen
    ((-26, 10, 4), (7, 18, 12), 50e3, 600.0),
    ((9, -14, 6), (8, 12, 9), 42e3, 650.0),  # thalamus
    ((-9, -14, 6), (8, 12, 9), 42e3, 650.0),
    ((30, 50, 30), (9, 9, 9), 12e3, 400.0),  # something that only one side has
]


def head(points_mm: np.ndarray, column: int) -> np.ndarray:
    """Return PET (column 0) or MR (column 1) at points (..., 3), with edges about 3 mm wide."""
    value = np.zeros(points_mm.shape[:-1])
    for centre, half, *contents in PARTS:
        depth = (1 - np.linalg.norm((points_mm - centre) / np.array(half), axis=-1)) * min(half)
        inside = 1 / (1 + np.exp(-2 * np.clip(depth, -20, 20)))
        value += inside * (contents[column] - value)
    return value


def grid_points(shape, affine) -> np.ndarray:
    """Return the voxel centres (X, Y, Z, 3) in mm."""
    return np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]


def normal_and_low(shape, affine: np.ndarray, voxel_mm: float) -> tuple[Volume, Volume]:
    """Return the PET on a grid of cubic voxels, and the same with the noise of a low dose."""
    sharp = head(grid_points(shape, affine), 0)
    normal = gaussian_filter(sharp, RESOLUTION_MM / 2.355 / voxel_mm).astype(np.float32)
    noise = gaussian_filter(np.random.default_rng(7).standard_normal(shape), FILTER_MM / 2.355 / voxel_mm)
    noise *= np.sqrt(normal + 100) * 25 / noise.std()
    return Volume(normal, affine, "Bq/mL"), Volume((normal + noise).astype(np.float32), affine, "Bq/mL")


def rotation(x_deg: float, y_deg: float, z_deg: float) -> np.ndarray:
    """Return the rotation matrix (3, 3) of turns about x, then y, then z."""
    out = np.eye(3)
    for axis, angle in enumerate(np.deg2rad([x_deg, y_deg, z_deg])):
        a, b = [i for i in range(3) if i != axis]
        turn = np.eye(3)
        turn[[a, b], [a, b]] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        out = turn @ out
    return out


def rigid(angles_deg, shift_mm) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation(*angles_deg), shift_mm
    return matrix


def displacement_mm(matrix_a: np.ndarray, matrix_b: np.ndarray, points_mm: np.ndarray) -> np.ndarray:
    """Return the distance (N,) in mm between the places to which two matrices (4, 4) map points (N, 3)."""
    difference = matrix_a - matrix_b
    return np.linalg.norm(points_mm @ difference[:3, :3].T + difference[:3, 3], axis=1)

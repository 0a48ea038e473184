"""The virtual MR scanner: a T1w image of a head in a space of its own, with bias and noise."""

import numpy as np
from scipy import ndimage

from csrd.io.volume import Volume
from csrd.rotations import rigid, rotation, rotation_about
from csrd.seeds import generator
from csrd.virtual.anatomy import Anatomy

VOXEL_MM = (0.94, 0.94, 1.2)
FIELD_MM = (210.0, 246.0, 208.0)  # field of view: the head with a margin
TURN_DEG, SHIFT_MM = (2.0, 6.0), (3.0, 8.0)  # how far the head lies from its place in the PET scanner
OBLIQUE_DEG = 4.0  # the slices are planned on the head, not on the magnet
BIAS = 0.2
BIAS_MM = 50.0
NOISE = (0.02, 0.03)  # σ of each channel, relative to white matter


def simulate_mr(
    anatomy: Anatomy, seed: int, subject: str, voxel_mm: tuple[float, float, float] = VOXEL_MM
) -> tuple[Volume, np.ndarray]:
    """Return a T1w image in its own space ("arbitrary"), and the true (4, 4) PET world mm <- MR world mm.

    The image has its own resolution, origin and oblique axes; a bias field of up to ±20 % and Rician noise
    (Gudbjartsson & Patz 1995) lie over the anatomy's T1 contrast.
    """
    rng = generator(seed, "mr", subject)
    matrix = random_misplacement(rng)
    affine, shape = _slab(rng, anatomy, np.linalg.inv(matrix), voxel_mm)
    to_voxels = np.linalg.inv(anatomy.t1.affine) @ matrix @ affine
    clean = ndimage.affine_transform(
        anatomy.t1.array, to_voxels[:3, :3], to_voxels[:3, 3], output_shape=shape, order=1
    )
    image = rician(rng, clean * _bias(rng, shape, voxel_mm), rng.uniform(*NOISE))
    return Volume(image * np.float32(rng.uniform(600, 1400)), affine, "arbitrary"), matrix


def random_misplacement(rng: np.random.Generator) -> np.ndarray:
    """Return a random rigid (4, 4): 2 to 6 degrees about a random axis, 3 to 8 mm in a random direction."""
    axis, way = (v / np.linalg.norm(v) for v in rng.standard_normal((2, 3)))
    turn = rotation_about(axis, -np.radians(rng.uniform(*TURN_DEG)))  # the axis may point either way
    return rigid(turn, way * rng.uniform(*SHIFT_MM))


def rician(rng: np.random.Generator, magnitude: np.ndarray, sigma: float) -> np.ndarray:
    """Return the length of `magnitude` plus complex Gaussian noise of `sigma` a channel, float32."""
    real = magnitude + sigma * rng.standard_normal(magnitude.shape, dtype=np.float32)
    imaginary = sigma * rng.standard_normal(magnitude.shape, dtype=np.float32)
    return np.hypot(real, imaginary, dtype=np.float32)


def _slab(
    rng: np.random.Generator, anatomy: Anatomy, mr_from_pet: np.ndarray, voxel_mm: tuple[float, float, float]
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return affine and shape of the MR's grid: centred on the head, oblique, its first axis to the left."""
    shape = tuple(int(round(f / v)) for f, v in zip(FIELD_MM, voxel_mm, strict=True))
    axes = rotation(np.radians(rng.uniform(-OBLIQUE_DEG, OBLIQUE_DEG, 3)))
    affine = np.eye(4)
    affine[:3, :3] = axes @ np.diag([-1.0, 1.0, 1.0]) @ np.diag(voxel_mm)
    head = _head_centre(anatomy) + rng.uniform(-2, 2, 3)
    in_mr = mr_from_pet[:3, :3] @ head + mr_from_pet[:3, 3]
    affine[:3, 3] = in_mr - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine, shape


def _head_centre(anatomy: Anatomy) -> np.ndarray:
    """Return the middle of the head's box in scanner mm, (3,)."""
    middle = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        along = np.flatnonzero(anatomy.labels.array.any(axis=others))
        middle.append((along[0] + along[-1]) / 2)
    return anatomy.labels.affine[:3, :3] @ np.array(middle) + anatomy.labels.affine[:3, 3]


def _bias(
    rng: np.random.Generator, shape: tuple[int, ...], voxel_mm: tuple[float, float, float]
) -> np.ndarray:
    """Return smooth factors (X, Y, Z) float32 between 1 - 0.2 and 1 + 0.2, drawn on a grid of 10 mm."""
    coarse = tuple(int(n * v // 10) + 3 for n, v in zip(shape, voxel_mm, strict=True))
    noise = ndimage.gaussian_filter(rng.standard_normal(coarse), BIAS_MM / 10, mode="reflect")
    noise -= (noise.max() + noise.min()) / 2
    factors = (1 + BIAS * noise / noise.max()).astype(np.float32)
    return ndimage.affine_transform(factors, np.diag(voxel_mm) / 10, output_shape=shape, order=1)

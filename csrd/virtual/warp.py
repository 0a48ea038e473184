"""Shape and pose of each subject: a random diffeomorphism and affine of the template, and a rigid matrix."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from csrd.rotations import rigid, rotation
from csrd.virtual.template import Brain, Template

FIELD_MM = 4.0  # the grid of velocities: a third of their smoothing
PAD_MM = 24.0  # the field reaches beyond the template's box, over skull and scalp
MEAN_SCALE = 0.93  # the ICBM152 brain has 1.9 L, more than a mean brain
SQUARINGS = 6


@dataclass(frozen=True)
class Displacement:
    """A displacement field in mm, `array` (3, X, Y, Z), on the grid of `affine` in template space."""

    array: np.ndarray
    affine: np.ndarray


def random_displacement(
    rng: np.random.Generator, template: Template, rms_mm: float = 3.5, ventricle_mm: float = 0.0
) -> Displacement:
    """Return a random diffeomorphic displacement: the flow of a smooth stationary velocity field.

    Two scales of smoothed noise (σ 14 mm with `rms_mm`, σ 6 mm with a fifth of it), plus a flow that widens
    the ventricles by up to `ventricle_mm` (narrows them where negative). Exponential by scaling and squaring
    (Arsigny et al. 2006).
    """
    affine, shape = _field_grid(template)
    velocity = _smooth_noise(rng, shape, 14.0, rms_mm) + _smooth_noise(rng, shape, 6.0, 0.2 * rms_mm)
    velocity += ventricle_mm * _inward(template, affine, shape)
    return Displacement(_exponential(velocity.astype(np.float32)), affine)


def random_affine(rng: np.random.Generator) -> np.ndarray:
    """Return a random (4, 4) subject <- template about 0: size ±4 %, proportions ±3 %, shears ±0.03."""
    matrix = np.eye(4)
    scales = MEAN_SCALE * (1 + rng.uniform(-0.04, 0.04)) * (1 + rng.uniform(-0.03, 0.03, 3))
    matrix[:3, :3] = np.diag(scales) @ (np.eye(3) + np.triu(rng.uniform(-0.03, 0.03, (3, 3)), 1))
    return matrix


def random_pose(rng: np.random.Generator, degrees: float = 4.0, mm: float = 3.0) -> np.ndarray:
    """Return a random rigid (4, 4) scanner <- head: up to `degrees` about and `mm` along each axis."""
    turn = rotation(np.radians(rng.uniform(-degrees, degrees, 3)))
    return rigid(turn, rng.uniform(-mm, mm, 3))


def pull_coordinates(
    template: Template,
    displacement: Displacement,
    template_from_scanner: np.ndarray,
    affine: np.ndarray,
    shape: tuple[int, ...],
) -> np.ndarray:
    """Return, for each voxel of the grid, its place in the template's voxel indices, (3, X, Y, Z) float32.

    The place is y + u(y) with y the affine image of the voxel's centre: one map for labels, T1 and all else.
    """
    straight = template_from_scanner @ affine
    to_field = np.linalg.inv(displacement.affine) @ straight
    to_template = np.linalg.inv(template.affine) @ straight
    index = np.ogrid[tuple(slice(n) for n in shape)]
    places = np.empty((3, *shape), dtype=np.float32)
    for axis, u in enumerate(displacement.array):
        places[axis] = ndimage.affine_transform(
            u, to_field[:3, :3], to_field[:3, 3], shape, order=1, mode="nearest"
        )
        row = to_template[axis]
        places[axis] += (row[0] * index[0] + row[1] * index[1] + row[2] * index[2] + row[3]).astype(
            np.float32
        )
    return places


def pulled(
    template: Template,
    displacement: Displacement,
    template_from_scanner: np.ndarray,
    affine: np.ndarray,
    shape: tuple[int, ...],
) -> Brain:
    """Return the template's tissue on the grid of `affine` and `shape`, by the map of `pull_coordinates`."""
    window = _window(template, displacement, template_from_scanner, affine, shape)
    corner = affine.copy()
    corner[:3, 3] += affine[:3, :3] @ [s.start for s in window]
    size = tuple(s.stop - s.start for s in window)
    places = pull_coordinates(template, displacement, template_from_scanner, corner, size)

    def pull(array: np.ndarray, order: int = 1) -> np.ndarray:
        whole = np.zeros(shape, dtype=array.dtype)
        whole[window] = ndimage.map_coordinates(array, places, order=order)
        return whole

    mask = pull(template.mask.astype(np.float32)) >= 0.5
    return Brain(pull(template.grey), pull(template.white), pull(template.region, 0), pull(template.t1), mask)


def _window(
    template: Template,
    displacement: Displacement,
    template_from_scanner: np.ndarray,
    affine: np.ndarray,
    shape: tuple[int, ...],
) -> tuple[slice, ...]:
    """Return the part of the grid that falls into the template's box: half the voxels, half the time."""
    step = 4
    coarse = affine @ np.diag([step, step, step, 1.0])
    few = tuple((n + step - 1) // step for n in shape)
    places = pull_coordinates(template, displacement, template_from_scanner, coarse, few)
    limits = np.array(template.mask.shape).reshape(3, 1, 1, 1) - 1
    index = np.argwhere(((places >= 0) & (places <= limits)).all(axis=0))
    low = np.maximum((index.min(axis=0) - 1) * step, 0)
    high = np.minimum((index.max(axis=0) + 2) * step, shape)
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))


def _field_grid(template: Template) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return affine and shape of the velocity grid, which covers the template's box with a margin."""
    affine = np.diag([FIELD_MM, FIELD_MM, FIELD_MM, 1.0])
    affine[:3, 3] = template.affine[:3, 3] - PAD_MM
    shape = tuple(int((n + 2 * PAD_MM) // FIELD_MM) + 1 for n in template.mask.shape)
    return affine, shape


def _smooth_noise(
    rng: np.random.Generator, shape: tuple[int, ...], sigma_mm: float, rms_mm: float
) -> np.ndarray:
    """Return Gaussian noise vectors (3, ...) smoothed by `sigma_mm`, of root mean square length `rms_mm`."""
    noise = rng.standard_normal((3, *shape))
    smooth = np.stack([ndimage.gaussian_filter(n, sigma_mm / FIELD_MM, mode="wrap") for n in noise])
    return smooth * (rms_mm / np.sqrt(np.mean(np.sum(smooth**2, axis=0))))


def _inward(template: Template, affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return vectors (3, ...) of length up to 1 that point into the ventricles.

    Coordinates are pulled from the template: a pull inward at the wall makes the subject's ventricle wider.
    """
    smooth = ndimage.gaussian_filter(template.ventricles.astype(np.float32), 5.0)
    to_template = np.linalg.inv(template.affine) @ affine
    coarse = ndimage.affine_transform(smooth, to_template[:3, :3], to_template[:3, 3], shape, order=1)
    vectors = np.stack(np.gradient(coarse))
    return vectors / np.linalg.norm(vectors, axis=0).max()


def _exponential(velocity: np.ndarray) -> np.ndarray:
    """Return the displacement (3, ...) in mm of the flow of `velocity` (mm) after unit time."""
    u = velocity / 2**SQUARINGS
    index = np.stack(np.meshgrid(*(np.arange(n) for n in u.shape[1:]), indexing="ij")).astype(np.float32)
    for _ in range(SQUARINGS):
        there = index + u / FIELD_MM
        u = u + np.stack([ndimage.map_coordinates(c, there, order=1, mode="nearest") for c in u])
    return u

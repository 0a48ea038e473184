"""The head around a brain: CSF, a closed skull and soft tissue, modelled, as packaged brains come without."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

COARSE_MM = 2.0  # distances are smooth: computed at about this voxel size, then interpolated
DURA_MM = 8.0  # the dura bridges fissures narrower than twice this
SKULL_MM = 20.0  # the skull bridges wider ones: between temporal lobe and cerebellum it is thick
SMOOTHING_MM = 3.0  # σ: bone is rounder than what it holds
HULL_MM = 40.0  # the skin bridges the hollow under the skull's base


@dataclass(frozen=True)
class Layers:
    """Thicknesses in mm: CSF between the brain's hull and bone, bone, and the soft tissue outside."""

    csf_mm: float = 1.0
    bone_mm: float = 6.5
    scalp_mm: float = 5.5

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Layers":
        """Return thicknesses drawn for one subject."""
        return cls(rng.uniform(0.8, 1.5), rng.uniform(6.0, 7.0), rng.uniform(5.0, 6.0))


@dataclass(frozen=True)
class Head:
    """Masks (X, Y, Z): `inside` the skull, `bone`, `soft` tissue outside it; `depth` in mm under the skin."""

    inside: np.ndarray
    bone: np.ndarray
    soft: np.ndarray
    depth: np.ndarray


def head_around(brain: np.ndarray, voxel_mm: float, layers: Layers) -> Head:
    """Return the modelled head around a brain mask (X, Y, Z), closed on all sides, the base included."""
    step = max(1, round(COARSE_MM / voxel_mm))
    coarse, mm = brain[::step, ::step, ::step], voxel_mm * step
    from_dura = _signed_distance(closing(coarse, DURA_MM, mm), mm) - layers.csf_mm
    from_skull = _signed_distance(closing(coarse, SKULL_MM, mm), mm) - layers.csf_mm - layers.bone_mm
    from_skull = np.minimum(from_skull, from_dura - layers.bone_mm)
    from_hull = np.minimum(_signed_distance(closing(from_skull <= 0, HULL_MM, mm), mm), from_skull)
    from_dura, from_skull, depth = (
        _interpolated(d, step, brain.shape) for d in (from_dura, from_skull, layers.scalp_mm - from_hull)
    )
    inside = from_dura <= 0
    bone = (from_skull <= 0) & ~inside
    return Head(inside, bone, (depth >= 0) & ~bone & ~inside, depth)


def closing(mask: np.ndarray, radius_mm: float, voxel_mm: float) -> np.ndarray:
    """Return `mask` closed by a ball of `radius_mm`, by distance transforms; exact at the array's border."""
    pad = int(np.ceil(radius_mm / voxel_mm)) + 2
    outside = ndimage.distance_transform_edt(~np.pad(mask, pad), voxel_mm)
    kept = ndimage.distance_transform_edt(outside <= radius_mm, voxel_mm) > radius_mm
    return kept[pad:-pad, pad:-pad, pad:-pad] | mask


def _signed_distance(mask: np.ndarray, voxel_mm: float) -> np.ndarray:
    """Return the distance in mm to the mask's surface, negative inside, with the voxels' steps smoothed."""
    outside = ndimage.distance_transform_edt(~mask, voxel_mm)
    inside = ndimage.distance_transform_edt(mask, voxel_mm)
    distance = np.where(mask, 0.5 * voxel_mm - inside, outside - 0.5 * voxel_mm)
    return ndimage.gaussian_filter(distance.astype(np.float32), SMOOTHING_MM / voxel_mm, mode="nearest")


def _interpolated(coarse: np.ndarray, step: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return every `step`-th sample's array on the full grid."""
    if step == 1:
        return coarse
    return ndimage.affine_transform(coarse, np.eye(3) / step, output_shape=shape, order=1, mode="nearest")

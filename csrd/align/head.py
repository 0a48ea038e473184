"""The head mask of a PET image, in which metrics and scales are measured."""

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu

from csrd.errors import InputError
from csrd.io.volume import Volume

SMOOTHING_MM = 4.0
CLOSING_MM = 10.0
MARGIN_MM = 20.0  # around a head, where only the head is of interest
LEAST_VOXELS = 4  # along every axis
FLOOR_OF_OTSU = 0.5  # Otsu's threshold may exclude the scalp; half of it does not


def head_mask(pet: Volume) -> np.ndarray:
    """Return the head mask, (X, Y, Z) bool.

    The threshold is half of Otsu's on the square root of the smoothed image, where Poisson noise is uniform.
    The largest component is closed by 10 mm, and its holes are filled.
    Raises InputError where no voxel is above zero, or the volume has only a few slices.
    """
    refuse_slab(pet)
    smooth = np.sqrt(ndimage.gaussian_filter(pet.array.clip(0), SMOOTHING_MM / 2 / pet.voxel_mm))
    if not smooth.any():
        raise InputError("the PET image has no voxel above zero; check that it is the right file")
    if smooth.min() == smooth.max():
        return np.ones(pet.shape, bool)
    mask = largest_component(smooth > FLOOR_OF_OTSU * threshold_otsu(smooth))
    return largest_component(_closed(mask, pet.voxel_mm))


def refuse_slab(pet: Volume) -> None:
    """Raise InputError for a volume of only a few slices."""
    if min(pet.shape) < LEAST_VOXELS:
        shape = " × ".join(map(str, pet.shape))
        raise InputError(f"the PET image has {shape} voxels, too few to be a head; give the whole volume")


def largest_component(mask: np.ndarray) -> np.ndarray:
    """Return the largest face-connected part of a boolean mask."""
    labels, count = ndimage.label(mask)
    if count < 2:
        return mask
    return labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])


def _closed(mask: np.ndarray, voxel_mm: np.ndarray) -> np.ndarray:
    """Return the mask closed by `CLOSING_MM` and without holes; the array's border has no effect.

    It is computed in the mask's box: a scanner's field of view can have ten times the voxels of a head.
    """
    margin = int(np.ceil(CLOSING_MM / voxel_mm.min())) + 1
    box = box_of(mask)
    padded = np.pad(mask[box], margin)
    grown = ndimage.distance_transform_edt(~padded, sampling=voxel_mm) <= CLOSING_MM
    closed = ndimage.distance_transform_edt(grown, sampling=voxel_mm) > CLOSING_MM
    filled = np.zeros_like(mask)
    filled[box] = ndimage.binary_fill_holes(closed | padded)[margin:-margin, margin:-margin, margin:-margin]
    return filled


def box_of(mask: np.ndarray, margin: np.ndarray | int = 0) -> tuple[slice, ...]:
    """Return the box of a mask that is not empty, `margin` voxels wider to each side, as far as the array."""
    (box,) = ndimage.find_objects(mask.astype(np.uint8))
    return tuple(
        slice(max(part.start - int(m), 0), min(part.stop + int(m), n))
        for part, m, n in zip(box, np.broadcast_to(margin, mask.ndim), mask.shape, strict=True)
    )


def box_around(head: np.ndarray, voxel_mm: np.ndarray) -> tuple[slice, ...]:
    """Return the box of a head's mask, `MARGIN_MM` wider to each side, as far as the array."""
    return box_of(head, np.ceil(MARGIN_MM / voxel_mm).astype(int))


def mask_centre_mm(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Return the centre of mass of a mask in mm, (3,)."""
    return (affine @ np.append(ndimage.center_of_mass(mask), 1.0))[:3]

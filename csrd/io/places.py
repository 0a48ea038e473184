"""Voxel positions: comparison of affines, and validation of the positions in an image's header."""

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from csrd.errors import InputError

if TYPE_CHECKING:
    from nibabel import MGHImage, Nifti1Pair
    from nibabel.spatialimages import SpatialImage

GRID_TOLERANCE = 0.02
"""Largest distance, in voxels, between the corners of equal grids: headers differ by rounding."""
MM = {"unknown": 1.0, "mm": 1.0, "meter": 1e3, "micron": 1e-3}  # of NIfTI's xyzt_units
VOXEL_LIMITS_MM = 0.01, 50.0


def voxels_apart(shape: tuple[int, ...], affine: np.ndarray, other: np.ndarray) -> float:
    """Return the largest distance between a grid's corners by two affines (4, 4), over its smallest edge."""
    corners = np.array(list(product((0, 1), repeat=3))) * (np.array(shape) - 1)
    shift = affine - other
    apart_mm = np.linalg.norm(corners @ shift[:3, :3].T + shift[:3, 3], axis=1)
    edges_mm = np.linalg.norm([affine[:3, :3], other[:3, :3]], axis=1)
    return float(apart_mm.max() / edges_mm.min())


def place_of(path: Path, image: "SpatialImage") -> tuple[np.ndarray, list[str]]:
    """Return the affine of an image to RAS+ mm, and a note on each assumption.

    The sform takes precedence over the qform. Without either, the first axis runs to the patient's left
    (NIfTI's method 1). Metres and micrometres are converted to mm.
    Raises InputError where sform and qform mirror each other, for Analyze and MGH files without a position,
    and for voxels of an impossible size.
    """
    import nibabel as nib

    affine, unit, notes = image.affine.copy(), "mm", []
    if isinstance(image, nib.Nifti1Pair):
        unit = image.header.get_xyzt_units()[0]
        notes += _notes_on_forms(path, image)
    elif isinstance(image, nib.AnalyzeImage):
        raise InputError(f"{path} is Analyze, which does not say left and right; convert it to NIfTI")
    elif isinstance(image, nib.MGHImage) and not _is_placed(image):
        raise InputError(f"{path} does not say where its voxels lie (goodRASFlag 0); convert it to NIfTI")
    affine[:3] *= MM[unit]
    if unit in ("meter", "micron"):
        notes.append(f"the unit of space in {path} is the {unit}: its affine is converted to mm")
    voxel_mm = np.linalg.norm(affine[:3, :3], axis=0)
    if not (VOXEL_LIMITS_MM[0] <= voxel_mm.min() and voxel_mm.max() <= VOXEL_LIMITS_MM[1]):
        edges = " × ".join(f"{edge:.3g}" for edge in voxel_mm)
        raise InputError(
            f"{path} has voxels of {edges} mm, its affine being in {unit}; set xyzt_units to its right unit"
        )
    return affine, notes


def _is_placed(image: "MGHImage") -> bool:
    """Return whether an MGH file has a position; where it has none, nibabel assumes one, and 1 mm voxels."""
    with image.file_map["image"].get_prepare_fileobj() as stream:
        return np.frombuffer(stream.read(30)[28:], ">i2")[0] == 1


def _notes_on_forms(path: Path, image: "Nifti1Pair") -> list[str]:
    """Return a note where sform and qform differ or are absent; raise InputError where they are mirrored."""
    sform, qform = image.get_sform(coded=True)[0], image.get_qform(coded=True)[0]
    if sform is None and qform is None:
        return [f"{path} has neither sform nor qform: the first axis is taken to run to the patient's left"]
    if sform is None or qform is None:
        return []
    if np.linalg.det(sform[:3, :3]) * np.linalg.det(qform[:3, :3]) < 0:
        raise InputError(
            f"the sform and the qform of {path} mirror each other; find out which one is right, and copy it "
            "over the other, e.g. by fslorient -copysform2qform"
        )
    apart = voxels_apart(image.shape[:3], sform, qform)
    if apart <= GRID_TOLERANCE:
        return []
    return [
        f"the sform and the qform of {path} place its corners {apart:.2g} voxels apart: the sform is taken"
    ]

"""The only image type, and the only place that knows nibabel, which is imported where it is used.

A machine that only computes (a bare GPU machine) needs no nibabel.
"""

import errno
import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from csrd.errors import InputError
from csrd.io.files import whole_file

if TYPE_CHECKING:
    from nibabel.spatialimages import SpatialImage

UNIT_PREFIX = "unit: "
MAX_VOXELS = 2**29
"""Of an image in a file: a whole head at 0.35 mm. A compressed file of a few kB could promise terabytes."""


@dataclass(frozen=True)
class Volume:
    """A 3D image: `array` (X, Y, Z), `affine` (4, 4) from voxel index to RAS+ mm, and its `unit`.

    Units in use: "Bq/mL" or "SUV" (PET), "1/cm" (μ-map), "arbitrary" (MR), "label", "mask", "".
    """

    array: np.ndarray
    affine: np.ndarray
    unit: str = ""

    def __post_init__(self) -> None:
        assert self.array.ndim == 3, f"a volume has three axes, not {self.array.shape}"
        object.__setattr__(self, "affine", np.asarray(self.affine, dtype=np.float64))
        assert self.affine.shape == (4, 4), f"an affine is 4 by 4, not {self.affine.shape}"

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.array.shape

    @property
    def voxel_mm(self) -> np.ndarray:
        """Return the voxel's edge lengths in mm, (3,)."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    def like(self, array: np.ndarray, unit: str | None = None) -> "Volume":
        """Return `array` on this volume's grid."""
        assert array.shape == self.shape, f"{array.shape} on a grid of {self.shape}"
        return Volume(array, self.affine, self.unit if unit is None else unit)

    def same_grid(self, other: "Volume", tolerance_mm: float = 1e-3) -> bool:
        """Return whether both volumes have the same voxels."""
        return self.shape == other.shape and np.allclose(self.affine, other.affine, rtol=0, atol=tolerance_mm)

    def canonical(self) -> "Volume":
        """Return the same voxels with axes that run nearest to right, anterior, superior."""
        import nibabel as nib

        orientation = nib.io_orientation(self.affine)
        to_here = nib.orientations.inv_ornt_aff(orientation, self.shape)
        turned = np.ascontiguousarray(nib.apply_orientation(self.array, orientation))
        return Volume(turned, self.affine @ to_here, self.unit)

    def with_axes_of(self, grid: "Volume") -> "Volume":
        """Return the same voxels in the order of `grid`'s axes, and on its affine."""
        import nibabel as nib

        orientations = nib.io_orientation(self.affine), nib.io_orientation(grid.affine)
        turn = nib.orientations.ornt_transform(*orientations)
        return grid.like(np.ascontiguousarray(nib.apply_orientation(self.array, turn)), self.unit)

    def upright(self, array: np.ndarray) -> np.ndarray:
        """Return `array` of this grid with its axes nearest to right, anterior and superior, as a view."""
        import nibabel as nib

        return nib.orientations.apply_orientation(array, nib.io_orientation(self.affine))

    def in_order_of_axes(self, along: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return numbers that belong to right, anterior, superior in the order of the array's axes."""
        import nibabel as nib

        return tuple(along[int(axis)] for axis in nib.io_orientation(self.affine)[:, 0])

    @classmethod
    def load(cls, path: str | Path, unit: str | None = None) -> "Volume":
        """Return the image in a NIfTI file as float32 (labels and masks as stored), scaled by its slope.

        Takes 3D, and 4D with one frame. The unit is `unit`, else what `save` noted in the header.
        Raises InputError for a missing or damaged file, several frames, or non-finite voxels; MemoryError for
        an image that the memory cannot hold.
        """
        import nibabel as nib

        path = Path(path)
        with _readable(path):
            image = nib.load(path)
            shape = _one_frame(path, image)
            array = np.asanyarray(image.dataobj).reshape(shape)
        noted = _noted_unit(image)
        unit = noted if unit is None else unit
        if unit not in ("label", "mask"):
            array = np.asarray(array, dtype=np.float32)
        if not np.isfinite(array).all():
            raise InputError(
                f"{path} has {np.count_nonzero(~np.isfinite(array))} voxels that are not finite; "
                "replace them, e.g. by 0"
            )
        return cls(array, image.affine, unit)

    @classmethod
    def grid_of(cls, path: str | Path) -> "Volume":
        """Return the grid of an image, its voxels all 0 and without memory: only the header is read.

        Raises InputError for a missing file, or a header that `load` would refuse.
        """
        import nibabel as nib

        path = Path(path)
        with _readable(path):
            image = nib.load(path)
            shape = _one_frame(path, image)
        return cls(np.broadcast_to(np.float32(0), shape), image.affine, _noted_unit(image))

    def save(self, path: str | Path) -> None:
        """Write the volume as NIfTI-1 (float32; booleans as uint8), whole or not at all."""
        import nibabel as nib

        array = self.array
        if array.dtype == bool:
            array = array.astype(np.uint8)
        elif array.dtype == np.float64:
            array = array.astype(np.float32)
        elif array.dtype == np.int64:
            array = array.astype(np.int32)
        image = nib.Nifti1Image(array, self.affine)
        image.header.set_xyzt_units("mm", "sec")
        image.header["descrip"] = (UNIT_PREFIX + self.unit).encode()[:79]
        with whole_file(path) as temporary:
            nib.save(image, temporary)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Say in one sentence what hinders the block from reading the image in `path`."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the path") from None
    except _unreadable() as error:
        if getattr(error, "errno", None) == errno.ENOMEM:
            raise MemoryError(f"{path} is larger than the memory") from None
        raise InputError(
            f"{path} is not a readable NIfTI image ({error}); convert or copy it again"
        ) from None


def _unreadable() -> tuple[type[Exception], ...]:
    """Return what reading a file that is no image raises."""
    import nibabel as nib

    return (
        nib.filebasedimages.ImageFileError,
        nib.spatialimages.HeaderDataError,
        AttributeError,  # a surface or a table has no `dataobj`
        gzip.BadGzipFile,
        EOFError,
        OSError,
        ValueError,
        zlib.error,
    )


def _one_frame(path: Path, image: "SpatialImage") -> tuple[int, int, int]:
    """Return the shape of the only frame of an image that has a place in mm."""
    shape = tuple(image.shape)
    if math.prod(shape) > MAX_VOXELS:
        raise InputError(f"{path} has shape {shape}, more than {MAX_VOXELS} voxels; crop or resample it")
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        raise InputError(f"{path} has shape {shape}; give one 3D frame, e.g. the time average")
    if not abs(np.linalg.det(image.affine[:3, :3])) > 0:  # NaN included
        raise InputError(f"{path} has an affine that says no place in mm; write its sform anew")
    return shape


def _noted_unit(image: "SpatialImage") -> str:
    """Return the unit that `Volume.save` wrote into the header, or nothing."""
    text = (
        bytes(image.header["descrip"]).rstrip(b"\0").decode(errors="replace")
        if ("descrip" in image.header)
        else ""
    )
    return text.removeprefix(UNIT_PREFIX) if text.startswith(UNIT_PREFIX) else ""


def centred_affine(shape: tuple[int, int, int], voxel_mm: float) -> np.ndarray:
    """Return the RAS+ affine of a grid with cubic voxels whose centre is the scanner's, at 0 mm."""
    affine = np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0])
    affine[:3, 3] = -(np.asarray(shape) - 1) / 2 * voxel_mm
    return affine

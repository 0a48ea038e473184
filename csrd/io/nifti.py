"""Reading of a NIfTI file as nibabel opens it, with a sentence for whatever is wrong with it."""

import errno
import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from csrd.errors import InputError

if TYPE_CHECKING:
    from nibabel.spatialimages import SpatialImage

UNIT_PREFIX = "unit: "
MAX_VOXELS, MAX_FRAMES = 2**29, 10_000
"""Largest frame in a file, a head at 0.35 mm, and most frames. A file of a few kB could claim terabytes."""


def opened(path: Path, **how: bool) -> "SpatialImage":
    """Return the image in a file; one that is not a volume has no shape, which `readable` reports."""
    import nibabel as nib

    return cast("SpatialImage", nib.load(path, **how))


def unit_of(path: Path, image: "SpatialImage", unit: str | None) -> str:
    """Return the unit that is given, else the one in the header; raise InputError where they differ."""
    noted = noted_unit(image)
    if noted and unit not in (None, noted, "label", "mask"):  # a mask may have its image's header
        raise InputError(f"{path} says that its unit is {noted}, not {unit}; check that it is the right file")
    return noted if unit is None else unit


def checked(what: str | Path, array: np.ndarray, unit: str) -> np.ndarray:
    """Return the voxels, of an image as float32; raise InputError where they are no image or no mask."""
    if unit not in ("label", "mask"):
        array = np.asarray(array, dtype=np.float32)
    refuse_not_finite(what, array)
    if unit == "mask":
        _refuse_values(what, array)
    return array


def refuse_not_finite(what: str | Path, array: np.ndarray) -> None:
    """Raise InputError where voxels are NaN or infinite."""
    if not np.isfinite(array).all():
        raise InputError(
            f"{what} has {np.count_nonzero(~np.isfinite(array))} voxels that are not finite; "
            "replace them, e.g. by 0"
        )


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raise InputError with one sentence where the block cannot read the image in `path`."""
    if path.is_dir():
        raise InputError(
            f"{path} is a folder; give a NIfTI file (DICOM goes to csrd denoise, or through dcm2niix)"
        )
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError:
        if path.is_symlink():
            raise InputError(
                f"{path} is a link to a file that is not there; fetch it, e.g. by datalad get"
            ) from None
        raise InputError(f"{path} does not exist; check the path") from None
    except _unreadable() as error:
        if getattr(error, "errno", None) == errno.ENOMEM:
            raise MemoryError(f"{path} is larger than the memory") from None
        refuse_dicom_file(path)
        raise InputError(
            f"{path} is not a readable NIfTI image ({' '.join(str(error).split())}); convert or copy it again"
        ) from None


def _unreadable() -> tuple[type[Exception], ...]:
    """Return the exceptions that reading a damaged or foreign file raises."""
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


def is_dicom(path: str | Path) -> bool:
    """Return whether a file begins as DICOM does: with a preamble, or with a group of elements at once.

    Raises InputError where it cannot be read.
    """
    try:
        with open(path, "rb") as stream:
            content = stream.read(132)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; check its rights") from None
    return content[128:] == b"DICM" or content[:2] in (b"\x02\x00", b"\x08\x00") and content[3:4] == b"\x00"


def refuse_dicom_file(path: Path) -> None:
    """Raise InputError for a DICOM file, which is only one slice."""
    if path.is_file() and is_dicom(path):
        raise InputError(
            f"{path} is one DICOM file; give the folder of its series to csrd denoise, or convert it to NIfTI"
        )


def one_frame(path: Path, image: "SpatialImage") -> tuple[int, int, int]:
    """Return the shape of the only frame of an image that has a place in mm."""
    shape, count = frames(path, image)
    if count > 1:
        raise InputError(f"{path} has shape {(*shape, count)}; give one 3D frame, e.g. the time average")
    return shape


def frames(path: Path, image: "SpatialImage") -> tuple[tuple[int, int, int], int]:
    """Return the shape of each frame of an image that has a place in mm, and how many there are."""
    shape: tuple[int, ...] = tuple(image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) not in (3, 4) or math.prod(shape) == 0:
        raise InputError(f"{path} has shape {shape}; give a 3D image, or a 4D one with its frames last")
    if math.prod(shape[:3]) > MAX_VOXELS:
        raise InputError(f"{path} has shape {shape}, more than {MAX_VOXELS} voxels; crop or resample it")
    if len(shape) == 4 and shape[3] > MAX_FRAMES:
        raise InputError(f"{path} has shape {shape}, more than {MAX_FRAMES} frames; divide it")
    if not abs(np.linalg.det(image.affine[:3, :3])) > 0:  # NaN included
        raise InputError(f"{path} has an affine that is not invertible; write its sform again")
    x, y, z = shape[:3]
    return (x, y, z), shape[3] if len(shape) == 4 else 1


def scale_notes(path: Path, image: "SpatialImage") -> list[str]:
    """Return a note on an offset without a slope; raise InputError for colours, complex or NaN scales."""
    import nibabel as nib

    kind = image.get_data_dtype().kind
    if kind not in "iuf":
        what, remedy = (
            ("complex numbers", "save their magnitude") if kind == "c" else ("colours", "save grey values")
        )
        raise InputError(f"{path} holds {what}; {remedy}")
    if not isinstance(image, nib.Nifti1Pair):
        return []
    # nibabel replaces a slope that is not a number by 1
    with image.file_map["header" if "header" in image.file_map else "image"].get_prepare_fileobj() as stream:
        stored = type(image.header).from_fileobj(stream, check=False)
    slope, offset = float(stored["scl_slope"]), float(stored["scl_inter"])
    if not math.isfinite(slope):
        raise InputError(
            f"{path} has a scale (scl_slope) that is not a number; write the right one, or 1 for none"
        )
    if slope == 0 and offset:
        return [
            f"{path} has an offset (scl_inter {offset:g}) without a slope: according to NIfTI it is not added"
        ]
    return []


def _refuse_values(path: str | Path, array: np.ndarray) -> None:
    """Raise InputError for a mask that has more values than 0 and one above it."""
    inside = array[array != 0]
    if inside.size and (inside.min() < 0 or inside.min() != inside.max()):
        raise InputError(
            f"{path} is not a mask (its values run from {array.min():g} to {array.max():g}); "
            "give an image of 0 outside and 1 inside"
        )


def noted_unit(image: "SpatialImage") -> str:
    """Return the unit that `csrd.io.volume.Volume.save` wrote into the header, or ""."""
    header: Any = image.header
    text = bytes(header["descrip"]).rstrip(b"\0").decode(errors="replace") if "descrip" in header else ""
    return text.removeprefix(UNIT_PREFIX) if text.startswith(UNIT_PREFIX) else ""

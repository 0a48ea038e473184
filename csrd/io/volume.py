"""The image type, and reading and writing of NIfTI.

The only module that uses nibabel, which is imported inside functions: a machine that only computes needs
none.
"""

import errno
import gzip
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from csrd.errors import InputError, notice
from csrd.io.bids import NOTES_KEY
from csrd.io.files import whole_file
from csrd.io.places import GRID_TOLERANCE, place_of, voxels_apart

if TYPE_CHECKING:
    from nibabel.spatialimages import SpatialImage

UNIT_PREFIX = "unit: "
MAX_VOXELS, MAX_FRAMES = 2**29, 10_000
"""Largest frame in a file, a head at 0.35 mm, and most frames. A file of a few kB could claim terabytes."""
UPRIGHT = np.array([[0, 1], [1, 1], [2, 1]])
"""nibabel's orientation of axes to right, anterior and superior."""


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3D image: `array` (X, Y, Z), `affine` (4, 4) from voxel index to RAS+ mm, and its `unit`.

    Units in use: "Bq/mL" or "SUV" (PET), "1/cm" (μ-map), "arbitrary" (MR), "label", "mask", "".
    `notes` are the assumptions about its file, for the sidecars of images that are made from it.
    """

    array: np.ndarray
    affine: np.ndarray
    unit: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert self.array.ndim == 3, f"a volume has three axes, not {self.array.shape}"
        object.__setattr__(self, "affine", np.asarray(self.affine, dtype=np.float64))
        assert self.affine.shape == (4, 4), f"an affine is 4 by 4, not {self.affine.shape}"

    def __eq__(self, other: object) -> bool:
        """Return whether voxels, affine and unit are equal, to the last bit."""
        if not isinstance(other, Volume):
            return NotImplemented
        return (
            self.unit == other.unit
            and np.array_equal(self.affine, other.affine)
            and np.array_equal(self.array, other.array)
        )

    __hash__ = None  # type: ignore[assignment] # how Python marks an unhashable class

    @property
    def shape(self) -> tuple[int, int, int]:
        x, y, z = self.array.shape
        return x, y, z

    @property
    def voxel_mm(self) -> np.ndarray:
        """Return the voxel's edge lengths in mm, (3,)."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    def like(self, array: np.ndarray, unit: str | None = None) -> "Volume":
        """Return `array` on this volume's grid."""
        assert array.shape == self.shape, f"{array.shape} on a grid of {self.shape}"
        return Volume(array, self.affine, self.unit if unit is None else unit, self.notes)

    def part(self, box: tuple[slice, ...]) -> "Volume":
        """Return a box of the volume, of slices that have a start and a stop."""
        affine = self.affine.copy()
        affine[:3, 3] = (self.affine @ np.array([*(part.start for part in box), 1.0]))[:3]
        return Volume(np.ascontiguousarray(self.array[box]), affine, self.unit)

    @property
    def sidecar_notes(self) -> dict[str, list[str]]:
        """Return the entry of a sidecar that holds the notes; {} without any."""
        return {NOTES_KEY: list(self.notes)} if self.notes else {}

    def same_grid(self, other: "Volume") -> bool:
        """Return whether both volumes have the same voxels, to `GRID_TOLERANCE`."""
        return not self.grid_difference(other)

    def grid_difference(self, other: "Volume") -> str:
        """Return a description of how the grid differs from another volume's; "" where they are the same."""
        if self.shape != other.shape:
            return " against ".join("×".join(map(str, volume.shape)) + " voxels" for volume in (self, other))
        apart = voxels_apart(self.shape, self.affine, other.affine)
        return "" if apart <= GRID_TOLERANCE else f"their corners lie up to {apart:.2g} voxels apart"

    def canonical(self) -> "Volume":
        """Return the same voxels with axes that run nearest to right, anterior, superior."""
        import nibabel as nib

        orientation = nib.io_orientation(self.affine)
        to_here = nib.orientations.inv_ornt_aff(orientation, self.shape)
        turned = np.ascontiguousarray(nib.apply_orientation(self.array, orientation))
        return Volume(turned, self.affine @ to_here, self.unit)

    def with_axes_of(self, grid: "Volume") -> "Volume":
        """Return the voxels of a `canonical` volume in the order of `grid`'s axes, and on its affine.

        `grid` is what it was made of. Only that affine is read: near 45° the order of the axes is a matter of
        rounding, and another affine may have another.
        """
        import nibabel as nib

        turn = nib.orientations.ornt_transform(UPRIGHT, nib.io_orientation(grid.affine))
        return grid.like(np.ascontiguousarray(nib.apply_orientation(self.array, turn)), self.unit)

    def upright(self, array: np.ndarray) -> np.ndarray:
        """Return `array` of this grid with its axes nearest to right, anterior and superior, as a view."""
        import nibabel as nib

        return nib.orientations.apply_orientation(array, nib.io_orientation(self.affine))

    def in_order_of_axes(self, along: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return numbers for right, anterior and superior in the order of the array's axes."""
        import nibabel as nib

        x, y, z = (along[int(axis)] for axis in nib.io_orientation(self.affine)[:, 0])
        return x, y, z

    @classmethod
    def load(cls, path: str | Path, unit: str | None = None) -> "Volume":
        """Return the image in a NIfTI file as float32 (labels and masks as stored), scaled by its slope.

        The image is 3D, or 4D with one frame. The unit is `unit`, else the one that `save` wrote into the
        header. Missing positions are assumed as in `places.place_of`, with a warning.
        Raises InputError for a missing or damaged file, several frames, non-finite voxels, colours, complex
        numbers, a scale that is not a number, a mask with several values, or contradictory positions or
        units; MemoryError for an image that does not fit into memory.
        """
        path = Path(path)
        with _readable(path):
            image = _opened(path)
            shape = _one_frame(path, image)
            affine, notes = place_of(path, image)
            notes += _scale_notes(path, image)
            array = np.asanyarray(image.dataobj).reshape(shape)
        unit = _unit_of(path, image, unit)
        return cls(_checked(path, array, unit), affine, unit, tuple(notice(note) for note in notes))

    @classmethod
    def frames(cls, path: str | Path) -> Iterator["Volume"]:
        """Yield the frames of a 4D image one after the other, as `load` would return each.

        Only one frame is in memory. Raises InputError where `load` would; the message has the frame's number.
        """
        path = Path(path)
        with _readable(path):
            image = _opened(path, keep_file_open=True)  # a compressed file is then read once, not per frame
            shape, count = _frames(path, image)
            affine, notes = place_of(path, image)
            notes += _scale_notes(path, image)
        unit, noted = _unit_of(path, image, None), tuple(notes)
        for index in range(count):
            with _readable(path):
                array = np.asanyarray(image.dataobj[..., index] if count > 1 else image.dataobj)
            array = _checked(f"frame {index + 1} of {path}", array.reshape(shape), unit)
            yield cls(array, affine, unit, noted)

    @classmethod
    def count_frames(cls, path: str | Path) -> tuple[int, float]:
        """Return the number of frames of an image, 1 where it is 3D, and their distance in the header.

        Raises InputError for a missing file, or a header that `frames` would refuse.
        """
        path = Path(path)
        with _readable(path):
            image = _opened(path)
            count, zooms = _frames(path, image)[1], image.header.get_zooms()
        return count, float(zooms[3]) if len(zooms) > 3 else 1.0

    @classmethod
    def grid_of(cls, path: str | Path, frames: bool = False) -> "Volume":
        """Return the grid of an image with all voxels 0, without allocating them: only the header is read.

        With `frames` the image may be 4D. Raises InputError for a missing file, or a header that `load` would
        refuse.
        """
        path = Path(path)
        with _readable(path):
            image = _opened(path)
            shape = _frames(path, image)[0] if frames else _one_frame(path, image)
            affine, notes = place_of(path, image)
            _scale_notes(path, image)
        return cls(np.broadcast_to(np.float32(0), shape), affine, _noted_unit(image), tuple(notes))

    def save(self, path: str | Path) -> None:
        """Write the volume as NIfTI-1 (float32; booleans as uint8), completely or not at all."""
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


def _opened(path: Path, **how: bool) -> "SpatialImage":
    """Return the image in a file; one that is not a volume has no shape, which `_readable` reports."""
    import nibabel as nib

    return cast("SpatialImage", nib.load(path, **how))


def _unit_of(path: Path, image: "SpatialImage", unit: str | None) -> str:
    """Return the unit that is given, else the one in the header; raise InputError where they differ."""
    noted = _noted_unit(image)
    if noted and unit not in (None, noted, "label", "mask"):  # a mask may have its image's header
        raise InputError(f"{path} says that its unit is {noted}, not {unit}; check that it is the right file")
    return noted if unit is None else unit


def _checked(what: str | Path, array: np.ndarray, unit: str) -> np.ndarray:
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
def _readable(path: Path) -> Iterator[None]:
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


def refuse_other_grid(image: Volume, grid: Volume, what: str | Path, of: str | Path, remedy: str) -> None:
    """Raise InputError where the voxels of an image (`what`) are not those of a grid (`of`)."""
    if difference := image.grid_difference(grid):
        raise InputError(f"{what} is not on the grid of {of} ({difference}); {remedy}")


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


def _one_frame(path: Path, image: "SpatialImage") -> tuple[int, int, int]:
    """Return the shape of the only frame of an image that has a place in mm."""
    shape, count = _frames(path, image)
    if count > 1:
        raise InputError(f"{path} has shape {(*shape, count)}; give one 3D frame, e.g. the time average")
    return shape


def _frames(path: Path, image: "SpatialImage") -> tuple[tuple[int, int, int], int]:
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


def _scale_notes(path: Path, image: "SpatialImage") -> list[str]:
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


def _noted_unit(image: "SpatialImage") -> str:
    """Return the unit that `Volume.save` wrote into the header, or ""."""
    header: Any = image.header
    text = bytes(header["descrip"]).rstrip(b"\0").decode(errors="replace") if "descrip" in header else ""
    return text.removeprefix(UNIT_PREFIX) if text.startswith(UNIT_PREFIX) else ""


def centred_affine(shape: Sequence[int], voxel_mm: float) -> np.ndarray:
    """Return the RAS+ affine of a grid of cubic voxels that is centred on the scanner, at 0 mm."""
    affine = np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0])
    affine[:3, 3] = -(np.asarray(shape) - 1) / 2 * voxel_mm
    return affine


@contextmanager
def writing_frames(
    path: str | Path, grid: Volume, count: int, step: float = 1.0
) -> Iterator[Callable[[np.ndarray], None]]:
    """Yield a function that appends one frame (X, Y, Z) to a 4D NIfTI-1 image of `count` frames on `grid`.

    `step` is the header's distance of frames. Only one frame is in memory. The file is complete or absent:
    `count` frames have to be written.
    """
    import nibabel as nib

    image = nib.Nifti1Image(np.broadcast_to(np.float32(0), (*grid.shape, count)), grid.affine)
    header = image.header
    header.set_xyzt_units("mm", "sec")
    header["descrip"] = (UNIT_PREFIX + grid.unit).encode()[:79]
    header.set_zooms((*header.get_zooms()[:3], step))
    header.set_slope_inter(1, 0)
    header.set_data_offset(header.single_vox_offset)
    written = 0
    with whole_file(path) as temporary, _stream(temporary) as stream:
        header.write_to(stream)

        def write(frame: np.ndarray) -> None:
            nonlocal written
            assert frame.shape == grid.shape, f"{frame.shape} on a grid of {grid.shape}"
            stream.write(frame.astype("<f4").tobytes(order="F"))
            written += 1

        yield write
        assert written == count, f"{written} of {count} frames were written"


@contextmanager
def _stream(path: Path) -> Iterator[Any]:
    """Open a file for writing, compressed where its name ends in .gz; equal content gives equal bytes."""
    with open(path, "wb") as file:
        if path.suffix != ".gz":
            yield file
            return
        with gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=file, mtime=0) as stream:
            yield stream

"""The image type, which is read from NIfTI and written to it.

nibabel is imported inside functions here and in `csrd.io.nifti`: a machine that only computes needs none.
"""

import gzip
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from csrd.errors import InputError, notice
from csrd.io import nifti
from csrd.io.bids import NOTES_KEY
from csrd.io.files import whole_file
from csrd.io.places import GRID_TOLERANCE, place_of, voxels_apart

if TYPE_CHECKING:
    pass

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
        with nifti.readable(path):
            image = nifti.opened(path)
            shape = nifti.one_frame(path, image)
            affine, notes = place_of(path, image)
            notes += nifti.scale_notes(path, image)
            array = np.asanyarray(image.dataobj).reshape(shape)
        unit = nifti.unit_of(path, image, unit)
        return cls(nifti.checked(path, array, unit), affine, unit, tuple(notice(note) for note in notes))

    @classmethod
    def frames(cls, path: str | Path) -> Iterator["Volume"]:
        """Yield the frames of a 4D image one after the other, as `load` would return each.

        Only one frame is in memory. Raises InputError where `load` would; the message has the frame's number.
        """
        path = Path(path)
        with nifti.readable(path):
            image = nifti.opened(
                path, keep_file_open=True
            )  # a compressed file is then read once, not per frame
            shape, count = nifti.frames(path, image)
            affine, notes = place_of(path, image)
            notes += nifti.scale_notes(path, image)
        unit, noted = nifti.unit_of(path, image, None), tuple(notes)
        for index in range(count):
            with nifti.readable(path):
                array = np.asanyarray(image.dataobj[..., index] if count > 1 else image.dataobj)
            array = nifti.checked(f"frame {index + 1} of {path}", array.reshape(shape), unit)
            yield cls(array, affine, unit, noted)

    @classmethod
    def count_frames(cls, path: str | Path) -> tuple[int, float]:
        """Return the number of frames of an image, 1 where it is 3D, and their distance in the header.

        Raises InputError for a missing file, or a header that `frames` would refuse.
        """
        path = Path(path)
        with nifti.readable(path):
            image = nifti.opened(path)
            count, zooms = nifti.frames(path, image)[1], image.header.get_zooms()
        return count, float(zooms[3]) if len(zooms) > 3 else 1.0

    @classmethod
    def grid_of(cls, path: str | Path, frames: bool = False) -> "Volume":
        """Return the grid of an image with all voxels 0, without allocating them: only the header is read.

        With `frames` the image may be 4D. Raises InputError for a missing file, or a header that `load` would
        refuse.
        """
        path = Path(path)
        with nifti.readable(path):
            image = nifti.opened(path)
            shape = nifti.frames(path, image)[0] if frames else nifti.one_frame(path, image)
            affine, notes = place_of(path, image)
            nifti.scale_notes(path, image)
        return cls(np.broadcast_to(np.float32(0), shape), affine, nifti.noted_unit(image), tuple(notes))

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
        image.header["descrip"] = (nifti.UNIT_PREFIX + self.unit).encode()[:79]
        with whole_file(path) as temporary:
            nib.save(image, temporary)


def refuse_other_grid(image: Volume, grid: Volume, what: str | Path, of: str | Path, remedy: str) -> None:
    """Raise InputError where the voxels of an image (`what`) are not those of a grid (`of`)."""
    if difference := image.grid_difference(grid):
        raise InputError(f"{what} is not on the grid of {of} ({difference}); {remedy}")


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
    header["descrip"] = (nifti.UNIT_PREFIX + grid.unit).encode()[:79]
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

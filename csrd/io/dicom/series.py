"""Series of single-frame images in a folder: files, volume, and assumptions about it."""

import struct
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from csrd.errors import InputError, notice
from csrd.io.dicom.facts import facts_of
from csrd.io.dicom.places import placed
from csrd.io.dicom.values import scale_of, values_of
from csrd.io.nifti import is_dicom
from csrd.io.volume import Volume

MODALITIES = ("PT", "MR")
MAX_SLICES = 4096
REQUIRED = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "ImagePositionPatient",
            "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns")  # fmt: skip
# Exceptions that pydicom raises for damaged elements
ELEMENT_ERRORS = (ArithmeticError, AssertionError, AttributeError, BytesLengthException, EOFError,
                  InvalidDicomError, LookupError, MemoryError, NotImplementedError, OSError, RuntimeError,
                  TypeError, ValueError, struct.error, zlib.error)  # fmt: skip
SYNTAXES: dict[
    tuple[bool | None, bool | None], UID
] = {  # of a file that does not say: by (implicit VR, little endian)
    (True, True): ImplicitVRLittleEndian,
    (False, True): ExplicitVRLittleEndian,
    (False, False): ExplicitVRBigEndian,
}


@dataclass(frozen=True)
class Series:
    """A series: its volume (columns, rows, slices), the slices' headers in the volume's order, its facts.

    `notes` are the assumptions about it, as the volume's, but without the folder's name.
    """

    volume: Volume
    headers: tuple[Dataset, ...]
    facts: dict
    notes: tuple[str, ...] = ()


def read_series(folder: str | Path, units: str | None = None, allow_incomplete: bool = False) -> Series:
    """Return the one PET or MR series in a folder: PET in Bq/mL or SUV, MR in arbitrary units.

    Slices are sorted by position, and each is scaled by its own slope. `units` is the unit of PET values
    whose headers do not name one: Bq/mL, kBq/mL or SUV. The facts are those of BIDS sidecars: weight in kg,
    injected activity in MBq, isotope, times.
    Raises InputError for a folder with no DICOM, several series, slices that are missing, tilted, without
    scale or of different sizes or units, several frames, or an unknown unit. With `allow_incomplete`, slices
    may be missing at the ends, or at even distances.
    """
    folder = Path(folder)
    return read_files(folder, dicom_files(folder), units, allow_incomplete)


def read_files(
    folder: Path, paths: Sequence[Path], units: str | None, allow_incomplete: bool, warn: bool = True
) -> Series:
    """Return the series in files of a folder, as `read_series` does; without `warn` no note is logged."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of oddities that do no harm; the others raise
            return _series(folder, _slices(folder, paths), units, allow_incomplete, warn)
    except InputError:
        raise
    except ELEMENT_ERRORS as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{folder} has a slice that cannot be read ({reason}); export it again") from None


def _series(
    folder: Path, slices: list[Dataset], units: str | None, allow_incomplete: bool, warn: bool
) -> Series:
    """Return the series of these slices."""
    modalities = {str(header.get("Modality")) for header in slices}
    if len(modalities) > 1 or not modalities <= set(MODALITIES):
        named = " and ".join(map(repr, sorted(modalities)))
        raise InputError(f"{folder} holds a series of modality {named}; give PET (PT) or MR")
    affine, order, found = placed(folder, slices, allow_incomplete)
    slices = [slices[index] for index in order]
    scale = scale_of(folder, slices, units)
    array = np.stack(
        [values_of(folder, header, factor) for header, factor in zip(slices, scale.factors, strict=True)],
        axis=-1,
    )
    if not np.isfinite(array).all():
        raise InputError(f"{folder} has voxels that are not finite; check its rescale slopes")
    facts, more = facts_of(slices, scale.unit)
    notes = (*found, *scale.notes, *more)
    noted = tuple(f"{folder} {note}" for note in notes)
    if warn:
        for note in noted:
            notice(note)
    return Series(Volume(array, affine, scale.unit, noted), tuple(slices), facts, notes)


def dicom_files(folder: Path) -> list[Path]:
    """Return the files of DICOM in a folder, by name."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the folder of a DICOM series")
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != "DICOMDIR")
    return [path for path in files if is_dicom(path)]


def _slices(folder: Path, paths: Sequence[Path]) -> list[Dataset]:
    """Return the headers, with pixels, of the one series in files of a folder."""
    found: list[Dataset] = []
    for path in paths:
        if len(found) == MAX_SLICES:
            raise InputError(f"{folder} has more than {MAX_SLICES} DICOM files; give one frame's slices")
        if (header := _read_slice(path)) is not None:
            found.append(header)
    if not found:
        raise InputError(f"{folder} has no DICOM files; give the folder of one series")
    series = {header.SeriesInstanceUID for header in found}
    if len(series) > 1:
        raise InputError(f"{folder} has {len(series)} series; put one series into a folder of its own")
    return found


def _read_slice(path: Path) -> Dataset | None:
    """Return the header in a file, None for a file without preamble that is not DICOM."""
    try:
        header = pydicom.dcmread(
            path, force=True
        )  # a data set alone, as old archives keep it, has no preamble
        if header.preamble is None and not str(header.get("SOPClassUID", "")).startswith("1.2.840.10008."):
            return None
        missing = [name for name in REQUIRED if header.get(name) in (None, "")]
        if "TransferSyntaxUID" not in header.file_meta:
            header.file_meta.TransferSyntaxUID = SYNTAXES[header.original_encoding]
    except ELEMENT_ERRORS as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is not a readable DICOM file ({reason}); export it again") from None
    if missing:
        raise InputError(f"{path} lacks {missing[0]}; give a series of single-frame PET or MR images")
    return header

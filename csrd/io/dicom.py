"""DICOM series of PET and MR: a folder of slices in; a volume out, in the headers of the series it came from.

The only place that knows pydicom. DICOM's patient coordinates are LPS mm: x to the left, y to the back; a
volume's are RAS mm, so both change sign. Attributes as DICOM PS3.3 names them.
"""

import copy
import math
import shutil
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from csrd.errors import InputError
from csrd.io.files import read_json, write_json
from csrd.io.volume import Volume

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
UNITS = {"BQML": "Bq/mL", "GML": "SUV"}  # of PET: activity concentration, SUV by body weight
MODALITIES = ("PT", "MR")
STRAIGHT = 1e-3  # by how much orientations may differ between slices
EVEN_MM = 0.05  # and distances
LARGEST = 65_535
MAX_SLICES = 4096
STALE = ("SmallestImagePixelValue", "LargestImagePixelValue", "WindowCenter", "WindowWidth", "FloatPixelData",
         "DoubleFloatPixelData", "LossyImageCompression", "LossyImageCompressionRatio",
         "LossyImageCompressionMethod", "PixelPaddingValue")  # fmt: skip
REQUIRED = ("SOPInstanceUID", "SeriesInstanceUID", "ImagePositionPatient", "ImageOrientationPatient",
            "PixelSpacing", "Rows", "Columns")  # fmt: skip
# What pydicom is known to raise for damaged elements
ELEMENT_ERRORS = (ArithmeticError, AssertionError, AttributeError, BytesLengthException, EOFError,
                  InvalidDicomError, LookupError, MemoryError, NotImplementedError, OSError, RuntimeError,
                  TypeError, ValueError, struct.error, zlib.error)  # fmt: skip


@dataclass(frozen=True)
class Series:
    """A series: its volume (columns, rows, slices), the slices' headers in the volume's order, its facts."""

    volume: Volume
    headers: tuple[Dataset, ...]
    facts: dict


def read_series(folder: str | Path) -> Series:
    """Return the one PET or MR series in a folder: PET in Bq/mL or SUV, MR in arbitrary units.

    Slices are sorted by position and scaled each by its own slope. The facts are what BIDS sidecars keep of
    the headers: weight in kg, injected activity in MBq, isotope, times.
    Raises InputError for a folder with no DICOM, several series, slices that are missing, tilted or of other
    sizes, several frames, or a unit that is none of Bq/mL and SUV.
    """
    folder = Path(folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of oddities that do no harm; the others raise
            return _series(folder, _slices(folder))
    except InputError:
        raise
    except ELEMENT_ERRORS as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{folder} has a slice that cannot be read ({reason}); export it again") from None


def write_series(volume: Volume, folder: str | Path, source: Series, description: str) -> None:
    """Write a volume as a series in a new folder, in the headers of the series it was made from.

    Patient, study, frame of reference and scan stay; series and images get new UIDs and refer to their
    sources; ImageType becomes DERIVED; `description` names the method. 16 bits, one slope a slice.
    Raises InputError for a folder that exists and is not empty, or cannot be written.
    """
    assert volume.same_grid(source.volume), "a derived series lies on the grid of its source"
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not empty; name a new folder for the series")
    series_uid = generate_uid()
    number = int(source.headers[0].get("SeriesNumber") or 0) + 1000
    part = folder.with_name(f"{folder.name}_part")
    try:
        part.mkdir(parents=True)
        for index, header in enumerate(source.headers):
            image = _derived(header, volume.array[..., index], series_uid, number, description)
            image.InstanceNumber = index + 1
            image.save_as(part / f"{index + 1:04d}.dcm", enforce_file_format=True)
        if folder.exists():
            folder.rmdir()
        part.replace(folder)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot write {folder}: {reason}; choose another output folder") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def as_nifti(inputs: Sequence[Path | None], target: Path) -> Iterator[tuple[list[Path | None], Path]]:
    """Yield the paths with each DICOM folder among `inputs` replaced by a NIfTI file with its sidecar.

    The first input decides the output: where it is a folder, a NIfTI target is yielded too, and what was
    written there becomes a series in the folder `target`. Raises InputError as `read_series` and
    `write_series` do, and for a NIfTI target of a DICOM input or the reverse.
    """
    given = [path is not None and path.is_dir() for path in inputs]
    if not any(given):
        yield list(inputs), target
        return
    if given[0] == target.name.endswith((".nii", ".nii.gz")):
        kind = "a folder, which takes the new series" if given[0] else "a file name ending in .nii.gz"
        raise InputError(f"{target} cannot take the result for {inputs[0]}; give {kind}")
    if given[0] and target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target} exists and is not empty; name a new folder for the series")
    with TemporaryDirectory(prefix="csrd-dicom-") as scratch:
        paths, series = list(inputs), {}
        for number, path in enumerate(inputs):
            if given[number]:
                series[number] = read_series(path)
                paths[number] = Path(scratch) / f"input{number}.nii.gz"
                series[number].volume.save(paths[number])
                write_json(Path(scratch) / f"input{number}.json", series[number].facts)
        if not given[0]:
            yield paths, target
            return
        result = Path(scratch) / "result.nii.gz"
        yield paths, result
        method = read_json(Path(scratch) / "result.json").get("Denoising", "CSR-D")
        write_series(Volume.load(result), target, series[0], f"denoised by {method}")


def _series(folder: Path, slices: list[Dataset]) -> Series:
    """Return the series of these slices."""
    first = slices[0]
    if first.get("Modality") not in MODALITIES:
        raise InputError(
            f"{folder} holds a series of modality {first.get('Modality')!r}; give PET (PT) or MR"
        )
    unit = _unit(folder, first)
    affine, order = _geometry(folder, slices)
    slices = [slices[index] for index in order]
    array = np.stack([_pixels(header) for header in slices], axis=-1)
    if not np.isfinite(array).all():
        raise InputError(f"{folder} has voxels that are not finite; check its rescale slopes")
    return Series(Volume(array, affine, unit), tuple(slices), _facts(first, unit))


def _slices(folder: Path) -> list[Dataset]:
    """Return the headers, with pixels, of the one series in a folder."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give the folder of a DICOM series")
    found = []
    for path in sorted(path for path in folder.iterdir() if path.is_file() and path.name != "DICOMDIR"):
        if not _is_dicom(path):
            continue
        if len(found) == MAX_SLICES:
            raise InputError(f"{folder} has more than {MAX_SLICES} DICOM files; give one frame's slices")
        try:
            header = pydicom.dcmread(path)
            missing = [name for name in REQUIRED if header.get(name) in (None, "")]
        except ELEMENT_ERRORS as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{path} is no readable DICOM file ({reason}); export it again") from None
        if missing:
            raise InputError(f"{path} lacks {missing[0]}; give a series of single-frame PET or MR images")
        found.append(header)
    if not found:
        raise InputError(f"{folder} has no DICOM files; give the folder of one series")
    series = {header.SeriesInstanceUID for header in found}
    if len(series) > 1:
        raise InputError(f"{folder} has {len(series)} series; put one series into a folder of its own")
    return found


def _is_dicom(path: Path) -> bool:
    """Return whether a file says that it is DICOM."""
    try:
        with open(path, "rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; check its rights") from None


def _unit(folder: Path, header: Dataset) -> str:
    if header.Modality == "MR":
        return "arbitrary"
    units = header.get("Units")
    if units not in UNITS:
        raise InputError(f"{folder} has PET in units {units!r}; export it in Bq/mL (BQML) or SUV (GML)")
    return UNITS[units]


def _geometry(folder: Path, slices: list[Dataset]) -> tuple[np.ndarray, np.ndarray]:
    """Return the affine to RAS mm of (column, row, slice), and the slices' order along their normal."""
    first = slices[0]
    along_row, along_column = np.array(first.ImageOrientationPatient, float).reshape(2, 3)
    normal = np.cross(along_row, along_column)
    spacing = np.array(first.PixelSpacing, float)  # between rows, between columns
    places = np.array([header.ImagePositionPatient for header in slices], float)
    if not (abs(np.linalg.norm(normal) - 1) < STRAIGHT and spacing.min() > 0 and np.isfinite(places).all()):
        raise InputError(f"{folder} has no usable orientation and spacing of its slices; export it again")
    for header in slices:
        same = (
            np.allclose(np.array(header.ImageOrientationPatient, float).reshape(2, 3),
                        [along_row, along_column], atol=STRAIGHT)
            and np.allclose(np.array(header.PixelSpacing, float), spacing)
            and (header.Rows, header.Columns) == (first.Rows, first.Columns)
        )  # fmt: skip
        if not same:
            raise InputError(f"{folder} has slices of different sizes or orientations; give one series only")
    height = places @ normal
    order = np.argsort(height)
    steps = np.diff(height[order])
    if len(steps) and steps.min() < EVEN_MM:
        raise InputError(f"{folder} has two slices at one place; give one time frame only")
    if len(steps) and np.ptp(steps) > EVEN_MM:
        raise InputError(
            f"{folder} lacks slices: they lie {steps.min():g} to {steps.max():g} mm apart; export all of them"
        )
    thickness = float(first.get("SpacingBetweenSlices") or first.get("SliceThickness") or 1)
    across = (places[order[-1]] - places[order[0]]) / len(steps) if len(steps) else normal * thickness
    if abs(across - normal * (across @ normal)).max() > EVEN_MM:
        raise InputError(f"{folder} has slices shifted against each other (a gantry tilt); resample it first")
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = along_row * spacing[1], along_column * spacing[0], across
    affine[:3, 3] = places[order[0]]
    return LPS_TO_RAS @ affine, order


def _pixels(header: Dataset) -> np.ndarray:
    """Return a slice's values (columns, rows) float32, scaled by its slope and intercept."""
    if int(header.get("NumberOfFrames") or 1) != 1 or int(header.get("SamplesPerPixel") or 1) != 1:
        raise InputError("a slice has several frames or colours; give single-frame grey images")
    bits = int(header.BitsAllocated)
    if len(header.PixelData) > 2 * (int(header.Rows) * int(header.Columns) * bits // 8 + 2):
        raise ValueError("more pixel data than its rows and columns hold")
    slope = float(header.get("RescaleSlope") or 1)
    intercept = float(header.get("RescaleIntercept") or 0)
    return (header.pixel_array.astype(np.float64) * slope + intercept).astype(np.float32).T


def _facts(header: Dataset, unit: str) -> dict:
    """Return what the headers say of dose and time, under the keys of BIDS PET."""
    facts: dict = {"Units": unit} if unit != "arbitrary" else {}
    facts |= {"Manufacturer": header.get("Manufacturer"), "BodyWeight": _number(header, "PatientWeight")}
    dose = (header.get("RadiopharmaceuticalInformationSequence") or [None])[0]
    if isinstance(dose, Dataset):
        becquerel = _number(dose, "RadionuclideTotalDose")
        facts["InjectedRadioactivity"] = becquerel / 1e6 if becquerel else None
        facts["InjectedRadioactivityUnits"] = "MBq" if becquerel else None
        facts["RadionuclideHalfLife"] = _number(dose, "RadionuclideHalfLife")
        facts["TracerName"] = dose.get("Radiopharmaceutical")
        facts |= _times(dose.get("RadiopharmaceuticalStartTime"), header.get("SeriesTime"))
    milliseconds = _number(header, "ActualFrameDuration")
    facts["FrameDuration"] = [milliseconds / 1000] if milliseconds else None
    if correction := header.get("DecayCorrection"):
        facts["ImageDecayCorrected"] = correction != "NONE"
        facts["DecayCorrection"] = correction
    return {
        key: value if isinstance(value, bool | float | list) else str(value)
        for key, value in facts.items()
        if value not in (None, "")
    }


def _times(injection: object, scan: object) -> dict:
    """Return the injection as time zero, and the scan's start in s after it; nothing where one is unknown."""
    try:
        seconds = [int(t[:2]) * 3600 + int(t[2:4]) * 60 + float(t[4:]) for t in (str(injection), str(scan))]
    except ValueError:
        return {}
    if not 0 <= seconds[0] <= seconds[1] < math.inf:
        return {}
    clock = f"{str(injection)[:2]}:{str(injection)[2:4]}:{str(injection)[4:6]}"
    return {"TimeZero": clock, "InjectionStart": 0.0, "ScanStart": seconds[1] - seconds[0]}


def _number(header: Dataset, name: str) -> float | None:
    """Return an attribute as a finite number of more than 0, else None."""
    try:
        value = float(header.get(name))
    except ELEMENT_ERRORS:
        return None
    return value if 0 < value < np.inf else None


def _derived(header: Dataset, values: np.ndarray, series_uid: str, number: int, description: str) -> Dataset:
    """Return the header of a slice with other pixels (columns, rows), as an image derived from it."""
    image = copy.deepcopy(header)
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = header.SOPClassUID
    image.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = generate_uid()
    image.file_meta = meta
    reference = pydicom.Dataset()
    reference.ReferencedSOPClassUID = header.SOPClassUID
    reference.ReferencedSOPInstanceUID = header.SOPInstanceUID
    image.SourceImageSequence = [reference]
    kind = list(header.get("ImageType") or ["ORIGINAL", "PRIMARY"])
    image.ImageType = ["DERIVED", *kind[1:]]
    image.SeriesInstanceUID, image.SeriesNumber = series_uid, number
    former = str(header.get("SeriesDescription", ""))
    image.SeriesDescription = f"{former[: 63 - len(description)]} {description}".strip()[:64]
    image.DerivationDescription = description
    low, high = float(min(values.min(), 0)), float(values.max())
    # As many digits as DICOM's decimal strings hold
    image.RescaleSlope, image.RescaleIntercept = f"{(high - low) / LARGEST or 1:.10g}", f"{low:.10g}"
    stored = (values.T.astype(np.float64) - float(image.RescaleIntercept)) / float(image.RescaleSlope)
    stored = np.round(stored).clip(0, LARGEST).astype("<u2")
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation = 15, 0
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    for stale in STALE:
        if stale in image:
            del image[stale]
    image.PixelData = stored.tobytes()
    return image

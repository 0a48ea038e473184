"""DICOM series derived from another: its headers with new pixels, 16 bits, explicit VR little endian."""

import copy
import io
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from csrd.errors import InputError
from csrd.io.dicom.series import ELEMENT_ERRORS, Series
from csrd.io.dicom.values import PHILIPS, PHILIPS_FACTORS, UNITS
from csrd.io.files import refuse_locked
from csrd.io.volume import Volume

PIXEL_DATA = 0x7FE00010
SIGNED, UNSIGNED = 32_767, 65_535  # the largest stored values
STALE = ("SmallestImagePixelValue", "LargestImagePixelValue", "WindowCenter", "WindowWidth", "FloatPixelData",
         "DoubleFloatPixelData", "PixelPaddingValue", "PixelPaddingRangeLimit")  # fmt: skip
WORD_BYTES = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}  # of values that pydicom keeps as they were stored
MAX_TEXT = 1024  # of DerivationDescription


def check_writable(folder: str | Path, source: Series) -> None:
    """Raise InputError where a series derived from `source` cannot be written into a folder.

    To be called before any computation: every header is encoded, and the folder must be new or empty.
    """
    folder = Path(folder)
    _refuse_full(folder)
    refuse_locked(folder)
    for index in range(len(source.headers)):
        try:
            image = _derived(source, source.volume, index, generate_uid(), "denoised")
            image.save_as(io.BytesIO(), enforce_file_format=True)
        except ELEMENT_ERRORS as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"no series can be derived from these headers ({reason}); convert the series to NIfTI"
            ) from None


def write_series(volume: Volume, folder: str | Path, source: Series, description: str) -> None:
    """Write a volume as a series in a new folder, with the headers of the series it was made from.

    Patient, study, frame of reference and scan are kept; series and images get new UIDs and refer to their
    sources; ImageType becomes DERIVED; `description` names the method. 16 bits, one slope a slice. Images are
    numbered in the direction of the source's numbers, InstanceNumber and ImageIndex alike.
    Raises InputError for a folder that exists and is not empty, or cannot be written.
    """
    with new_series(folder, description) as write:
        write(volume, source)


@contextmanager
def new_series(folder: str | Path, description: str) -> Iterator[Callable[[Volume, Series], None]]:
    """Yield a function that adds a volume to a series in a new folder, as `write_series` writes it.

    Called again, it adds the next time frame: its images are numbered after those before.
    """
    folder = Path(folder)
    _refuse_full(folder)
    series_uid = generate_uid()
    part = folder.with_name(f"{folder.name}_part")
    written = 0

    def write(volume: Volume, source: Series) -> None:
        nonlocal written
        assert volume.same_grid(source.volume), "a derived series lies on the grid of its source"
        for index in range(len(source.headers)):
            image = _derived(source, volume, index, series_uid, description)
            image.InstanceNumber += written
            if image.Modality == "PT":
                image.ImageIndex = image.InstanceNumber
            image.save_as(part / f"{image.InstanceNumber:04d}.dcm", enforce_file_format=True)
        written += len(source.headers)

    try:
        part.mkdir(parents=True)
        yield write
        if folder.exists():
            folder.rmdir()
        part.replace(folder)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot write {folder}: {reason}; choose another output folder") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _refuse_full(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not empty; name a new folder for the series")


def _derived(source: Series, volume: Volume, index: int, series_uid: str, description: str) -> Dataset:
    """Return the header of one slice with other pixels, as an image derived from it."""
    header = source.headers[index]
    image = _little_endian(header)
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = header.SOPClassUID
    image.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = generate_uid()
    image.file_meta = meta
    reference = Dataset()
    reference.ReferencedSOPClassUID = header.SOPClassUID
    reference.ReferencedSOPInstanceUID = header.SOPInstanceUID
    image.SourceImageSequence = [reference]
    kind = list(header.get("ImageType") or ["ORIGINAL", "PRIMARY"])
    image.ImageType = ["DERIVED", *kind[1:]]
    image.SeriesInstanceUID, image.SeriesNumber = series_uid, int(header.get("SeriesNumber") or 0) + 1000
    former = str(header.get("SeriesDescription", ""))
    image.SeriesDescription = f"{former[: 63 - len(description)]} {description}".strip()[:64]
    text = "; ".join([description, *(f"the source {note}" for note in source.notes)])
    image.DerivationDescription = text.encode("ascii", "replace").decode()[:MAX_TEXT]
    _number(image, source, index)
    _name_unit(image, volume.unit)
    _store(image, volume.array[..., index])
    return image


def _little_endian(header: Dataset) -> Dataset:
    """Return a copy of a header, without its pixels, that can be encoded in explicit VR little endian."""
    decoded, swap = copy.deepcopy(header), not header.original_encoding[1]

    def convert(dataset: Dataset, element: DataElement) -> None:  # `walk` decodes each element
        if swap and element.VR in WORD_BYTES and isinstance(element.value, bytes):
            element.value = np.frombuffer(element.value, f">u{WORD_BYTES[element.VR]}").byteswap().tobytes()
        elif swap and element.VR == "UN":
            del dataset[element.tag]

    if PIXEL_DATA in decoded:
        del decoded[PIXEL_DATA]
    decoded.walk(convert)
    image = Dataset()
    for element in decoded:
        image.add(element)
    for stale in STALE:
        if stale in image:
            del image[stale]
    return image


def _number(image: Dataset, source: Series, index: int) -> None:
    """Set the number of an image in its series, from 1 on, in the order of the source's numbers."""
    count = len(source.headers)
    for name in ("ImageIndex", "InstanceNumber"):
        numbers = [header.get(name) for header in source.headers]
        if None not in numbers and len(set(numbers)) > 1:
            falls = np.polyfit(np.arange(count), np.array(numbers, float), 1)[0] < 0
            break
    else:
        falls = False
    image.InstanceNumber = count - index if falls else index + 1
    if image.Modality == "PT":
        image.ImageIndex, image.NumberOfSlices = image.InstanceNumber, count


def _name_unit(image: Dataset, unit: str) -> None:
    """Set the unit of the values; Philips' factors, which are for counts, are removed."""
    names = {known: name for name, known in UNITS.items()}
    if image.Modality != "PT" or unit not in names:
        return
    if image.get("Units") != names[unit]:
        image.Units = names[unit]
        group, creator = PHILIPS
        if (group, 0x10) in image and image[group, 0x10].value == creator:
            block = image.private_block(group, creator)
            for element in PHILIPS_FACTORS.values():
                if element in block:
                    del block[element]


def _store(image: Dataset, values: np.ndarray) -> None:
    """Put values (columns, rows) into an image, in 16 bits: signed where any is below zero.

    The intercept is 0, as DICOM wants it of PET.
    """
    signed = values.min() < 0
    largest = SIGNED if signed else UNSIGNED
    # As many digits as DICOM's decimal strings hold
    image.RescaleSlope, image.RescaleIntercept = f"{float(abs(values).max()) / largest or 1:.10g}", "0"
    stored = np.round(values.T.astype(np.float64) / float(image.RescaleSlope))
    stored = stored.clip(-largest if signed else 0, largest).astype("<i2" if signed else "<u2")
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation = 15, int(signed)
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.add_new(PIXEL_DATA, "OW", stored.tobytes())

"""Unit and scale of the pixels of a series; neither is guessed."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from csrd.errors import InputError
from csrd.units import pet_unit

UNITS = {"BQML": "Bq/mL", "GML": "SUV"}  # of PET: activity concentration, SUV
PHILIPS = 0x7053, "Philips PET Private Group"
SPARE_BYTES = 1024  # of a slice's pixels beyond twice their size: padding, or a compressed one's frame
PHILIPS_FACTORS = {"Bq/mL": 0x09, "SUV": 0x00}  # to it from counts: the element, after the group's block


@dataclass(frozen=True)
class Scale:
    """The unit of a series, the factor of each slice to it beyond its slope, and the assumptions."""

    unit: str
    factors: tuple[float, ...]
    notes: tuple[str, ...] = ()


def scale_of(folder: Path, slices: list[Dataset], units: str | None) -> Scale:
    """Return the unit of a series and its slices' factors; `units` is the unit that the user gave.

    Raises InputError where the slices' units differ, contradict the user, or are not known, and where a
    slice lacks the slope that others have, or any slice of PET does.
    """
    plain = (1.0,) * len(slices)
    _refuse_without_slope(folder, slices)
    lossy = ("was compressed with loss: its values are not quite those of the scanner",)
    notes = lossy if any(header.get("LossyImageCompression") == "01" for header in slices) else ()
    if slices[0].Modality != "PT":
        return Scale("arbitrary", plain, notes)
    stated = {str(header.get("Units") or "") for header in slices}
    if len(stated) > 1:
        raise InputError(
            f"{folder} has slices in different units ({', '.join(sorted(stated))}); give one series"
        )
    named, wanted = stated.pop(), pet_unit(units) if units else None
    if named in UNITS:
        found = Scale(UNITS[named], plain, notes)
    elif named == "CNTS" and (philips := _philips(slices, wanted and wanted[0])):
        found = Scale(philips.unit, philips.factors, (*notes, *philips.notes))
    elif wanted:
        text = f"has PET in {f'the unit {named}' if named else 'no unit'}: it is taken as {units}, by --units"
        return Scale(wanted[0], (wanted[1],) * len(slices), (*notes, text))
    else:
        what = f"has PET in units {named!r}" if named else "has PET without Units"
        raise InputError(f"{folder} {what}; give --units (Bq/mL, kBq/mL or SUV), or export it in Bq/mL")
    if wanted and wanted != (found.unit, 1.0):
        raise InputError(f"{folder} is in {found.unit} by its headers, not in {units}; leave --units out")
    return found


def _philips(slices: list[Dataset], wanted: str | None) -> Scale | None:
    """Return the scale of counts by the private elements of Philips, None where they are absent."""
    for unit in [wanted] if wanted else PHILIPS_FACTORS:
        factors = [f for header in slices if (f := _private(header, PHILIPS_FACTORS[unit]))]
        if len(factors) == len(slices):
            tag = f"(7053,10{PHILIPS_FACTORS[unit]:02X})"
            note = f"has PET in CNTS: it is converted to {unit} by Philips' factor {tag}"
            return Scale(unit, tuple(factors), (note,))
    return None


def _private(header: Dataset, element: int) -> float | None:
    """Return a private element of Philips' as a number above zero, else None."""
    try:
        value = header.private_block(*PHILIPS)[element].value
        number = float(value.decode().rstrip("\0 ") if isinstance(value, bytes) else value)
    except (KeyError, TypeError, ValueError):
        return None
    return number if 0 < number < math.inf else None


def _refuse_without_slope(folder: Path, slices: list[Dataset]) -> None:
    """Raise InputError where a slice of PET has no scale, or a slice of MR where others have one."""
    if any("ModalityLUTSequence" in header for header in slices):
        raise InputError(f"{folder} has its values in a look-up table; export it with a rescale slope")
    for name in ("RescaleSlope", "RescaleIntercept"):
        have = sum(header.get(name) is not None for header in slices)
        if have < len(slices) and (have or slices[0].Modality == "PT"):
            raise InputError(
                f"{folder} lacks {name} in {len(slices) - have} of its {len(slices)} slices, whose scale is "
                "therefore not known; export it again"
            )


def values_of(folder: Path, header: Dataset, factor: float) -> np.ndarray:
    """Return a slice's values (columns, rows) float32, by its slope and intercept, times a factor."""
    if int(header.get("NumberOfFrames") or 1) != 1 or int(header.get("SamplesPerPixel") or 1) != 1:
        raise InputError(f"{folder} has several frames or colours in a slice; give single-frame grey images")
    if not str(header.get("PhotometricInterpretation") or "MONOCHROME2").startswith("MONOCHROME"):
        raise InputError(f"{folder} has colours; give grey images")
    size = int(header.Rows) * int(header.Columns) * int(header.BitsAllocated) // 8
    if len(header.PixelData) > 2 * size + SPARE_BYTES:
        raise ValueError("more pixel data than its rows and columns hold")
    stored = _decoded(folder, header).astype(np.float64)
    slope = 1.0 if header.get("RescaleSlope") is None else float(header.RescaleSlope)
    offset = 0.0 if header.get("RescaleIntercept") is None else float(header.RescaleIntercept)
    if not math.isfinite(slope * offset) or (slope == 0 and stored.any()):
        raise InputError(f"{folder} has a slice with the scale {slope:g} and {offset:g}; export it again")
    return ((stored * slope + offset) * factor).astype(np.float32).T


def _decoded(folder: Path, header: Dataset) -> np.ndarray:
    """Return the stored pixels of a slice (rows, columns)."""
    syntax = header.file_meta.TransferSyntaxUID
    try:
        return header.pixel_array
    except (NotImplementedError, RuntimeError, ImportError):
        if not syntax.is_compressed:
            raise
        raise InputError(
            f"{folder} is compressed as {syntax.name} and cannot be decoded: the decoder is missing or the "
            "data are damaged; export it uncompressed, or install pylibjpeg with its decoders"
        ) from None

"""Dynamic series: the files of each time frame, read frame by frame, and the frames' times."""

import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from csrd.errors import InputError
from csrd.io.dicom.facts import clock_s, facts_of
from csrd.io.dicom.series import ELEMENT_ERRORS, dicom_files

TAGS = ["Modality", "SeriesInstanceUID", "SeriesType", "ImagePositionPatient", "FrameReferenceTime",
        "AcquisitionDate", "AcquisitionTime", "TemporalPositionIdentifier"]  # fmt: skip

Key = Callable[[Dataset], object]
KEYS: tuple[Key, ...] = (
    lambda header: float(header.FrameReferenceTime),
    lambda header: (str(header.get("AcquisitionDate", "")), str(header.AcquisitionTime)),
    lambda header: int(header.TemporalPositionIdentifier),
)
"""What the slices of one frame have in common, by preference."""


def frame_files(folder: Path) -> list[list[Path]]:
    """Return the files of each time frame of the PET series in a folder, in the order of time.

    There is one frame where no two slices have the same position, and where files cannot be read: reading the
    series then says why. Only a few elements of each header are read.
    Raises InputError for a gated series, and where frames cannot be told apart.
    """
    headers = _headers(folder)
    places = {tuple(header.get("ImagePositionPatient") or ()) for _, header in headers}
    series = {header.get("SeriesInstanceUID") for _, header in headers}
    modalities = {header.get("Modality") for _, header in headers}
    if len(places) in (0, 1, len(headers)) or len(series) > 1 or modalities != {"PT"}:
        return [[path for path, _ in headers]]
    if any("GATED" in (header.get("SeriesType") or ()) for _, header in headers):
        raise InputError(f"{folder} is a gated series; give one with time frames, or one gate alone")
    for key in KEYS:
        if groups := _grouped(headers, key, len(places)):
            return groups
    raise InputError(
        f"{folder} has several slices at one position, and no times that divide them into complete frames; "
        "export the whole dynamic series again"
    )


def _headers(folder: Path) -> list[tuple[Path, Dataset]]:
    """Return the files of DICOM in a folder with a few elements of their headers; [] where one is damaged."""
    found: list[tuple[Path, Dataset]] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for path in dicom_files(folder):
                header = pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=TAGS)
                header.walk(lambda dataset, element: element.value)  # decodes, or raises
                found.append((path, header))
    except ELEMENT_ERRORS:
        return []
    return found


def _grouped(headers: list[tuple[Path, Dataset]], key: Key, slices: int) -> list[list[Path]]:
    """Return the files by frame, [] where a key does not divide them into frames of so many slices."""
    groups: dict = defaultdict(list)
    try:
        for path, header in headers:
            groups[key(header)].append((path, tuple(header.ImagePositionPatient)))
    except (AttributeError, TypeError, ValueError):
        return []
    complete = all(len(group) == slices == len({place for _, place in group}) for group in groups.values())
    return [[path for path, _ in groups[time]] for time in sorted(groups)] if complete else []


def times_of(first_files: list[Path], unit: str) -> tuple[dict, tuple[str, ...]]:
    """Return the facts of a dynamic series by the keys of BIDS, from a file of each frame, and notes.

    Times are in s after TimeZero: the injection, or the scan's start where the injection's time is not known.
    """
    headers: list[Dataset] = [
        pydicom.dcmread(path, force=True, stop_before_pixels=True) for path in first_files
    ]
    each = [facts_of([header], unit) for header in headers]
    facts, notes = dict(each[0][0]), each[0][1]
    durations = [known.get("FrameDuration") for known, _ in each]
    facts.pop("FrameDuration", None)
    if None not in durations:
        facts["FrameDuration"] = [duration[0] for duration in durations if duration]
    starts = _starts(headers, [known.get("ScanStart") for known, _ in each])
    if starts is None:
        return facts, (*notes, "does not say when its frames start: the sidecar leaves it out")
    if "TimeZero" not in facts:
        clock = str(headers[0].AcquisitionTime)
        facts |= {"TimeZero": f"{clock[:2]}:{clock[2:4]}:{clock[4:6]}", "ScanStart": 0.0}
        notes = (*notes, "does not say when the tracer was injected: times are after the scan's start")
    facts["FrameTimesStart"] = starts
    factors = [float(header.get("DecayFactor") or 0) for header in headers]
    if all(factor >= 1 for factor in factors):
        facts["DecayCorrectionFactor"] = factors
    return facts, notes


def _starts(headers: list[Dataset], after_injection: list) -> list[float] | None:
    """Return the frames' starts in s after the injection, else after the first; None: not known."""
    if None not in after_injection:
        return [float(start) for start in after_injection]
    clocks = [clock_s(header.get("AcquisitionTime")) for header in headers]
    if None in clocks:
        return None
    starts = np.array(clocks, float)
    starts -= starts[0]
    return [float(start) for start in np.where(starts < 0, starts + 86_400, starts)]  # past midnight

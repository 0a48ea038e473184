"""Injected dose and times in the headers of a series, under the keys of BIDS PET."""

import math
import re
from collections.abc import Sequence

from pydicom.dataset import Dataset

DENOISED = re.compile(r"denoised by ([^;]+)")
"""Beginning of DerivationDescription in a series that was denoised."""
LEAST_BQ = 1e5  # injected; a smaller number is in MBq by mistake, since DICOM's unit is Bq


def facts_of(slices: Sequence[Dataset], unit: str) -> tuple[dict, tuple[str, ...]]:
    """Return dose and times that all slices agree on, by the keys of BIDS, and notes on what was left out."""
    first, *others = [_facts(header, unit) for header in slices]
    differing = [key for key in first if any(other.get(key) != first[key] for other in others)]
    facts = {key: value for key, value in first.items() if key not in differing}
    notes = (
        [f"has slices that differ in {', '.join(differing)}: the sidecar leaves it out"] if differing else []
    )
    dose = _dose(slices[0])
    becquerel = _number(dose, "RadionuclideTotalDose")
    if becquerel and becquerel < LEAST_BQ:
        notes.append(f"says an injected activity of {becquerel:g} Bq, too little: the sidecar leaves it out")
    times = sorted(str(header.get("AcquisitionTime") or header.get("SeriesTime") or "") for header in slices)
    return facts | _times(dose.get("RadiopharmaceuticalStartTime"), times[0]), tuple(notes)


def _dose(header: Dataset) -> Dataset:
    """Return the item of the radiopharmaceutical, empty where there is none."""
    item = (header.get("RadiopharmaceuticalInformationSequence") or [None])[0]
    return item if isinstance(item, Dataset) else Dataset()


def _facts(header: Dataset, unit: str) -> dict:
    """Return the facts in one header."""
    facts: dict = {"Units": unit} if unit != "arbitrary" else {}
    if unit == "SUV" and header.get("SUVType") not in (None, "", "BW"):
        facts["SUVType"] = header.SUVType  # by lean mass or surface, not by body weight
    facts |= {"Manufacturer": header.get("Manufacturer"), "BodyWeight": _number(header, "PatientWeight")}
    dose = _dose(header)
    becquerel = _number(dose, "RadionuclideTotalDose")
    if becquerel and becquerel >= LEAST_BQ:
        facts["InjectedRadioactivity"], facts["InjectedRadioactivityUnits"] = becquerel / 1e6, "MBq"
    facts["RadionuclideHalfLife"] = _number(dose, "RadionuclideHalfLife")
    facts["TracerName"] = dose.get("Radiopharmaceutical")
    milliseconds = _number(header, "ActualFrameDuration")
    facts["FrameDuration"] = [milliseconds / 1000] if milliseconds else None
    if correction := header.get("DecayCorrection"):
        facts["ImageDecayCorrected"] = correction != "NONE"
        facts["DecayCorrection"] = correction
    if made := DENOISED.match(str(header.get("DerivationDescription", ""))):
        facts["Denoising"] = made[1]
    return {
        key: value if isinstance(value, bool | float | list) else str(value)
        for key, value in facts.items()
        if value not in (None, "")
    }


def _times(injection: object, scan: object) -> dict:
    """Return the injection as time zero and the scan's start in s after it; {} where one is unknown."""
    seconds = clock_s(injection), clock_s(scan)
    if seconds[0] is None or seconds[1] is None or not 0 <= seconds[0] <= seconds[1]:
        return {}
    clock = f"{str(injection)[:2]}:{str(injection)[2:4]}:{str(injection)[4:6]}"
    return {"TimeZero": clock, "InjectionStart": 0.0, "ScanStart": seconds[1] - seconds[0]}


def clock_s(time: object) -> float | None:
    """Return a time of DICOM (hhmmss.frac) in s after midnight, None where it is none.

    >>> clock_s("093015.50")
    34215.5
    """
    text = str(time)
    try:
        seconds = int(text[:2]) * 3600 + int(text[2:4]) * 60 + float(text[4:])
    except ValueError:
        return None
    return seconds if 0 <= seconds < math.inf else None


def _number(header: Dataset, name: str) -> float | None:
    """Return an attribute as a finite number of more than 0, else None."""
    try:
        value = float(header.get(name))
    except (TypeError, ValueError, OverflowError):
        return None
    return value if 0 < value < math.inf else None

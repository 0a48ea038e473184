"""The user's BIDS dataset as a cohort: PET and T1w images where BIDS has them, list-mode in ``sourcedata/``.

A subject's files and facts become the row of a sheet, which is validated like any other.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from csrd.cohort.rows import PAIR, SUFFIXES, subjects_of
from csrd.cohort.sheet import EXAMPLE
from csrd.cohort.subject import Subject
from csrd.config import Config
from csrd.errors import InputError
from csrd.io.bids import dose_of, entities_of, images_in, inherited
from csrd.io.tables import Row, read_tsv
from csrd.nuclides import NUCLIDES, nuclide_named
from csrd.units import megabecquerel

LEAST_MBQ = 0.1
"""A smaller RadionuclideTotalDose is in MBq by mistake."""
# Of a Siemens pair the .dcm; normalisation, sinogram and physiology are pairs too
LISTMODE = (*(f"*{suffix}" for suffix in SUFFIXES if suffix not in PAIR), "*listmode.dcm")


def read_bids(root: Path, config: Config) -> tuple[Subject, ...]:
    """Return the subjects of a BIDS dataset, in the order of its ``participants.tsv``.

    That table's column `split` gives the use of a subject; without it every subject is a test one, which
    needs `cohort.models`. A PET image's dose reduction factor is its sidecar's DoseReductionFactor, else what
    its name says (``rec-acstatDrf4``), else 1. Weights are the table's `weight` (or `weight_kg`), activities
    its `injected_MBq` or, at the time the image is decay-corrected to, the sidecar's.
    Raises InputError with all mistakes, each with the subject's line in ``participants.tsv``.
    """
    table = root / "participants.tsv"
    if not (root / "dataset_description.json").is_file() or not table.is_file():
        raise InputError(
            f"{root} is not a BIDS dataset: dataset_description.json or participants.tsv is missing; "
            "give its root, or a sheet (config/subjects.tsv)"
        )
    listed = read_tsv(table, EXAMPLE)
    if "participant_id" not in listed.columns:
        raise InputError(f"{table} has no column participant_id; add it")
    rows, wrong = [], []
    for line, participant in listed.rows:
        try:
            for row, problems in _rows(root, participant, "split" in listed.columns):
                rows.append((line, row))
                wrong += [f"line {line}: {text}" for text in problems]
        except InputError as error:
            wrong.append(f"line {line}: {error}")
    if wrong:
        raise InputError(f"{root} has mistakes:\n  " + "\n  ".join(wrong))
    return tuple(subjects_of(table, rows, root, config))


Place = tuple[str | None, str | None]
"""Session and run of a scan."""


def _rows(root: Path, participant: Row, has_splits: bool) -> Iterator[tuple[Row, list[str]]]:
    """Yield the row of a sheet for each scan of a participant, and its mistakes: columns with several files.

    Where there are several scans, each has its session and run in its name.
    """
    name = participant["participant_id"]
    source, label = root / "sourcedata" / name, name.removeprefix("sub-")
    pets = images_in(root / name, "pet", "pet", sub=label)
    listmode = [path for pattern in LISTMODE for path in _files(source, pattern)]
    norms = _files(source, "*normalisation.npy") or _files(source, "*norm.dcm")
    places = list(dict.fromkeys(map(_place, [*pets, *listmode]))) or [(None, None)]
    for place in sorted(places, key=lambda place: tuple(text or "" for text in place)):
        found: dict[str, list[Path]] = {
            "t1w": _nearest(images_in(root / name, "T1w", "anat", sub=label), place),
            "listmode": [path for path in listmode if _place(path) == place],
            "mumap": _nearest(_files(source, "*mumap.nii*"), place),
            "normalisation": _nearest(norms, place),
        }
        for path in pets:
            if _place(path) == place:
                drf = _dose(path)
                found.setdefault("pet" if drf == 1 else f"pet_drf{drf}", []).append(path)
        row = _row(root, participant, found, has_splits)
        if len(places) > 1:
            row |= {"session": place[0] or "", "run": place[1] or ""}
        yield row, list(_doubles(found, root))


def _place(path: Path) -> Place:
    """Return session and run by a file's name, else the session by its folder."""
    entities = entities_of(path)
    folder = next((part[4:] for part in reversed(path.parts[:-1]) if part.startswith("ses-")), None)
    return entities.get("ses", folder), entities.get("run")


def _nearest(paths: list[Path], place: Place) -> list[Path]:
    """Return the files of a scan's session, else of none, else all; of them those of its run, if any."""
    for session in (place[0], None):
        if chosen := [path for path in paths if _place(path)[0] == session]:
            break
    else:
        chosen = paths
    return [path for path in chosen if place[1] and _place(path)[1] == place[1]] or chosen


def _row(root: Path, participant: Row, found: dict[str, list[Path]], has_splits: bool) -> Row:
    """Return the row of a sheet for a scan with these files."""
    lows = any(column.startswith("pet_drf") for column in found)
    sidecar = inherited(found["pet"][0]) if found.get("pet") else {}
    tracer = participant.get("tracer") or _tracer(found, sidecar)
    if found["listmode"] and not lows:  # the dataset's own normal-dose image is not needed
        found.pop("pet", None)
    elif lows and "pet" in found:  # both doses are there already
        found["listmode"] = []
    row = {column: str(paths[0].relative_to(root)) for column, paths in found.items() if paths}
    plain = "pet" in row and not lows  # denoised as it is, unless the table names a split
    split = participant.get("split", "" if has_splits or plain else "test")
    row |= {"participant_id": participant["participant_id"], "split": split}
    row["weight_kg"] = participant.get("weight_kg") or participant.get("weight", "")
    row["injected_MBq"] = participant.get("injected_MBq", "")
    if "pet" in found and row["injected_MBq"] in ("", "n/a") and (activity := activity_at_reference(sidecar)):
        row["injected_MBq"] = repr(activity)
    row["tracer"] = tracer
    return row


def activity_at_reference(sidecar: dict) -> float | None:
    """Return the injected activity in MBq at the time an image is decay-corrected to, None where not known.

    BIDS: the injected activity holds at InjectionStart; ImageDecayCorrectionTime is on the same clock, in s.
    """
    return at_reference(injected_activity(sidecar), sidecar)


def at_reference(activity: float | None, sidecar: dict) -> float | None:
    """Return an injected activity, in MBq, at the time an image is decay-corrected to, None if not known."""
    numbers: list[Any] = [sidecar.get(key) for key in ("InjectionStart", "ImageDecayCorrectionTime")]
    start, reference = numbers
    if activity is None or not all(isinstance(number, int | float) for number in numbers):
        return None
    if reference == start:
        return activity
    nuclide = NUCLIDES.get(nuclide_named(str(sidecar.get("TracerRadionuclide", ""))) or "")
    half_life = sidecar.get("RadionuclideHalfLife") or (nuclide and nuclide.half_life_s)
    return activity * 2 ** ((start - reference) / half_life) if half_life else None


def injected_activity(sidecar: dict) -> float | None:
    """Return the injected activity in MBq by the keys of BIDS, else by DICOM's; None where not known.

    RadionuclideTotalDose is in Bq, as in DICOM, where no RadionuclideTotalDoseUnits say otherwise.
    """
    if "InjectedRadioactivity" in sidecar:
        unit = sidecar.get("InjectedRadioactivityUnits", "")
        return megabecquerel(sidecar["InjectedRadioactivity"], str(unit))
    unit = str(sidecar.get("RadionuclideTotalDoseUnits", "Bq"))
    activity = megabecquerel(sidecar.get("RadionuclideTotalDose"), unit)
    return activity if activity is not None and activity >= LEAST_MBQ else None


def _files(folder: Path, pattern: str) -> list[Path]:
    """Return the files of this pattern in a subject's folder, in any session; sorted."""
    return sorted(path for path in folder.rglob(pattern) if path.is_file())


def _dose(path: Path) -> int:
    """Return the dose reduction factor in an image's sidecar or name, 1 where neither has one.

    Raises InputError where they differ, or where the sidecar's is not a whole number of 1 or more.
    """
    stated, named = inherited(path).get("DoseReductionFactor"), dose_of(path)
    if stated is None:
        return named or 1
    if isinstance(stated, bool) or stated not in range(1, 10_000):
        raise InputError(
            f"{path} has DoseReductionFactor {stated!r} in its sidecar; write a whole number from 1 on"
        )
    if named not in (None, stated):
        raise InputError(
            f"{path} has DoseReductionFactor {stated} in its sidecar, but {named} in its name; correct one"
        )
    return int(stated)


def _tracer(found: dict[str, list[Path]], sidecar: dict) -> str:
    """Return the tracer as the images' names or the sidecar call it, letters and digits only."""
    images = [path for column, paths in found.items() if column.startswith("pet") for path in paths]
    named = [tracer for path in images if (tracer := entities_of(path).get("trc"))]
    return named[0] if named else re.sub(r"[^A-Za-z0-9]", "", str(sidecar.get("TracerName", "")))


def _doubles(found: dict[str, list[Path]], root: Path) -> Iterator[str]:
    for column, paths in found.items():
        if len(paths) > 1:
            names = ", ".join(str(path.relative_to(root)) for path in paths)
            yield f"there are {len(paths)} files for {column} ({names}); keep one, or write a sheet"

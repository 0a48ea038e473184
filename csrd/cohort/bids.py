"""The user's BIDS dataset as a cohort: PET and T1w images where BIDS has them, list-mode in ``sourcedata/``.

A subject's files and facts become the row of a sheet, which is validated like any other.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from csrd.cohort.rows import SUFFIXES, subjects_of
from csrd.cohort.sheet import EXAMPLE
from csrd.cohort.subject import Subject
from csrd.config import Config
from csrd.errors import InputError
from csrd.io.bids import dose_of, entities_of, images_in, inherited
from csrd.io.tables import Row, read_tsv
from csrd.nuclides import NUCLIDES, nuclide_named

MBQ = {"bq": 1e-6, "kbq": 1e-3, "mbq": 1.0, "gbq": 1e3}


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
            row, problems = _row(root, participant, "split" in listed.columns)
            rows.append((line, row))
        except InputError as error:
            problems = [str(error)]
        wrong += [f"line {line}: {text}" for text in problems]
    if wrong:
        raise InputError(f"{root} has mistakes:\n  " + "\n  ".join(wrong))
    return tuple(subjects_of(table, rows, root, config))


def _row(root: Path, participant: Row, has_splits: bool) -> tuple[Row, list[str]]:
    """Return a subject's row of a sheet, and the mistakes: columns with several files."""
    name = participant["participant_id"]
    source, label = root / "sourcedata" / name, name.removeprefix("sub-")
    found: dict[str, list[Path]] = {
        "t1w": images_in(root / name, "T1w", "anat", sub=label),
        "listmode": [path for suffix in SUFFIXES for path in _files(source, f"*{suffix}")],
        "mumap": _files(source, "*mumap.nii*"),
        "normalisation": _files(source, "*normalisation.npy"),
    }
    for path in images_in(root / name, "pet", "pet", sub=label):
        drf = _dose(path)
        found.setdefault("pet" if drf == 1 else f"pet_drf{drf}", []).append(path)
    lows = any(column.startswith("pet_drf") for column in found)
    sidecar = inherited(found["pet"][0]) if found.get("pet") else {}
    tracer = participant.get("tracer") or _tracer(found, sidecar)
    if found["listmode"] and not lows:  # the dataset's own normal-dose image is not needed
        found.pop("pet", None)
    elif lows and "pet" in found:  # both doses are there already
        found["listmode"] = []
    row = {column: str(paths[0].relative_to(root)) for column, paths in found.items() if paths}
    row |= {"participant_id": name, "split": participant.get("split", "" if has_splits else "test")}
    row["weight_kg"] = participant.get("weight_kg") or participant.get("weight", "")
    row["injected_MBq"] = participant.get("injected_MBq", "")
    if "pet" in found and row["injected_MBq"] in ("", "n/a") and (activity := activity_at_reference(sidecar)):
        row["injected_MBq"] = repr(activity)
    row["tracer"] = tracer
    return row, list(_doubles(found, root))


def activity_at_reference(sidecar: dict) -> float | None:
    """Return the injected activity in MBq at the time an image is decay-corrected to, None where not known.

    BIDS: InjectedRadioactivity holds at InjectionStart; ImageDecayCorrectionTime is on the same clock, in s.
    """
    keys = ("InjectedRadioactivity", "InjectionStart", "ImageDecayCorrectionTime")
    numbers: list[Any] = [sidecar.get(key) for key in keys]
    activity, start, reference = numbers
    factor = MBQ.get(str(sidecar.get("InjectedRadioactivityUnits", "")).lower())
    if not all(isinstance(number, int | float) for number in numbers) or factor is None:
        return None
    if reference == start:
        return activity * factor
    nuclide = NUCLIDES.get(nuclide_named(str(sidecar.get("TracerRadionuclide", ""))) or "")
    half_life = sidecar.get("RadionuclideHalfLife") or (nuclide and nuclide.half_life_s)
    return activity * factor * 2 ** ((start - reference) / half_life) if half_life else None


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

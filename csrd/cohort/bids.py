"""The user's BIDS dataset as a cohort: PET and T1w images where BIDS has them, list-mode in ``sourcedata/``.

What belongs to a subject is put into the columns of a sheet, and then held to the same conditions.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from csrd.cohort.rows import SUFFIXES, Row, subjects_of
from csrd.cohort.sheet import read_table
from csrd.cohort.subject import Subject
from csrd.config import Config
from csrd.errors import InputError
from csrd.io.files import inherited
from csrd.nuclides import NUCLIDES, nuclide_named

DOSE_IN_NAME = re.compile(r"_rec-[A-Za-z0-9]*?[Dd]rf(\d+)(?:_|$)")
MBQ = {"bq": 1e-6, "kbq": 1e-3, "mbq": 1.0, "gbq": 1e3}


def read_bids(root: Path, config: Config) -> tuple[Subject, ...]:
    """Return the subjects of a BIDS dataset, in the order of its ``participants.tsv``.

    That table's column `split` says what a subject is for; without it every subject is a test one, which
    needs `cohort.models`. A PET image's dose reduction factor is its sidecar's DoseReductionFactor, else what
    its name says (``rec-acstatDrf4``), else 1. Weights are the table's `weight` (or `weight_kg`), activities
    its `injected_MBq` or, at the time the image is decay-corrected to, the sidecar's.
    Raises InputError with all that is wrong, each with the subject's line in ``participants.tsv``.
    """
    table = root / "participants.tsv"
    if not (root / "dataset_description.json").is_file() or not table.is_file():
        raise InputError(
            f"{root} is no BIDS dataset with dataset_description.json and participants.tsv; "
            "give its root, or a sheet (config/subjects.tsv)"
        )
    columns, listed = read_table(table)
    if "participant_id" not in columns:
        raise InputError(f"{table} has no column participant_id; add it")
    rows, wrong = [], []
    for line, said in listed:
        row, doubles = _row(root, said, "split" in columns)
        rows.append((line, row))
        wrong += [f"line {line}: {text}" for text in doubles]
    if wrong:
        raise InputError(f"{root} has mistakes:\n  " + "\n  ".join(wrong))
    return tuple(subjects_of(table, rows, root, config))


def _row(root: Path, said: Row, has_splits: bool) -> tuple[Row, list[str]]:
    """Return a subject's row of a sheet, and which files there are too many of."""
    name = said["participant_id"]
    source = root / "sourcedata" / name
    found: dict[str, list[Path]] = {
        "t1w": _files(root / name, f"anat/{name}*_T1w.nii*"),
        "listmode": [path for suffix in SUFFIXES for path in _files(source, f"*{suffix}")],
        "mumap": _files(source, "*mumap.nii*"),
        "normalisation": _files(source, "*normalisation.npy"),
    }
    for path in _files(root / name, f"pet/{name}*_pet.nii*"):
        drf = _dose(path)
        found.setdefault("pet" if drf == 1 else f"pet_drf{drf}", []).append(path)
    lows = any(column.startswith("pet_drf") for column in found)
    sidecar = inherited(found["pet"][0]) if found.get("pet") else {}
    tracer = said.get("tracer") or _tracer(found, sidecar)
    if found["listmode"] and not lows:  # the dataset's own image of it is not needed
        found.pop("pet", None)
    elif lows and "pet" in found:  # both doses are there already
        found["listmode"] = []
    row = {column: str(paths[0].relative_to(root)) for column, paths in found.items() if paths}
    row |= {"participant_id": name, "split": said.get("split", "" if has_splits else "test")}
    row["weight_kg"] = said.get("weight_kg") or said.get("weight", "")
    row["injected_MBq"] = said.get("injected_MBq", "")
    if "pet" in found and row["injected_MBq"] in ("", "n/a") and (activity := activity_at_reference(sidecar)):
        row["injected_MBq"] = repr(activity)
    row["tracer"] = tracer
    return row, list(_doubles(found, root))


def activity_at_reference(sidecar: dict) -> float | None:
    """Return the injected activity in MBq at the time an image is decay-corrected to, None where not known.

    BIDS: InjectedRadioactivity holds at InjectionStart; ImageDecayCorrectionTime is on the same clock, in s.
    """
    keys = ("InjectedRadioactivity", "InjectionStart", "ImageDecayCorrectionTime")
    activity, start, reference = (sidecar.get(key) for key in keys)
    factor = MBQ.get(str(sidecar.get("InjectedRadioactivityUnits", "")).lower())
    if not all(isinstance(number, int | float) for number in (activity, start, reference)) or factor is None:
        return None
    if reference == start:
        return activity * factor
    nuclide = NUCLIDES.get(nuclide_named(str(sidecar.get("TracerRadionuclide", ""))))
    half_life = sidecar.get("RadionuclideHalfLife") or (nuclide and nuclide.half_life_s)
    return activity * factor * 2 ** ((start - reference) / half_life) if half_life else None


def _files(folder: Path, pattern: str) -> list[Path]:
    """Return the files of this pattern in a subject's folder, in any session; sorted."""
    return sorted(path for path in folder.rglob(pattern) if path.is_file())


def _dose(path: Path) -> int:
    drf = inherited(path).get("DoseReductionFactor")
    if isinstance(drf, int | float) and drf >= 1:
        return round(drf)
    named = DOSE_IN_NAME.search(path.name)
    return int(named[1]) if named else 1


def _tracer(found: dict[str, list[Path]], sidecar: dict) -> str:
    """Return the tracer as the images' names or the sidecar call it, letters and digits only."""
    images = [path for column, paths in found.items() if column.startswith("pet") for path in paths]
    named = [match[1] for path in images if (match := re.search(r"_trc-([A-Za-z0-9]+)", path.name))]
    return named[0] if named else re.sub(r"[^A-Za-z0-9]", "", str(sidecar.get("TracerName", "")))


def _doubles(found: dict[str, list[Path]], root: Path) -> Iterator[str]:
    for column, paths in found.items():
        if len(paths) > 1:
            names = ", ".join(str(path.relative_to(root)) for path in paths)
            yield f"there are {len(paths)} files for {column} ({names}); keep one, or write a sheet"

"""Validation of the rows that describe the user's subjects, of a sheet or a BIDS dataset."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from csrd.cohort.subject import SPLITS, Subject
from csrd.config import Config
from csrd.errors import InputError
from csrd.io.bids import inherited
from csrd.io.files import header_beside
from csrd.io.tables import Row
from csrd.units import pet_unit

FILES = ("listmode", "header", "t1w", "mumap", "normalisation", "pet", "vendor")
NUMBERS = ("weight_kg", "injected_MBq")
LABELS = ("session", "run")
COLUMNS = ("participant_id", *LABELS, "split", "tracer", *FILES, *NUMBERS)
LOW_DOSE = re.compile(r"pet_drf(\d+)")
PETSIRD = ".petsird"
PAIR = (".dcm", ".bf")  # of a Siemens scan, each half beside the other
SUFFIXES = (".l64", ".l", PETSIRD, *PAIR)
NOT_AVAILABLE = "n/a"


def subjects_of(source: Path, rows: list[tuple[int, Row]], folder: Path, config: Config) -> list[Subject]:
    """Return the subjects of rows, each with its line in `source`; relative paths start at `folder`.

    A row holds its cells by column; a missing value is absent, empty or n/a. Only the headers of images are
    read.
    Raises InputError with all mistakes, each with its line.
    """
    wrong = [f"line {line}: {text}" for line, row in rows for text in _problems(row, folder, config)]
    wrong += _problems_between([row for _, row in rows], folder, config)
    if wrong:
        raise InputError(f"{source} has mistakes:\n  " + "\n  ".join(wrong))
    return [_subject(row, folder, config) for _, row in rows]


def is_column(name: str) -> bool:
    """Return whether a sheet may have this column."""
    return name in COLUMNS or LOW_DOSE.fullmatch(name) is not None


def cell(row: Row, column: str) -> str | None:
    """Return the value in a column, None where there is none."""
    text = row.get(column, "")
    return None if text in ("", NOT_AVAILABLE) else text


def scan_id(row: Row) -> str:
    """Return the name of a row's scan: its participant, with session and run where there are any."""
    labels = [
        f"{key}-{text}" for column, key in (("session", "ses"), ("run", "run")) if (text := cell(row, column))
    ]
    return cell(row, "scan") or "_".join([row.get("participant_id", ""), *labels])


def low_doses(row: Row) -> dict[int, str]:
    """Return the low-dose images of a row by their dose reduction factor."""
    found = {int(match[1]): cell(row, name) for name in row if (match := LOW_DOSE.fullmatch(name))}
    return {drf: path for drf, path in sorted(found.items()) if path is not None}


def _only_low(row: Row) -> bool:
    """Return whether a subject has only a low dose, with no normal dose to compare it with."""
    return not cell(row, "listmode") and not cell(row, "pet") and bool(low_doses(row))


def _is_plain(row: Row) -> bool:
    """Return whether a subject has one image and no split: it is denoised as it is."""
    alone = cell(row, "pet") and not cell(row, "listmode") and not low_doses(row)
    return bool(alone) and cell(row, "split") is None


def _problems(row: Row, folder: Path, config: Config) -> Iterator[str]:
    """Yield the mistakes in one row."""
    yield from _wrong_words(row)
    yield from (
        f"{column} is {folder / path}, which does not exist; check the path"
        for column, path in _files(row).items()
        if not (folder / path).exists()
    )
    listmode = cell(row, "listmode")
    if listmode and (cell(row, "pet") or low_doses(row)):
        yield "both listmode and images are given; keep one of them"
    elif listmode:
        yield from _wrong_listmode(row, listmode, folder, modelled=config.recon.models_scan)
    elif _is_plain(row):
        yield from _wrong_mr(row, config)
    elif cell(row, "pet"):
        yield from _wrong_images(row, folder, config)
    elif low_doses(row):
        yield from _wrong_lone_image(row, config)
    else:
        yield "listmode and pet are both n/a; give one of them"
    yield from _wrong_doses(row, folder)
    yield from _unreadable(row, folder)


def _wrong_words(row: Row) -> Iterator[str]:
    name, split, tracer = (cell(row, column) for column in ("participant_id", "split", "tracer"))
    if name is None:
        yield "participant_id is n/a; it is needed"
    elif not re.fullmatch(r"sub-[A-Za-z0-9]+", name):
        yield f"participant_id is {name!r}; write sub- and letters or digits"
    if split is None and not _only_low(row) and not _is_plain(row):
        yield "split is n/a; it is needed"
    elif split is not None and split not in SPLITS:
        yield f"split is {split!r}; write {', '.join(SPLITS)}"
    if tracer is not None and not re.fullmatch(r"[A-Za-z0-9]+", tracer):
        yield f"tracer is {tracer!r}; write letters or digits"
    for column in LABELS:
        if (label := cell(row, column)) is not None and not re.fullmatch(r"[A-Za-z0-9]+", label):
            yield f"{column} is {label!r}; write letters or digits"
    for column in NUMBERS:
        if (number := cell(row, column)) is not None and not _is_positive(number):
            yield f"{column} is {number!r}; write a number above 0, or n/a"


def _wrong_listmode(row: Row, listmode: str, folder: Path, modelled: bool) -> Iterator[str]:
    if not cell(row, "t1w"):
        yield "t1w is n/a; it is needed"
    if modelled and not cell(row, "mumap"):
        yield "mumap is n/a; the reconstruction needs one"
    if Path(listmode).suffix not in SUFFIXES:
        yield f"listmode is {listmode}; its name must end in {', '.join(SUFFIXES)}"
    if listmode.endswith(PETSIRD):
        if cell(row, "header"):
            yield f"header is {cell(row, 'header')}, but PETSIRD carries its own; write n/a"
    elif Path(listmode).suffix in PAIR:
        dicom = (folder / listmode).with_suffix(".dcm")
        if cell(row, "header"):
            yield f"header is {cell(row, 'header')}, but {dicom.name} holds it; write n/a"
        if not dicom.exists():
            yield f"listmode is {listmode}, but {dicom} does not exist; put both halves into one folder"
    elif not cell(row, "header") and header_beside(folder / listmode) is None:
        yield f"header is n/a, and {folder / listmode}.hdr does not exist; name the header"


def _wrong_images(row: Row, folder: Path, config: Config) -> Iterator[str]:
    """Yield the mistakes in a row of reconstructed images of the normal and low doses."""
    if not cell(row, "t1w"):
        yield "t1w is n/a; it is needed"
    lacking = [drf for drf in config.drfs if drf not in low_doses(row)]
    if lacking:
        columns = ", ".join(f"pet_drf{drf}" for drf in lacking)
        yield f"{columns} n/a, but drfs has this dose; add the image, or remove the dose from drfs"
    units = {}
    for column, path in _images(row).items():
        try:
            units[column] = _unit(folder / path, config.cohort.units)
        except InputError as error:
            yield f"{column}: {error}"
    if None in units.values():
        unknown = ", ".join(column for column, unit in units.items() if unit is None)
        yield f"the unit of {unknown} is not known; write Units into its .json sidecar, or set cohort.units"
    elif len(set(units.values())) > 1:
        said = ", ".join(f"{column} in {unit}" for column, unit in units.items())
        yield f"the images' units differ ({said}); convert them to one"


def _wrong_lone_image(row: Row, config: Config) -> Iterator[str]:
    lows = low_doses(row)
    if len(lows) > 1:
        columns = ", ".join(f"pet_drf{drf}" for drf in lows)
        yield f"{columns} are given without pet; add the normal dose, or keep one low dose to be denoised"
    if cell(row, "split") in ("train", "validation"):
        yield f"split is {cell(row, 'split')!r}, but there is no normal dose; add pet, or write n/a"
    yield from _wrong_mr(row, config)


def _wrong_mr(row: Row, config: Config) -> Iterator[str]:
    """Yield that no method in use can do without the MR that is missing."""
    if not cell(row, "t1w") and not config.methods_without_mr:
        methods = ", ".join(config.fitted_methods) or "none"
        yield f"t1w is n/a, and no method in use ({methods}) does without; add csrdnomr to methods"


def _wrong_doses(row: Row, folder: Path) -> Iterator[str]:
    """Yield the images whose sidecar has another dose reduction factor than their column."""
    for column, path in _images(row).items():
        try:
            stated = inherited(folder / path).get("DoseReductionFactor")
        except InputError:
            continue  # reported with the units
        drf = int(match[1]) if (match := LOW_DOSE.fullmatch(column)) else 1
        if stated not in (None, drf):
            yield f"{column} has DoseReductionFactor {stated!r} in its sidecar; correct the one that is wrong"


def _unreadable(row: Row, folder: Path) -> Iterator[str]:
    """Yield which images cannot be read, and which are not on the grid of `pet`."""
    from csrd.io.volume import Volume  # nibabel takes a while, and a virtual cohort has no images

    grids = {}
    for column, path in _files(row).items():
        if column not in ("listmode", "header", "normalisation") and (folder / path).exists():
            if column == "mumap" and (folder / path).is_dir():  # DICOM, which the import reads
                continue
            try:
                grids[column] = Volume.grid_of(folder / path, frames=column.startswith("pet"))
                if column.startswith("pet") and not _is_plain(row):
                    yield from _dynamic(column, folder / path)
            except InputError as error:
                yield f"{column}: {error}"
    normal = grids.pop("pet", None)
    for column, grid in grids.items():
        if column.startswith("pet") and normal is not None and (difference := grid.grid_difference(normal)):
            yield (
                f"{column} is not on the grid of pet ({difference}); "
                "reconstruct both with the same matrix and voxel"
            )


def _dynamic(column: str, path: Path) -> Iterator[str]:
    """Yield that an image which is compared, or aligned, is dynamic."""
    from csrd.io.volume import Volume

    if (count := Volume.count_frames(path)[0]) > 1:
        yield (
            f"{column}: {path} has {count} frames; give one 3D image, or, to denoise its frames, give it as "
            "pet in a row without split and low doses"
        )


def _problems_between(rows: list[Row], folder: Path, config: Config) -> Iterator[str]:
    """Yield the mistakes between rows: repeated values, an empty split, several tracers or units."""
    columns = {"participant_id": scan_id} | {
        column: partial(cell, column=column) for column in ("listmode", "pet")
    }
    for column, value_of in columns.items():
        counts = Counter(text for row in rows if (text := value_of(row)))
        doubles = [(value, count) for value, count in counts.items() if count > 1]
        yield from (f"{column} {value} is in {count} lines; keep one" for value, count in doubles)
    compared = [row for row in rows if not _only_low(row) and not _is_plain(row)]
    yield from _divided(compared)
    splits = {cell(row, "split") for row in compared}
    if config.fitted_methods and config.cohort.models is None and "train" not in splits:
        yield "no subject has split train; name at least one, or name fitted methods by cohort.models"
    if "test" not in splits and len(compared) == len(rows):
        yield "no subject has split test; name at least one"
    tracers = sorted({cell(row, "tracer") or NOT_AVAILABLE for row in rows if not _is_plain(row)})
    if len(tracers) > 1:
        yield f"the subjects' tracers are {', '.join(tracers)}; one table is about one tracer"
    in_suv = [_is_in_suv(row, folder, config) for row in compared]
    if any(in_suv):
        lacking = [row for row, suv in zip(compared, in_suv, strict=True) if not suv and not _has_dose(row)]
        for row in lacking:
            yield f"{cell(row, 'participant_id')} is not in SUV as others are; add weight_kg and injected_MBq"


def _divided(rows: list[Row]) -> Iterator[str]:
    """Yield the participants whose scans are in several splits: methods would be judged on what they saw."""
    splits = defaultdict(set)
    for row in rows:
        splits[cell(row, "participant_id")].add(cell(row, "split") or NOT_AVAILABLE)
    for name, found in splits.items():
        if len(found) > 1:
            yield f"the scans of {name} are in several splits ({', '.join(sorted(found))}); keep them in one"


def _is_in_suv(row: Row, folder: Path, config: Config) -> bool:
    path = cell(row, "pet")
    try:
        return path is not None and _unit(folder / path, config.cohort.units) == "SUV"
    except InputError:
        return False  # reported with the row


def _has_dose(row: Row) -> bool:
    return bool(cell(row, "weight_kg") and cell(row, "injected_MBq"))


def _unit(path: Path, otherwise: str | None) -> str | None:
    """Return the unit of a PET image, from its sidecar or as the configuration says; None: not known."""
    said = inherited(path).get("Units", otherwise)
    return None if said is None else pet_unit(str(said))[0]


def _images(row: Row) -> dict[str, str]:
    """Return the PET images of a row by column."""
    normal = {"pet": pet} if (pet := cell(row, "pet")) else {}
    return normal | {f"pet_drf{drf}": path for drf, path in low_doses(row).items()}


def _files(row: Row) -> dict[str, str]:
    """Return all files of a row by column."""
    return {column: path for column in FILES if (path := cell(row, column))} | _images(row)


def other_half(path: Path) -> Path | None:
    """Return the other half of a pair .dcm and .bf, where there is one."""
    if path.suffix not in PAIR:
        return None
    other = path.with_suffix(PAIR[path.suffix == PAIR[0]])
    return other if other.is_file() else None


def _is_positive(text: str) -> bool:
    try:
        return 0 < float(text) < float("inf")
    except ValueError:
        return False


def _subject(row: Row, folder: Path, config: Config) -> Subject:
    """Return the subject of a row without mistakes."""
    files = {column: folder / path if (path := cell(row, column)) else None for column in FILES}
    if files["listmode"] and files["listmode"].suffix in PAIR:
        files["header"] = other_half(files["listmode"])
    elif files["listmode"] and files["listmode"].suffix != PETSIRD:
        files["header"] = files["header"] or header_beside(files["listmode"])
    lows = {drf: folder / path for drf, path in low_doses(row).items()}
    paths: dict[str, Any] = dict(files)
    pet = files["pet"] or next(iter(lows.values()), None)
    numbers: dict[str, Any] = {
        column: float(text) if (text := cell(row, column)) else None for column in NUMBERS
    }
    return Subject(
        id=scan_id(row),
        split="" if _only_low(row) or _is_plain(row) else row["split"],
        session=cell(row, "session"),
        run=cell(row, "run"),
        tracer=cell(row, "tracer"),
        lows=lows,
        unit=_unit(pet, config.cohort.units) if pet else "Bq/mL",
        **paths,
        **numbers,
    )

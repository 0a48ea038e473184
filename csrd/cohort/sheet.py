"""The user's table of subjects: tab-separated, one row each, and every mistake reported at once."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from csrd.cohort.subject import SPLITS, Subject
from csrd.errors import InputError

NAMES = ("participant_id", "split", "tracer")
FILES = ("listmode", "header", "t1w", "mumap", "normalisation")
NUMBERS = ("weight_kg", "injected_MBq")
COLUMNS = (*NAMES, *FILES, *NUMBERS)
REQUIRED = ("participant_id", "split", "tracer", "listmode", "t1w")
SUFFIXES = (".l64", ".l")
NOT_AVAILABLE = "n/a"

Row = dict[str, str]


def read_sheet(path: Path, embedded: bool = True) -> tuple[Subject, ...]:
    """Return the subjects of a sheet; lines that begin with # are comments.

    Relative paths start at the sheet's folder; n/a (or nothing) stands for what a subject does not have.
    The `embedded` reconstruction needs a μ-map and events that are crystal pairs.
    Raises InputError with all that is wrong, each with its line.
    """
    rows, folder = _rows(path), path.parent
    problems = [f"line {line}: {text}" for line, row in rows for text in _problems(row, folder, embedded)]
    problems += _problems_between([row for _, row in rows])
    if problems:
        raise InputError(f"{path} has mistakes:\n  " + "\n  ".join(problems))
    return tuple(_subject(row, folder) for _, row in rows)


def _rows(path: Path) -> list[tuple[int, Row]]:
    """Return (line number, cells by column) of each subject."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} is not a readable table ({error}); see config/subjects.tsv for one"
        ) from None
    lines = [
        (number, line.split("\t"))
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.startswith("#")
    ]
    if not lines:
        raise InputError(f"{path} is empty; see config/subjects.tsv for an example")
    columns = [cell.strip() for cell in lines[0][1]]
    lacking = [column for column in COLUMNS if column not in columns]
    unknown = [column for column in columns if column not in COLUMNS]
    if lacking or unknown:
        raise InputError(
            f"{path} has the columns {', '.join(columns)}; "
            + "; ".join(
                f"{verb} {', '.join(names)}"
                for verb, names in (("add", lacking), ("remove", unknown))
                if names
            )
            + ", and separate them by tabs"
        )
    if len(lines) == 1:
        raise InputError(f"{path} names no subject; add a row for each")
    return [
        (number, dict.fromkeys(COLUMNS, "") | dict(zip(columns, map(str.strip, cells), strict=False)))
        for number, cells in lines[1:]
    ]


def _problems(row: Row, folder: Path, embedded: bool) -> Iterator[str]:
    """Yield what is wrong with one row."""
    yield from (f"{column} is n/a; it is needed" for column in REQUIRED if _absent(row[column]))
    if embedded and _absent(row["mumap"]):
        yield "mumap is n/a; the embedded reconstruction needs one"
    if not _absent(row["participant_id"]) and not re.fullmatch(r"sub-[A-Za-z0-9]+", row["participant_id"]):
        yield f"participant_id is {row['participant_id']!r}; write sub- and letters or digits"
    if not _absent(row["split"]) and row["split"] not in SPLITS:
        yield f"split is {row['split']!r}; write {', '.join(SPLITS)}"
    if not _absent(row["tracer"]) and not re.fullmatch(r"[A-Za-z0-9]+", row["tracer"]):
        yield f"tracer is {row['tracer']!r}; write letters or digits"
    for column in FILES:
        if not _absent(row[column]) and not (folder / row[column]).is_file():
            yield f"{column} is {folder / row[column]}, which does not exist; check the path"
    if not _absent(row["listmode"]):
        if Path(row["listmode"]).suffix not in SUFFIXES:
            yield f"listmode is {row['listmode']}; its name must end in {' or '.join(SUFFIXES)}"
        elif embedded and row["listmode"].endswith(".l"):
            yield f"listmode is {row['listmode']}; the embedded reconstruction reads .l64 only"
        if _absent(row["header"]) and _header_beside(folder / row["listmode"]) is None:
            yield f"header is n/a, and {folder / row['listmode']}.hdr does not exist; name the header"
    for column in NUMBERS:
        if not _absent(row[column]) and not _is_positive(row[column]):
            yield f"{column} is {row[column]!r}; write a number above 0, or n/a"


def _problems_between(rows: list[Row]) -> Iterator[str]:
    """Yield what is wrong with the rows together: doubles, a split without subjects, several tracers."""
    for column in ("participant_id", "listmode"):
        counts = Counter(row[column] for row in rows if not _absent(row[column]))
        doubles = [(value, count) for value, count in counts.items() if count > 1]
        yield from (f"{column} {value} stands in {count} lines; keep one" for value, count in doubles)
    for split in ("train", "test"):
        if split not in {row["split"] for row in rows}:
            yield f"no subject has split {split}; name at least one"
    tracers = sorted({row["tracer"] for row in rows})
    if len(tracers) > 1:
        yield f"the subjects' tracers are {', '.join(tracers)}; one table is about one tracer"


def _header_beside(listmode: Path) -> Path | None:
    """Return the Interfile header that stands beside a list-mode file."""
    candidates = listmode.with_name(f"{listmode.name}.hdr"), listmode.with_suffix(".hdr")
    return next((path for path in candidates if path.is_file()), None)


def _absent(cell: str) -> bool:
    return cell in ("", NOT_AVAILABLE)


def _is_positive(cell: str) -> bool:
    try:
        return 0 < float(cell) < float("inf")
    except ValueError:
        return False


def _subject(row: Row, folder: Path) -> Subject:
    """Return the subject of a row without mistakes."""
    files = {column: None if _absent(row[column]) else folder / row[column] for column in FILES}
    files["header"] = files["header"] or _header_beside(files["listmode"])
    numbers = {column: None if _absent(row[column]) else float(row[column]) for column in NUMBERS}
    return Subject(id=row["participant_id"], split=row["split"], tracer=row["tracer"], **files, **numbers)

"""The user's table of subjects: tab-separated, one row each, with the columns that there is something for."""

from collections import Counter
from pathlib import Path

from csrd.cohort.rows import COLUMNS, Row, is_column, subjects_of
from csrd.cohort.subject import Subject
from csrd.config import Config
from csrd.errors import InputError

REQUIRED = ("participant_id",)


def read_sheet(path: Path, config: Config) -> tuple[Subject, ...]:
    """Return the subjects of a sheet; lines that begin with # are comments.

    Relative paths start at the sheet's folder; n/a, nothing, or no such column stands for what a subject
    does not have. Raises InputError with all that is wrong, each with its line.
    """
    columns, rows = read_table(path)
    wrong = {
        "add": [column for column in REQUIRED if column not in columns],
        "remove": [column for column in columns if not is_column(column)],
        "keep one": [column for column, count in Counter(columns).items() if count > 1],
    }
    if any(wrong.values()):
        remedies = "; ".join(f"{verb} {', '.join(names)}" for verb, names in wrong.items() if names)
        raise InputError(
            f"{path} has the columns {', '.join(columns)}; {remedies} (there can be {', '.join(COLUMNS)}, "
            "pet_drf4 and so on), and separate them by tabs"
        )
    return tuple(subjects_of(path, rows, path.parent, config))


def read_table(path: Path) -> tuple[list[str], list[tuple[int, Row]]]:
    """Return the columns of a table, and (line number, cells by column) of each row.

    Raises InputError where there is none, or no row.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} is not a readable table ({error}); see config/subjects.tsv for one"
        ) from None
    lines = [
        (number, [cell.strip() for cell in line.split("\t")])
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.startswith("#")
    ]
    if not lines:
        raise InputError(f"{path} is empty; see config/subjects.tsv for an example")
    columns = lines[0][1]
    if len(lines) == 1:
        raise InputError(f"{path} names no subject; add a row for each")
    ragged = [f"line {number}" for number, cells in lines[1:] if len(cells) != len(columns)]
    if ragged:
        raise InputError(
            f"{path} has {len(columns)} columns, but more or fewer cells in {', '.join(ragged)}; "
            "write n/a where there is nothing, and separate cells by tabs"
        )
    return columns, [(number, dict(zip(columns, cells, strict=True))) for number, cells in lines[1:]]

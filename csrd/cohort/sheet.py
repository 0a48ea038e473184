"""The user's table of subjects: tab-separated, one row for each subject."""

from collections import Counter
from pathlib import Path

from csrd.cohort.rows import COLUMNS, is_column, subjects_of
from csrd.cohort.subject import Subject
from csrd.config import Config
from csrd.errors import InputError
from csrd.io.tables import read_tsv

REQUIRED = ("participant_id",)
EXAMPLE = "config/subjects.tsv"


def read_sheet(path: Path, config: Config) -> tuple[Subject, ...]:
    """Return the subjects of a sheet; lines that begin with # are comments.

    Relative paths start at the sheet's folder. A missing value is n/a or empty, or its column is absent.
    Raises InputError with all mistakes, each with its line.
    """
    table = read_tsv(path, EXAMPLE)
    columns = table.columns
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
    return tuple(subjects_of(path, table.rows, path.parent, config))

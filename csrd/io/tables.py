"""Tables: metrics and results in CSV, the user's tables in TSV, records of trainings and jobs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from csrd.errors import InputError
from csrd.io.files import whole_file

if TYPE_CHECKING:  # pandas takes half a second, and a plan of the workflow reads a TSV at most
    import pandas as pd

KEYS = ["subject", "drf", "method"]
"""The columns that identify a row of every metrics table."""

Row = dict[str, str]


@dataclass(frozen=True)
class Tsv:
    """A tab-separated table: comments (``# key: value``), columns, and (line number, cells by column)."""

    notes: dict[str, str]
    columns: list[str]
    rows: list[tuple[int, Row]]


def read_tsv(path: str | Path, example: str) -> Tsv:
    """Return a table; lines that begin with # are comments.

    Raises InputError where the file is missing or has no row, or where a row has more or fewer cells than
    there are columns; `example` is the file that the message refers to.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a readable table ({error}); see {example} for one") from None
    numbered = list(enumerate(text.splitlines(), start=1))
    comments = (line[1:].partition(":") for _, line in numbered if line.startswith("#"))
    lines = [
        (number, [cell.strip() for cell in line.split("\t")])
        for number, line in numbered
        if line.strip() and not line.startswith("#")
    ]
    if not lines:
        raise InputError(f"{path} is empty; see {example} for an example")
    columns = lines[0][1]
    if len(lines) == 1:
        raise InputError(f"{path} has columns but no row; see {example} for an example")
    ragged = [f"line {number}" for number, cells in lines[1:] if len(cells) != len(columns)]
    if ragged:
        raise InputError(
            f"{path} has {len(columns)} columns, but more or fewer cells in {', '.join(ragged)}; "
            "write n/a where there is nothing, and separate cells by tabs"
        )
    notes = {key.strip(): value.strip() for key, _, value in comments}
    return Tsv(notes, columns, [(n, dict(zip(columns, cells, strict=True))) for n, cells in lines[1:]])


def read_csv(path: str | Path) -> "pd.DataFrame":
    """Return a metrics table, subjects as text.

    Raises InputError where it is missing or lacks the columns that name a row.
    """
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype={"subject": str, "method": str})
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; run the evaluate stage first") from None
    except (pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        raise InputError(f"{path} is not a readable table ({error}); write it again") from None
    if missing := [key for key in KEYS if key not in table]:
        raise InputError(f"{path} lacks the column {missing[0]}; write it again")
    return table


def write_csv(table: "pd.DataFrame", path: str | Path) -> None:
    """Write a table with seven significant digits, which is the precision of float32 images."""
    with whole_file(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.7g")


def write_records(records: Sequence[Mapping[str, object]], path: str | Path) -> None:
    """Write rows given by column as a metrics table (see `write_csv`)."""
    import pandas as pd

    write_csv(pd.DataFrame(records), path)


def write_rows(rows: Sequence[Sequence[object]], columns: Sequence[str], path: str | Path) -> None:
    """Write rows of a metrics table under `KEYS` and further columns (see `write_csv`)."""
    import pandas as pd

    write_csv(pd.DataFrame(rows, columns=[*KEYS, *columns]), path)


def read_history(path: str | Path) -> "pd.DataFrame":
    """Return the history of a training with columns ``step, loss, seconds, …``, and ``psnr`` of validations.

    Raises InputError where the file is missing or is not such a record.
    """
    import pandas as pd

    try:
        lines = Path(path).read_text().splitlines()
        table = pd.DataFrame([json.loads(line) for line in lines if line.strip()])
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a record of a training ({error}); train the method again") from None
    if missing := {"step", "loss", "seconds"} - set(table):
        raise InputError(f"{path} lacks {', '.join(sorted(missing))}; train the method again")
    return table


def read_benchmarks(folder: str | Path) -> "pd.DataFrame":
    """Return ``rule, job, wall_s, cpu_s, memory_mb``, a row a benchmark file of the workflow.

    Reads ``<rule>.tsv`` and ``<rule>/<job>.tsv`` under the folder. Other files are left out; a job that was
    too short to be measured counts as 0.
    """
    import pandas as pd

    rows = []
    for path in sorted(Path(folder).rglob("*.tsv")):
        rule, *job = path.relative_to(folder).with_suffix("").parts
        try:
            table = pd.read_csv(path, sep="\t", na_values=["-", "NA"])
            numbers = table[["s", "cpu_time", "max_rss"]].fillna(0).astype(float).mean()
        except (KeyError, ValueError, OSError):
            continue
        rows.append((rule, job[-1] if job else "", *numbers))
    return pd.DataFrame(rows, columns=["rule", "job", "wall_s", "cpu_s", "memory_mb"])

"""Tables of time-activity curves, as `*_tacs.tsv` with a sidecar: a row a frame, a column a region."""

from pathlib import Path

import numpy as np

from csrd.errors import InputError
from csrd.io.files import read_json, write_json, write_text
from csrd.io.tables import read_tsv
from csrd.kinetics.curves import Curves

TIMES = ("frame_start", "frame_end")
EXAMPLE = "what csrd tacs writes"


def sidecar_of_table(path: str | Path) -> Path:
    """Return where the sidecar of a table lies: its name with `.json`."""
    return Path(path).with_suffix(".json")


def write_tacs(curves: Curves, path: str | Path) -> None:
    """Write curves and their sidecar, with nine significant digits."""
    rows = ["\t".join([*TIMES, *curves.names])]
    for start, end, values in zip(curves.starts, curves.ends, curves.values, strict=True):
        rows.append("\t".join(f"{value:.9g}" for value in (start, end, *values)))
    write_text(path, "\n".join(rows) + "\n")
    write_json(sidecar_of_table(path), curves.facts)


def read_tacs(path: str | Path) -> Curves:
    """Return the curves in a table; columns beside the times are regions, and the sidecar may be absent.

    Raises InputError where the table lacks the times or a region, or a cell is not a number.
    """
    table = read_tsv(path, EXAMPLE)
    names = tuple(column for column in table.columns if column not in TIMES)
    if len(set(table.columns)) < len(table.columns) or not set(TIMES) <= set(table.columns) or not names:
        raise InputError(
            f"{path} has the columns {', '.join(table.columns)}; give it frame_start and frame_end, in s, "
            "and one for each region"
        )
    values: dict[str, list[float]] = {column: [] for column in table.columns}
    for number, row in table.rows:
        for column, cell in row.items():
            try:
                value = float(cell)
            except ValueError:
                value = float("nan")
            if not np.isfinite(value):
                raise InputError(f"{path}, line {number}: {column} is {cell!r}; write a number")
            values[column].append(value)
    starts, ends = (np.array(values[column]) for column in TIMES)
    if not (ends > starts).all() or not (np.diff(starts) > 0).all():
        raise InputError(f"the frames of {path} do not follow one another; correct frame_start or frame_end")
    sidecar = sidecar_of_table(path)
    facts = read_json(sidecar) if sidecar.exists() else {}
    return Curves(starts, ends - starts, names, np.array([values[name] for name in names]).T, facts)

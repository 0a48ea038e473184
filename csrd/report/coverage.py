"""Table of the coverage of predicted standard deviations: the fraction of voxels within their intervals."""

import pandas as pd

from csrd.methods import in_row_order, label_of
from csrd.report.html import Cell, plain_table

SHOWN = (0.5, 0.68, 0.9, 0.95)
TARGETS = {"normal": "normal dose", "truth": "noise-free truth"}


def coverage_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return ``method, target, 0.5, 0.68, 0.9, 0.95``: fractions, means over test subjects and doses.

    `rows` are the merged ones of `csrd.stages.evaluate.coverage`.
    """
    shown = rows[rows["level"].isin(SHOWN)]
    table = shown.groupby(["method", "target", "level"])["coverage"].mean().unstack("level")
    order = [(m, t) for m in in_row_order(list(rows["method"].unique())) for t in TARGETS]
    return table.loc[[key for key in order if key in table.index]].reset_index().rename_axis(columns=None)


def coverage_html(table: pd.DataFrame) -> str:
    """Return the table of `coverage_table` as an HTML fragment."""
    rows = [
        (f"{label_of(row['method'])}: {TARGETS[row['target']]}", [Cell(f"{row[q]:.0%}") for q in SHOWN])
        for _, row in table.iterrows()
    ]
    note = (
        "Fraction of the head's voxels that lie within the interval of each nominal level around the "
        "denoised image: mean over test subjects and doses. Where it is less than the level, the predicted "
        "standard deviation is too small. The interval is Student's t with as many degrees of freedom as "
        "there are samples, times the standard deviation. It is the one of the normal dose, which is noisy "
        "itself; the truth, where it is simulated, has the grid and the resolution of the normal dose."
    )
    return plain_table("Method: target", [f"{level:.0%} interval" for level in SHOWN], rows, note)

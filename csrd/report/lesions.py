"""Recovery of the test set's spots and false spots: columns of Table 1, a table of their own, sentences."""

from collections.abc import Sequence

import pandas as pd

from csrd.methods import in_row_order, label_of
from csrd.metrics.lesions import mean_and_error
from csrd.metrics.regions import NORMAL
from csrd.report.html import Cell, plain_table
from csrd.report.statistics import AGAINST

KINDS = ("hot", "cold")
SIZES = {"lesion": "4 to 7 mm", "small": "2 to 4 mm", "large": "7 to 12 mm"}
COMPARED = (NORMAL, "lowdose", AGAINST)
"""Rows that the summary names."""


def recoveries(rows: pd.DataFrame, by: Sequence[str] = ("method",)) -> pd.DataFrame:
    """Return ``<by>, size, kind, n, recovery, error``: the mean over n spots and its standard error.

    `rows` are the merged ones of `csrd.stages.lesions.lesions`. A spot counts once, by its mean over the
    doses that are taken together, which are not independent.
    """
    groups = [*by, "size", "kind"]
    spots = rows.groupby([*groups, "subject", "spot"], sort=False)["recovery"].mean()
    found = spots.groupby(level=groups, sort=False)
    table = pd.DataFrame(
        {
            "n": found.size(),
            "recovery": found.mean(),
            "error": found.agg(lambda values: mean_and_error(values)[1]),
        }
    )
    return _in_order(table.reset_index())


def false_counts(rows: pd.DataFrame, by: Sequence[str] = ("method",)) -> pd.DataFrame:
    """Return ``<by>, images, false_spots``: the mean number of false spots in an image."""
    found = rows.groupby(list(by), sort=False)["false_spots"]
    return _in_order(pd.DataFrame({"images": found.size(), "false_spots": found.mean()}).reset_index())


def with_lesions(table: pd.DataFrame, rows: pd.DataFrame, false: pd.DataFrame) -> pd.DataFrame:
    """Return Table 1, or its split by dose, with the recovery of lesions and the number of false spots.

    It gets the columns ``hot_recovery, hot_recovery_error, cold_recovery, …, false_spots``. Table 1 gets a
    row of the normal dose.
    """
    by = [name for name in ("drf", "method") if name in table]
    counts = false_counts(false, by)
    if by == ["method"] and NORMAL not in set(table["method"]):
        images = int(counts.loc[counts["method"] == NORMAL, "images"].iloc[0])
        table = _in_order(pd.concat([table, pd.DataFrame([{"method": NORMAL, "n": images}])]))
    recovery = recoveries(rows[rows["size"] == "lesion"], by)
    for kind in KINDS:
        of_kind = recovery[recovery["kind"] == kind]
        names = {"recovery": f"{kind}_recovery", "error": f"{kind}_recovery_error"}
        table = table.merge(of_kind[[*by, *names]].rename(columns=names), on=by, how="left")
    table = table.merge(counts[[*by, "false_spots"]], on=by, how="left")
    return table[[*table.columns.drop("n"), "n"]]


def lesions_html(rows: pd.DataFrame, false: pd.DataFrame) -> str:
    """Return the recovery of spots by size and dose, and the number of false spots, as HTML fragments."""
    by_dose, every = recoveries(rows, ["method", "drf"]), recoveries(rows)
    methods = list(every["method"].unique())
    drfs = sorted(set(by_dose["drf"]) - {1})
    lines = [
        (f"{kind}, 1/{drf}", _recovery_cells(by_dose, methods, "lesion", kind, drf))
        for kind in KINDS
        for drf in drfs
    ]
    lines += [
        (f"{kind}, {SIZES[size]}", _recovery_cells(every, methods, size, kind))
        for size in SIZES
        for kind in KINDS
    ]
    spots = int(every.loc[(every["size"] == "lesion") & (every["kind"] == "hot"), "n"].max())
    of_spots = (
        "Recovery of the contrast of spots that the MR does not show: 1 as in the truth, 0 without any. "
        f"Uptake ratio 1.4 to 1.8, of their cold twins 0.2 to 0.6; radius 4 to 7 mm unless stated ({spots} "
        "spots of each kind). Mean ± standard error over spots; first by dose, then over all doses, where a "
        "spot counts once."
    )
    counts = false_counts(false, ["method", "drf"])
    shown = [(f"1/{drf} of the dose", _count_cells(counts, methods, drf)) for drf in drfs]
    of_counts = (
        "Hot spots of that size in an image that the truth does not have, mean number in an image. Noise "
        "alone makes some in the normal dose, whose number is the one to compare with."
    )
    heads = [label_of(method) for method in methods]
    return plain_table("Spots", heads, lines, of_spots) + plain_table("False spots", heads, shown, of_counts)


def sentences(rows: pd.DataFrame, false: pd.DataFrame) -> list[str]:
    """Return the summary's sentences: what is left of hot lesions, and the number of false spots."""
    by = ["method", "drf"]
    hot = recoveries(rows[(rows["size"] == "lesion") & (rows["kind"] == "hot")], by).set_index(by)
    counts = false_counts(false).set_index("method")["false_spots"]
    drfs = sorted({drf for _, drf in hot.index} - {1})
    ends = list(dict.fromkeys((drfs[0], drfs[-1])))
    left = []
    for method in [key for key in COMPARED if key != NORMAL and (key, drfs[0]) in hot.index]:
        shares = [hot.loc[(method, drf)] for drf in ends]
        texts = [f"{row['recovery']:.2f} ± {row['error']:.2f}" for row in shares]
        left.append(f"{' and '.join(texts)} in the {_image_of(method)}")
    doses = " and ".join(f"1/{drf}" for drf in ends)
    named = [f"{counts[key]:.1f} in the {_image_of(key)}" for key in counts.index if key in COMPARED]
    told = [f"Of the contrast of hot lesions there are left, at {doses} of the dose, {'; '.join(left)}."]
    return [*(told if left else []), f"False spots in an image: {', '.join(named)}."]


def _image_of(key: str) -> str:
    names = {NORMAL: "normal dose", "lowdose": "low dose"}
    return names.get(key, f"image of {label_of(key)}")


def _recovery_cells(
    table: pd.DataFrame, methods: Sequence[str], size: str, kind: str, drf: int | None = None
) -> list[Cell]:
    """Return one line of recoveries; the normal dose has no other dose."""
    chosen = table[(table["size"] == size) & (table["kind"] == kind)]
    cells = []
    for method in methods:
        row = chosen[chosen["method"] == method]
        if drf is not None:
            row = row[row["drf"] == (1 if method == NORMAL else drf)]
        text = f"{row['recovery'].iloc[0]:z.2f} ± {row['error'].iloc[0]:.2f}" if len(row) else ""
        cells.append(Cell(text.replace("-", "−")))
    return cells


def _count_cells(counts: pd.DataFrame, methods: Sequence[str], drf: int) -> list[Cell]:
    chosen = counts[counts["drf"].isin((1, drf))].set_index("method")["false_spots"]
    return [Cell(f"{chosen[method]:.1f}") for method in methods]


def _in_order(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows in the order of Table 1, where the normal dose is the first of the control rows."""
    rank = {method: i for i, method in enumerate(in_row_order(table["method"].unique()))}
    return table.sort_values("method", key=lambda method: method.map(rank), kind="stable", ignore_index=True)

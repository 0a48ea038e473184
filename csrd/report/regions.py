"""Uptake by region as a table and a figure: bias, agreement."""

from pathlib import Path

import numpy as np
import pandas as pd

from csrd.methods import in_row_order, label_of
from csrd.metrics.regions import NORMAL
from csrd.report.curves import COLOURS, INK, SOFT, panels_of
from csrd.report.html import Cell, plain_table

LIMITS = 1.96  # standard deviations: where 95 % of normally distributed differences lie


def regions_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return ``method, target, region, n, bias, bias_sd, max_bias``.

    `rows` are the merged ones of `csrd.stages.regions.regions`. Biases are (method − target) / target of a
    region's mean and maximum, means over test subjects and doses (n images).
    """
    rows = rows.assign(
        bias=rows["mean"] / rows["target_mean"] - 1,
        max_bias=rows["max"] / rows["target_max"] - 1,
    )
    groups = rows.groupby(["method", "target", "region"], sort=False)
    table = groups.agg(
        n=("bias", "size"),
        bias=("bias", "mean"),
        bias_sd=("bias", "std"),
        max_bias=("max_bias", "mean"),
    ).reset_index()
    rank = {method: i for i, method in enumerate(_columns(table))}
    return table.sort_values("method", key=lambda method: method.map(rank), kind="stable", ignore_index=True)


def regions_html(table: pd.DataFrame) -> str:
    """Return the biases of `regions_table` against the truth as a fragment of HTML."""
    shown = table[table["target"] == "truth"].set_index(["region", "method"])
    methods = _columns(table)
    bias = [
        (region.replace("_", " "), [_bias(shown.loc[region, method]) for method in methods])
        for region in shown.index.get_level_values("region").unique()
    ]
    note = (
        "Bias in percent of a region's mean uptake against the noise-free truth at the normal dose's "
        "resolution, mean ± standard deviation over test subjects and doses; below it, the bias "
        "of the region's maximum, which noise alone raises. Regions are the simulation's labels."
    )
    return plain_table("Region", [label_of(method) for method in methods], bias, note)


def bland_altman(path: str | Path, rows: pd.DataFrame) -> None:
    """Write a PNG with a panel per method: its regions' means minus the normal dose's, against their mean.

    `rows` are the merged ones of `csrd.stages.regions.regions`; a point is a region of a test subject at a
    dose. The solid line is the mean difference, the dashed ones are 1.96 standard deviations away.
    """
    rows = rows[rows["target"] == "normal"]
    methods = in_row_order(list(rows["method"].unique()))
    ends = np.abs(rows["mean"] - rows["target_mean"]).max() * 1.1 or 1.0
    with panels_of(path, len(methods), columns=min(len(methods), 3)) as (_, cells):
        for i, (cell, method) in enumerate(zip(cells, methods, strict=False)):
            part = rows[rows["method"] == method]
            difference = part["mean"] - part["target_mean"]
            middle, std = difference.mean(), difference.std()
            across = (part["mean"] + part["target_mean"]) / 2
            cell.scatter(across, difference, s=9, alpha=0.5, color=COLOURS.get(method, INK), linewidths=0)
            cell.axhline(0, color=SOFT, linewidth=0.8)
            cell.axhline(middle, color=INK, linewidth=1.3)
            for side in (-LIMITS, LIMITS):
                cell.axhline(middle + side * std, color=INK, linewidth=1, linestyle=(0, (4, 3)))
            cell.set_title(
                f"{label_of(method)}\n{middle:+.2f} ± {LIMITS * std:.2f}".replace("-", "−"), fontsize=11
            )
            cell.set_ylim(-ends, ends)
            cell.set_xlabel("mean of both (kBq/mL)", fontsize=10)
            if i % 3 == 0:
                cell.set_ylabel("difference (kBq/mL)", fontsize=10)


def _columns(table: pd.DataFrame) -> list[str]:
    found = list(table["method"].unique())
    return [name for name in found if name == NORMAL] + in_row_order([m for m in found if m != NORMAL])


def _bias(row: pd.Series) -> Cell:
    std = "" if np.isnan(row["bias_sd"]) else f" ± {100 * row['bias_sd']:.1f}"
    text = f"{100 * row['bias']:+.1f}{std}".replace("-", "−")
    return Cell(text, f"max {100 * row['max_bias']:+.0f}".replace("-", "−"))

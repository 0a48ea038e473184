"""Bias and deviation over several thinnings of one scan, as a page and a figure."""

from pathlib import Path
from typing import Any

import pandas as pd

from csrd.methods import in_row_order, label_of
from csrd.report.curves import COLOURS, INK, MARKERS, SOFT, panels_of
from csrd.report.html import Cell, fragment, page, picture, plain_table


def noise_table(rows: pd.DataFrame, draws: int) -> str:
    """Return the rows of `csrd.stages.regions.noise` as an HTML fragment, in percent of the truth."""
    methods = in_row_order(list(rows["method"].unique()))
    values = rows.set_index(["region", "method"])
    lines = []
    for region in rows["region"].unique():
        lines.append((region.replace("_", " "), [_cell(values.loc[region, m]) for m in methods]))
    note = (
        f"A region's mean over {draws} thinnings of one scan: bias against the noise-free truth ± standard "
        "deviation between the thinnings, in percent of the truth; below, the same voxel by voxel, root mean "
        "squares over the region's voxels. All thinnings are of one list-mode file: its own noise is in the "
        "bias, and the deviation is that of thinning."
    )
    return plain_table("Region", [label_of(method) for method in methods], lines, note)


def noise_page(rows: pd.DataFrame, figure: str | Path, *, subject: str, drf: int, draws: int) -> str:
    """Return the table, and the figure in a PNG, as a page that needs no other file."""
    title = f"Bias and deviation: {subject}, 1/{drf} of the dose"
    body = fragment("noise.html", title=title, table=noise_table(rows, draws), figure=picture(figure))
    return page(title, body)


def noise_figure(path: str | Path, rows: pd.DataFrame) -> None:
    """Write a PNG: deviation against bias, a point per method and region, of regions' means and of voxels."""
    with panels_of(path, 2, columns=2) as (_, (left, right)):
        for method in in_row_order(list(rows["method"].unique())):
            part = rows[rows["method"] == method]
            style: dict[str, Any] = {
                "color": COLOURS.get(method, INK),
                "marker": MARKERS.get(method, "x"),
                "s": 22,
                "alpha": 0.8,
            }
            for cell, kind in ((left, ""), (right, "voxel_")):
                bias, std = (100 * part[kind + name] / part["truth"] for name in ("bias", "sd"))
                cell.scatter(bias, std, label=label_of(method), **style)
        left.axvline(0, color=SOFT, linewidth=0.8, zorder=0)
        left.set_title("Means of regions", fontsize=11)
        right.set_title("Voxels", fontsize=11)
        right.set_xlim(left=0)
        for cell in (left, right):
            cell.set_xlabel("bias (% of the truth)", fontsize=10)
            cell.set_ylim(bottom=0)
        left.set_ylabel("standard deviation (% of the truth)", fontsize=10)
        right.legend(frameon=False, fontsize=9.5)


def _cell(row: pd.Series) -> Cell:
    bias, sd, voxel_bias, voxel_sd = (
        100 * row[name] / row["truth"] for name in ("bias", "sd", "voxel_bias", "voxel_sd")
    )
    text = f"{bias:+.1f} ± {sd:.1f}".replace("-", "−")
    return Cell(text, f"voxels {voxel_bias:.0f} ± {voxel_sd:.0f}")

"""Line figures: quality against dose, training against time, and coverage of intervals."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from csrd.io.files import whole_file
from csrd.methods import in_row_order, label_of
from csrd.report import paper
from csrd.report.coverage import TARGETS
from csrd.report.table import Scope, header

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 130
WIDTH_IN = 9.6  # at this width letters are as large as the page's
INK, SOFT = "#1d2430", "#8b95a3"
# Okabe & Ito's colours, which colour-blind readers can distinguish; a method has the same in every figure.
COLOURS = {
    "lowdose": "#7f8794",
    "tv": "#e69f00",
    "unet": "#009e73",
    "restormer": "#cc79a7",
    "unet3d": "#d55e00",
    "csrd": "#0072b2",
    "csrdnomr": "#56b4e9",
}
MARKERS = dict(zip(COLOURS, "osD^Pov", strict=True))
SMOOTHING = 15  # records in the running median of the training loss, since a batch's loss is mostly noise
TICKS = (0, 0.25, 0.5, 0.75, 1)


def dose_quality(path: str | Path, rows: pd.DataFrame, scope: Scope) -> None:
    """Write a PNG with a panel per metric of Table 1: its mean over test subjects against the dose.

    `rows` are those of the metrics. A band marks each dose that is not in `train_drfs`: no method was fitted
    on images of it.
    """
    keys = [key for key in paper.METRICS if key in rows]
    drfs = sorted(scope.drfs)
    with panels_of(path, len(keys) + 1, columns=3) as (figure, cells):
        for cell, key in zip(cells, keys, strict=False):
            for method in in_row_order(scope.methods):
                means = rows[rows["method"] == method].groupby("drf")[key].mean().reindex(drfs)
                cell.plot(range(len(drfs)), means, **_style(method))
            name, arrow = header(key, scope.units)
            cell.set_title(f"{name} {arrow}", fontsize=11)
            _doses(cell, drfs, scope.train_drfs)
        cells[-1].axis("off")
        handles, labels = cells[0].get_legend_handles_labels()
        cells[-1].legend(handles, labels, loc="center", frameon=False, fontsize=10.5, labelspacing=0.7)


def training(path: str | Path, histories: Mapping[str, pd.DataFrame]) -> None:
    """Write a PNG of the loss, and of PSNR on the validation subjects, against the minutes of training.

    `histories` are the records of the trainings (`csrd.io.tables.read_history`), by method.
    """
    from matplotlib.ticker import LogLocator

    records = {method: histories[method] for method in in_row_order(list(histories))}
    with panels_of(path, 2, columns=2) as (figure, (left, right)):
        for method, table in records.items():
            minutes, style = table["seconds"] / 60, _style(method)
            left.plot(minutes, table["loss"], color=style["color"], alpha=0.22, linewidth=0.8)
            smooth = table["loss"].rolling(SMOOTHING, center=True, min_periods=1).median()
            left.plot(minutes, smooth, **(style | {"marker": ""}))
            if "psnr" in table:
                seen = table.dropna(subset=["psnr"])
                right.plot(seen["seconds"] / 60, seen["psnr"], **style)
        if all((table["loss"] > 0).all() for table in records.values()):
            left.set_yscale("log")
            left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            left.yaxis.set_major_formatter("{x:g}")  # 0.5, not 5 × 10⁻¹
            left.yaxis.set_minor_formatter("")
        left.set_title("Loss of a batch, running median", fontsize=11)
        right.set_title("PSNR on the validation subjects (dB)", fontsize=11)
        for cell in (left, right):
            cell.set_xlabel("minutes of training")
            cell.set_xlim(left=0)
        if not right.lines:
            right.text(0.5, 0.5, "no validation subject", transform=right.transAxes, ha="center", color=SOFT)
        left.legend(frameon=False, fontsize=10)


def reliability(path: str | Path, rows: pd.DataFrame, *, train_drfs: Sequence[int]) -> None:
    """Write a PNG of observed against nominal coverage: a panel per method and target, a line a dose.

    `rows` are the merged ones of `csrd.stages.evaluate.coverage`; fractions are means over the test subjects.
    Below the diagonal the standard deviation is too small, above it too large.
    """
    from matplotlib import colormaps

    methods = in_row_order(list(rows["method"].unique()))
    targets = [target for target in TARGETS if target in set(rows["target"])]
    drfs = sorted(rows["drf"].unique())
    shades = dict(zip(drfs, colormaps["viridis"](np.linspace(0, 0.82, len(drfs))), strict=True))
    means = rows.groupby(["method", "target", "drf", "level"])["coverage"].mean()
    panels = [(method, target) for method in methods for target in targets]
    with panels_of(path, len(panels), columns=min(len(panels), 4), square=True) as (figure, cells):
        for cell, (method, target) in zip(cells, panels, strict=False):
            cell.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=(0, (2, 2)))
            for drf in drfs:
                line = means[method, target, drf]
                unseen = drf not in train_drfs
                name = f"1/{drf} dose" + (", unseen" if unseen else "")
                cell.plot(line.index, line, color=shades[drf], label=name, ls="--" if unseen else "-", lw=1.8)
            cell.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
            cell.set_title(f"{label_of(method)}\n{TARGETS[target]}", fontsize=11)
            cell.set(xlabel="nominal level", xticks=TICKS, yticks=TICKS)
        cells[0].set_ylabel("fraction of head voxels", fontsize=10)
        handles, labels = cells[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside lower center", ncols=len(drfs), frameon=False, fontsize=10
        )


@contextmanager
def panels_of(
    path: str | Path, panels: int, columns: int, square: bool = False
) -> Iterator[tuple["Figure", list["Axes"]]]:
    """Yield a figure and its panels in reading order, with the common style; write it as PNG at the end."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    lines = ceil(panels / columns)
    width = min(WIDTH_IN, 4.4 * columns)
    height = width / columns * (1.16 if square else 0.8) * lines
    layout = ConstrainedLayoutEngine(h_pad=0.09)
    figure = Figure(figsize=(width, height), facecolor="white", layout=layout)
    grid = figure.subplots(lines, columns, squeeze=False)
    cells = list(grid.flat)
    for cell in cells:
        cell.spines[["top", "right"]].set_visible(False)
        cell.spines[["left", "bottom"]].set_color(SOFT)
        cell.tick_params(colors=INK, labelsize=9.5, length=3)
        cell.grid(axis="y", color="#e8ebef", linewidth=0.8)
        cell.set_axisbelow(True)
    yield figure, cells
    for cell in cells[panels:]:
        cell.axis("off")
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=DPI, facecolor="white")


def _style(method: str) -> dict:
    """Return the style of a method's line."""
    return {
        "color": COLOURS.get(method, INK),
        "marker": MARKERS.get(method, "x"),
        "linestyle": "--" if method == "csrdnomr" else "-",
        "linewidth": 2.4 if method == "csrd" else 1.6,
        "markersize": 5.5,
        "zorder": 4 if method == "csrd" else 3,
        "label": label_of(method),
    }


def _doses(cell: "Axes", drfs: list[int], train_drfs: Sequence[int]) -> None:
    """Format the axis of doses, the highest dose first, and mark those that were not used in fitting."""
    cell.set_xticks(
        range(len(drfs)), [f"1/{drf}" + ("" if drf in train_drfs else "\nunseen") for drf in drfs]
    )
    cell.set_xlim(-0.4, len(drfs) - 0.6)
    cell.set_xlabel("dose")
    for i, drf in enumerate(drfs):
        if drf not in train_drfs:
            cell.axvspan(i - 0.4, i + 0.4, color="#eef3f6", zorder=0)

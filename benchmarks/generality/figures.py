"""The figures of docs/generality.md: an MR beside its place, and another person's MR."""

from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from columns import GAUSSIAN, Column
from matplotlib.axes import Axes
from page import NORMAL, Records
from rows import REFERENCE, SHIFTS_MM
from scans import Scan

from csrd.io.files import whole_file
from csrd.virtual.regions import REGIONS

OTHER = "mr_other"
DRAWN: dict[str, Callable[[dict], float]] = {
    "PSNR against the truth (dB)": lambda record: record["psnr_truth"],
    "mean absolute bias of regions (%)": lambda record: 100 * record["bias_truth"][1],
    "recovery of hot spots": lambda record: record["hot"][0],
    "false spots": lambda record: record["false_spots"],
}
DOTS_PER_INCH = 110


def draw_displacement(records: Records, columns: list[Column], path: Path) -> None:
    """Draw figures against the MR's displacement; level lines without MR and with another person's."""
    figure, axes = plt.subplots(2, 2, figsize=(9.5, 6.4), layout="constrained", sharex=True)
    for axis, (label, value) in zip(axes.flat, DRAWN.items(), strict=True):
        for number, column in enumerate(column for column in columns if column.uses_mr):
            _draw_model(axis, records, column.name, value, f"C{number}")
        levels = [column.name for column in columns if column.gives_std and not column.uses_mr]
        styles = [(name, f"C{number}", "--") for number, name in enumerate(levels)]
        for name, colour, style in [*styles, (GAUSSIAN, "0.4", "-."), (NORMAL, "0.7", "-")]:
            axis.axhline(value(records[REFERENCE.name][name]), color=colour, ls=style, lw=1.2, label=name)
        axis.set(ylabel=label, xticks=[0, *SHIFTS_MM])
    for axis in axes[1]:
        axis.set_xlabel("displacement of the MR (mm)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    _save(figure, path)


def _draw_model(axis: Axes, records: Records, name: str, value: Callable[[dict], float], colour: str) -> None:
    """Draw a model with MR: a curve over the displacements, and a level line with another person's MR."""
    rows = [REFERENCE.name, *(f"mr_shift_{mm:g}" for mm in SHIFTS_MM)]
    axis.plot([0, *SHIFTS_MM], [value(records[row][name]) for row in rows], "o-", color=colour, label=name)
    level = value(records[OTHER][name])
    axis.axhline(level, color=colour, ls=(0, (1, 1)), lw=1.8, label=f"{name}, another person's")


def draw_other_person(own: Scan, other: Scan, column: Column, path: Path) -> None:
    """Draw a scan denoised with its `own` and with an `other` person's MR, and the difference."""
    with_own, with_other = (column.make(scan, False).image.array for scan in (own, other))
    peak = float(np.percentile(own.truth.array[own.mask], 99.8))
    pet = {"cmap": "gray_r", "vmin": 0, "vmax": peak}
    own_mr, other_mr = (scan.mr.array / np.percentile(scan.mr.array[own.mask], 99) for scan in (own, other))
    mr = {"cmap": "gray", "vmin": 0, "vmax": 1}
    signed = {"cmap": "RdBu_r", "vmin": -0.3 * peak, "vmax": 0.3 * peak}
    panels = [
        ("truth", own.truth.array, pet),
        ("its own MR", own_mr, mr),
        ("denoised with its own MR", with_own, pet),
        ("error with its own MR", with_own - own.truth.array, signed),
        ("low dose", own.low.array, pet),
        ("another person's MR", other_mr, mr),
        ("denoised with another's MR", with_other, pet),
        ("another's − its own", with_other - with_own, signed),
    ]
    figure, axes = plt.subplots(2, 4, figsize=(11, 6.4), layout="constrained")
    window = _window(own)
    for axis, (title, array, how) in zip(axes.flat, panels, strict=True):
        shown = axis.imshow(array[window].T, origin="lower", **how)
        axis.set_title(title, fontsize=10)
        axis.axis("off")
    bar = figure.colorbar(shown, ax=axes[:, 3], shrink=0.6, label="kBq/mL")
    bar.ax.tick_params(labelsize=8)
    _save(figure, path)


def _window(scan: Scan) -> tuple[slice, slice, int]:
    """Return the axial slice through the putamen, cut to the head."""
    z = int(np.mean(np.nonzero(scan.labels == REGIONS["putamen"])[2]))
    x, y = np.nonzero(scan.mask[:, :, z])
    margin = 2
    edges = [slice(max(0, int(i.min()) - margin), int(i.max()) + margin + 1) for i in (x, y)]
    return *edges, z


def _save(figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=DOTS_PER_INCH)
    plt.close(figure)

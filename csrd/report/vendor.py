"""Measured scans: agreement with the vendor's reconstruction, and what was not corrected."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from csrd.metrics.agreement import AXES, Agreement
from csrd.report.curves import INK, SOFT, panels_of
from csrd.report.html import Cell, plain_table

WIDE = 1.96  # standard deviations of the limits of agreement
CORRECTIONS = {
    "AttenuationCorrection": "attenuation",
    "ScatterCorrectionMethod": "scatter",
    "NormalisationCorrection": "normalisation",
    "NormalisationTurn": "turn of the normalisation's crystals",
    "NormalisationCalibration": "calibration",
    "NormalisationDeadTime": "dead time",
}
NOTE = (
    "The embedded reconstruction of the normal dose beside the vendor's image of the same scan, in cubes of "
    "24 mm inside the head, both smoothed by a Gaussian of 12 mm. The ratio is that of the mean "
    "activities. The background is the intercept of a line through the cubes' means, relative to the mean, "
    "± its standard error; deviation is that of the cubes from the line. The images differ in resolution, "
    "corrections and iterations, so that small differences are expected."
)


def agreements(rows: pd.DataFrame) -> dict[str, tuple[int, Agreement]]:
    """Return the number of cubes and the agreement of each subject, of the rows of `stages.vendor`."""
    found = {}
    for subject, part in rows.groupby("subject", sort=False):
        first = part.iloc[0]
        names = [] if first["exchanged"] == "none" else str(first["exchanged"]).split(", ")
        turned = tuple(AXES.index(name) for name in names)
        figures = first[["ratio", "background", "spread", "background_error"]]
        measured = Agreement(turned, *map(float, figures))
        found[str(subject)] = len(part), measured
    return found


def vendor_html(rows: pd.DataFrame) -> str:
    """Return the table of agreement with the vendor's images as HTML."""
    lines = [
        (
            subject,
            [
                Cell(str(cubes)),
                Cell(f"{one.ratio:.3f}"),
                Cell(f"{_percent(one.background)} ± {100 * one.background_error:.1f} %"),
                Cell(f"{100 * one.spread:.1f} %"),
                Cell("; ".join(one.faults) or "agrees"),
            ],
        )
        for subject, (cubes, one) in agreements(rows).items()
    ]
    return plain_table("Subject", ["Cubes", "Ratio", "Background", "Deviation", "Verdict"], lines, NOTE)


def vendor_figure(path: str | Path, rows: pd.DataFrame) -> None:
    """Write a PNG with a Bland-Altman panel a subject: our means of cubes minus the vendor's, in kBq/mL."""
    subjects = list(rows["subject"].unique())
    with panels_of(path, len(subjects), columns=min(len(subjects), 3)) as (_, cells):
        for cell, subject in zip(cells, subjects, strict=False):
            part = rows[rows["subject"] == subject]
            ours, theirs = part["ours"] / 1e3, part["vendor"] / 1e3
            difference = ours - theirs
            middle, deviation = difference.mean(), difference.std()
            cell.scatter((ours + theirs) / 2, difference, s=9, alpha=0.5, color=INK, linewidths=0)
            cell.axhline(0, color=SOFT, linewidth=0.8)
            cell.axhline(middle, color=INK, linewidth=1.3)
            for side in (-WIDE, WIDE):
                cell.axhline(middle + side * deviation, color=INK, linewidth=1, linestyle=(0, (4, 3)))
            cell.set_title(subject, fontsize=11)
            cell.set_xlabel("mean of both (kBq/mL)", fontsize=10)
            cell.set_ylabel("ours − vendor's (kBq/mL)", fontsize=10)


def corrections(sidecars: Iterable[Mapping]) -> list[str]:
    """Return what the images of measured scans were corrected for, and how, in sentences without doubles."""
    stated = {
        f"{name}: {text}"
        for sidecar in sidecars
        for key, name in CORRECTIONS.items()
        if (text := sidecar.get(key))
    }
    return sorted(stated)


def _percent(value: float) -> str:
    return f"{100 * value:+.1f} %".replace("-", "−")

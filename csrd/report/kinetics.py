"""Curves and binding potentials of a scan before and after denoising, as a part of its page."""

from collections.abc import Mapping, Sequence

import numpy as np

from csrd.kinetics.curves import Curves
from csrd.report.html import Cell, fragment, plain_table

MISSING = "n/a"
SHOWN = 6
"""Regions whose curves are drawn: the reference, and those with the highest BP_ND."""


def kinetics_part(
    before: Curves,
    after: Curves,
    bindings: Sequence[Mapping[str, Mapping[str, str]]],
    reference: str,
    model: str,
) -> str:
    """Return curves and BP_ND before and after as a fragment of HTML.

    `bindings` are the rows of the two tables of BP_ND, by region.
    """
    regions = [name for name in bindings[0] if name in bindings[1]]
    rows = [(name, [Cell(_binding(table[name])) for table in bindings]) for name in regions]
    caption = f"BP_ND by {model.upper()} against {reference}, ± its standard error in this scan."
    table = plain_table("Region", ["before", "after"], rows, caption)
    known = [name for name in regions if bindings[0][name]["BPND"] != MISSING]
    highest = sorted(known, key=lambda name: -float(bindings[0][name]["BPND"]))[: SHOWN - 1]
    drawn = [name for name in (reference, *highest) if name in before.names and name in after.names]
    most = max(float(one.of(name).max()) for one in (before, after) for name in drawn)
    end = float(before.ends[-1])
    lines = [
        {"name": name, "before": _path(before, name, end, most), "after": _path(after, name, end, most)}
        for name in drawn
    ]
    unit = str(before.facts.get("Units", ""))
    return fragment("kinetics.html", table=table, lines=lines, minutes=end / 60, most=most, unit=unit)


def _binding(row: Mapping[str, str]) -> str:
    if row["BPND"] == MISSING:
        return "–"
    error = "" if row["BPND_se"] == MISSING else f" ± {float(row['BPND_se']):.3f}"
    return f"{float(row['BPND']):.3f}{error}".replace("-", "−")


def _path(curves: Curves, name: str, end: float, most: float) -> str:
    """Return the points of a curve in a box of 600 by 240, at the middles of its frames."""
    x = 600 * (curves.starts + curves.durations / 2) / end
    y = 240 * (1 - np.clip(curves.of(name), 0, None) / most)
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))

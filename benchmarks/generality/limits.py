"""What a model for any brain PET should reach, and whether it does."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from columns import Column
from page import NONE, NORMAL, Records, bold, markdown, over_filter, over_input
from rows import REFERENCE, Row

MISLEADING = ("mr_shift_4", "mr_other")
"""Rows whose MR is wrong: no gain is required of them."""


@dataclass(frozen=True)
class Results:
    """What one column has on some rows."""

    rows: list[Row]
    records: Records
    column: Column

    def of(self, figure: Callable[[str], float | None], wanted: Callable[[Row], bool]) -> list[float]:
        """Return a figure of those wanted rows that have it; `figure` takes the row's name."""
        made = [row.name for row in self.rows if wanted(row) and self.record(row.name)]
        return [value for name in made if (value := figure(name)) is not None]

    def record(self, row: str) -> dict | None:
        return self.records[row].get(self.column.name)

    def over_filter(self, wanted: Callable[[Row], bool]) -> list[float]:
        return self.of(lambda row: over_filter(self.records, row, self.column.name), wanted)

    def over_input(self) -> list[float]:
        return self.of(lambda row: over_input(self.records, row, self.column.name), _at_most_a_quarter)

    def bias(self, part: int) -> list[float]:
        """Return the largest (0) or the mean absolute (1) bias of each scan's regions in %."""
        return self.of(lambda row: 100 * abs(self.record(row)["bias_truth"][part]), _right_mr)

    def hot(self) -> list[float]:
        return self.of(lambda row: self.record(row)["hot"][0], tracers_at(4))

    def false_spots(self) -> list[float]:
        """Return the number of false spots beyond that of the normal dose."""

        def beyond(row: str) -> int:
            return self.record(row)["false_spots"] - self.records[row][NORMAL]["false_spots"]

        return self.of(beyond, lambda _: True)

    def coverage(self) -> list[float]:
        found = self.of(lambda row: self.record(row).get("coverage_truth"), lambda _: True)
        return [100 * value for value in found]


def tracers_at(drf: int) -> Callable[[Row], bool]:
    """Return which rows are a tracer with the reference's settings, but for this dose."""
    return lambda row: row.drf == drf and row.factor in ("reference", "tracer", "dose", "validation")


def _other(row: Row) -> bool:
    return _right_mr(row) and not any(tracers_at(drf)(row) for drf in (4, 10))


def _right_mr(row: Row) -> bool:
    return row.name not in MISLEADING


def _at_most_a_quarter(row: Row) -> bool:
    return _right_mr(row) and row.drf >= REFERENCE.drf


@dataclass(frozen=True)
class Limit:
    """A figure and the range in which it should lie: all its values, or their mean.

    `least` is that of models with MR, and of those without.
    """

    figure: str
    values: Callable[[Results], list[float]]
    shown: str
    least: tuple[float, float] = (-math.inf, -math.inf)
    most: float = math.inf
    mean: bool = False

    def text(self) -> str:
        """Return the range in words."""
        with_mr, without = self.least
        if self.most == math.inf:
            return f"≥ {with_mr:g}" + (f" ({without:g} without MR)" if without != with_mr else "")
        return f"≤ {self.most:g}" if with_mr == -math.inf else f"{with_mr:g} to {self.most:g}"

    def reached(self, results: Results) -> str:
        """Return the mean or the worst value, in bold type where it is out of range."""
        values = self.values(results)
        if not values or not np.isfinite(values).all():
            return NONE
        values = [float(np.mean(values))] if self.mean else values
        least = self.least[0 if results.column.uses_mr else 1]
        ends = [min(values)] * (least > -math.inf) + [max(values)] * (self.most < math.inf)
        text = " to ".join(dict.fromkeys(self.shown.format(end) for end in ends))
        return bold(text, min(values) >= least and max(values) <= self.most)


DB, PERCENT = "{:+.1f}", "{:.1f}"
LIMITS = (
    Limit(
        "tracers at 1/4, mean over the best filter, dB",
        lambda results: results.over_filter(tracers_at(4)),
        DB,
        (2, 1),
        mean=True,
    ),
    Limit(
        "tracers at 1/10, mean over the best filter, dB",
        lambda results: results.over_filter(tracers_at(10)),
        DB,
        (3, 2),
        mean=True,
    ),
    Limit(
        "worst other scan over the best filter, dB", lambda results: results.over_filter(_other), DB, (0, 0)
    ),
    Limit("worst scan at 1/4 and below over the input (normal dose), dB", Results.over_input, DB, (0, 0)),
    Limit("largest bias of a region, %", lambda results: results.bias(0), PERCENT, most=3),
    Limit("mean absolute bias of a scan's regions, %", lambda results: results.bias(1), PERCENT, most=3),
    Limit("recovery of hot spots, tracers at 1/4", Results.hot, "{:.2f}", (0.55, 0.55), mean=True),
    Limit("false spots beyond the normal dose's", Results.false_spots, "{:.0f}", most=0),
    Limit("coverage of the truth by 90 % intervals, %", Results.coverage, "{:.0f}", (85, 85), 95),
)


def limits(rows: list[Row], records: Records, columns: list[Column]) -> str:
    """Return the worst figures of each model and of the normal dose, in bold type what is out of range."""
    models = [Column(NORMAL, lambda *_: None), *(column for column in columns if column.gives_std)]
    results = [Results(rows, records, model) for model in models]
    body = [[limit.figure, limit.text(), *(limit.reached(result) for result in results)] for limit in LIMITS]
    return markdown(["figure", "limit", *(model.name for model in models)], body)

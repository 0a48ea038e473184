"""Paired comparison of one method with the others, by one value for each subject."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from csrd.methods import in_row_order, label_of
from csrd.metrics import METRICS
from csrd.report import paper
from csrd.report.html import Cell, plain_table

AGAINST = "csrd"
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Power:
    """The power of a test with `subjects` pairs, one of `comparisons` that are corrected together."""

    subjects: int
    comparisons: int

    @property
    def smallest_p(self) -> float:
        """Return the least two-sided p of the exact signed-rank test: all differences of one sign."""
        return min(1.0, 2.0 / 2**self.subjects)

    @property
    def smallest_corrected(self) -> float:
        """Return the least p after Holm's correction."""
        return min(1.0, self.comparisons * self.smallest_p)

    @property
    def exists(self) -> bool:
        """Return whether any result could be significant."""
        return self.smallest_corrected < SIGNIFICANT

    def sentence(self) -> str:
        """Return the sentence about the number of subjects and the smallest possible p."""
        people = f"{self.subjects} test subject{'s' * (self.subjects != 1)}"
        limit = f"the smallest p possible is {self.smallest_p:.2g}, {self.smallest_corrected:.2g} corrected"
        if self.exists:
            return f"n = {people}; {limit}"
        return (
            f"n = {people}: the test has no power ({limit}, never below {SIGNIFICANT}); "
            "read the differences, not p"
        )


def subject_means(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return one row per method and subject: its metrics' means over the doses.

    A subject's doses have the same events and the same normal dose; they are not independent.
    """
    return metrics.groupby(["method", "subject"])[_keys(metrics)].mean()


def compare(metrics: pd.DataFrame, methods: Sequence[str], against: str = AGAINST) -> pd.DataFrame:
    """Return ``metric, method, n, difference, better, p, p_holm``: `against` minus every other method.

    `metrics` has a row per subject × drf × method of the test subjects. `difference` is the mean over
    subjects in the metric's unit, `better` the number of subjects on which `against` is better. p is
    Wilcoxon's paired two-sided signed-rank test, exact for few subjects; p_holm is corrected for the
    comparisons within one metric (Holm 1979). NaN where a difference is not finite.
    """
    means, rows = subject_means(metrics), []
    others = [method for method in in_row_order(methods) if method != against]
    for key in _keys(metrics):
        family = []
        for other in others:
            pair = means[key].unstack("method")[[against, other]]
            difference = (pair[against] - pair[other]).to_numpy()
            wins = difference < 0 if METRICS[key].lower_better else difference > 0
            family.append(
                {
                    "metric": key,
                    "method": other,
                    "n": len(difference),
                    "difference": difference.mean(),
                    "better": int(wins.sum()),
                    "p": signed_rank(difference),
                }
            )
        corrected = holm(np.array([row["p"] for row in family]))
        rows += [{**row, "p_holm": p} for row, p in zip(family, corrected, strict=True)]
    columns = ["metric", "method", "n", "difference", "better", "p", "p_holm"]
    return pd.DataFrame(rows, columns=columns)


def signed_rank(differences: np.ndarray) -> float:
    """Return p of Wilcoxon's two-sided signed-rank test of paired differences (n,); 1 where all are 0."""
    from scipy.stats import wilcoxon

    if not np.isfinite(differences).all():
        return float("nan")
    if not differences.any():
        return 1.0
    return float(wilcoxon(differences).pvalue)


def holm(p: np.ndarray) -> np.ndarray:
    """Return p values (k,) after Holm's step-down correction; NaN stays NaN and counts as a comparison.

    >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p)  # NaN last
    steps = (len(p) - np.arange(len(p))) * p[order]
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return corrected


def power(metrics: pd.DataFrame, methods: Sequence[str]) -> Power:
    """Return the power of the test subjects in `metrics`."""
    return Power(metrics["subject"].nunique(), len(methods) - 1)


def _keys(metrics: pd.DataFrame) -> list[str]:
    return [key for key in paper.METRICS if key in metrics]


def statistics_html(table: pd.DataFrame, power: Power, against: str = AGAINST) -> str:
    """Return the table of `compare` as an HTML fragment: a row a method, a column a metric."""
    keys, rows = list(table["metric"].unique()), []
    for method, part in table.groupby("method", sort=False):
        lines = part.set_index("metric")
        rows.append((label_of(method), [_cell(key, lines.loc[key]) for key in keys]))
    note = (
        f"{label_of(against)} minus the method of the row, doses averaged within a subject; bold where "
        f"{label_of(against)} is better on every subject. Below: on how many subjects it is better; p of "
        "Wilcoxon's two-sided signed-rank test over subjects; p after Holm's correction for the comparisons "
        "in a column. " + power.sentence() + "."
    )
    return plain_table(f"{label_of(against)} −", [METRICS[key].label for key in keys], rows, note)


def _cell(key: str, row: pd.Series) -> Cell:
    text = f"{row['difference']:+.{METRICS[key].decimals}f}".replace("-", "−")
    below = f"{row['better']} of {row['n']}; p {row['p']:.2g}, {row['p_holm']:.2g}"
    return Cell(text, below, best=row["better"] == row["n"])

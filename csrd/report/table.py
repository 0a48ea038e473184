"""Table 1: mean ± standard deviation of every metric over the test subjects' images, one row a method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from csrd.errors import InputError
from csrd.imagenet import WEIGHTS
from csrd.methods import in_row_order
from csrd.metrics import METRICS
from csrd.report import paper

PROTOCOLS = {
    "default": "Compared with the normal dose inside the head mask; the data range is the normal dose's "
    "maximum there, and SSIM's windows, textures and perceptual features lie in axial slices",
    "released": "Computed as by the paper's released code: means over whole axial slices, divided by the low "
    "dose's maximum",
}


@dataclass(frozen=True)
class Scope:
    """What tables are of: methods, test subjects and doses, and how their metrics were computed.

    `train_drfs` are the doses that methods were fitted on; `simulated` says that the subjects are virtual;
    `units` overrides what is in brackets in the headers (`units_of`); `protocol` is the metrics'; `target` is
    what images are compared with, the "normal" dose or the "truth"; `scatter` says that it is simulated too.
    """

    methods: Sequence[str]
    subjects: Sequence[str]
    drfs: Sequence[int]
    train_drfs: Sequence[int]
    simulated: bool = False
    units: Mapping[str, str] = field(default_factory=dict)
    protocol: str = "default"
    target: str = "normal"
    scatter: bool = False

    def of(self, metrics: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of the methods, subjects and doses."""
        wanted = {"drf": self.drfs, "subject": self.subjects, "method": self.methods}
        return metrics[metrics[list(wanted)].isin(wanted).all(axis=1)]


def table1(metrics: pd.DataFrame, methods: Sequence[str], subjects: Sequence[str]) -> pd.DataFrame:
    """Return ``method, <metric>_mean, <metric>_std, …, n`` in the paper's row order.

    `metrics` has a row per subject × drf × method; only the (test) `subjects` count. The mean and the sample
    standard deviation (n − 1) run over the n images of a method, subjects and doses together; a value that
    is not finite (the PSNR of a perfect image) makes them so too.
    Raises InputError where a method or a subject has no rows.
    """
    return _summary(_chosen(metrics, methods, subjects), ["method"], methods)


def table1_by_dose(metrics: pd.DataFrame, methods: Sequence[str], subjects: Sequence[str]) -> pd.DataFrame:
    """Return ``drf, method, <metric>_mean, <metric>_std, …, n``: Table 1 for each dose by itself."""
    table = _summary(_chosen(metrics, methods, subjects), ["drf", "method"], methods)
    return table.sort_values("drf", kind="stable", ignore_index=True)


def metrics_in(table: pd.DataFrame) -> list[str]:
    """Return the keys of the metrics a summary holds, in the paper's order."""
    return [key for key in paper.METRICS if f"{key}_mean" in table]


def units_of(in_suv: bool, vgg: str) -> dict[str, str]:
    """Return what stands in brackets in the heads: MAE's unit, and P_dist's network by its name."""
    return {"mae": "SUV" if in_suv else METRICS["mae"].unit, "p_dist": WEIGHTS[vgg].label}


def header(key: str, units: Mapping[str, str]) -> tuple[str, str]:
    """Return a metric's column head, e.g. ``("MAE (kBq/mL)", "↓")``; `units` overrides the registry's."""
    metric = METRICS[key]
    unit = units.get(key, metric.unit)
    return metric.label + (f" ({unit})" if unit else ""), "↓" if metric.lower_better else "↑"


def cells(table: pd.DataFrame) -> pd.DataFrame:
    """Return the printed text ``mean ± std`` of each metric and row, columns named by metric."""
    return pd.DataFrame(
        {
            key: [
                _cell(mean, std, METRICS[key].decimals)
                for mean, std in zip(table[f"{key}_mean"], table[f"{key}_std"], strict=True)
            ]
            for key in metrics_in(table)
        }
    )


def best(table: pd.DataFrame) -> pd.DataFrame:
    """Return which cells of `cells` are printed bold: the best mean of each column, ties as printed."""
    marks = {}
    for key in metrics_in(table):
        printed = table[f"{key}_mean"].round(METRICS[key].decimals)
        marks[key] = printed == (printed.min() if METRICS[key].lower_better else printed.max())
    return pd.DataFrame(marks)


def caption(scope: Scope, by_dose: bool = False) -> str:
    """Return what must be known to read the numbers: who, which doses, compared with what, limits."""
    sentences = [_averaged(scope, by_dose)]
    if unseen := [f"{drf}" for drf in sorted(scope.drfs) if drf not in scope.train_drfs]:
        sentences.append(f"No method saw an image at {listed(unseen)} × while it was fitted or chosen")
    sentences += _compared(scope)
    if scope.simulated and not scope.scatter:
        sentences.append("Scatter is not simulated")
    return ". ".join([*sentences, "Bold: best mean"]) + "."


def _averaged(scope: Scope, by_dose: bool) -> str:
    """Return what the means are over."""
    count, doses = len(scope.subjects), listed([f"{drf}" for drf in sorted(scope.drfs)])
    people = f"{count} {'virtual ' if scope.simulated else ''}test subject{'s' * (count != 1)}"
    images = f" at {doses} × reduced dose (n = {count * len(scope.drfs)} images a method)"
    return f"Mean ± standard deviation over {people}{'' if by_dose else images}"


def _compared(scope: Scope) -> list[str]:
    """Return what images are compared with."""
    text = PROTOCOLS[scope.protocol]
    if scope.target == "normal":
        return [text]
    return [
        text.replace("normal dose", "noise-free truth"),
        "The truth has the grid and the resolution of the normal dose",
    ]


def _chosen(metrics: pd.DataFrame, methods: Sequence[str], subjects: Sequence[str]) -> pd.DataFrame:
    chosen = metrics[metrics["method"].isin(methods) & metrics["subject"].isin(subjects)]
    for column, wanted in (("method", methods), ("subject", subjects)):
        if missing := sorted(set(wanted) - set(chosen[column])):
            raise InputError(
                f"the metrics have no row of {column} {missing[0]}; evaluate it, or leave it out"
            )
    return chosen


def _summary(rows: pd.DataFrame, by: list[str], methods: Sequence[str]) -> pd.DataFrame:
    columns = {}
    groups = rows.groupby(by, sort=True)
    for key in paper.METRICS:
        if key in rows:
            columns[f"{key}_mean"] = groups[key].mean()
            columns[f"{key}_std"] = groups[key].std(ddof=1)
    table = pd.DataFrame({**columns, "n": groups.size()}).reset_index()
    rank = {method: i for i, method in enumerate(in_row_order(methods))}
    return table.sort_values("method", key=lambda method: method.map(rank), kind="stable", ignore_index=True)


def _cell(mean: float, std: float, decimals: int) -> str:
    if np.isinf(mean):
        return "∞" if mean > 0 else "−∞"
    text = f"{mean:.{decimals}f}".replace("-", "−")
    return text if np.isnan(std) else f"{text} ± {std:.{decimals}f}"


def listed(words: list[str]) -> str:
    """Return words as ``a, b and c``."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]

"""Table 1: mean ± standard deviation of every metric over the test subjects' images, one row a method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from csrd.errors import InputError
from csrd.imagenet import WEIGHTS
from csrd.methods import in_row_order, is_control
from csrd.metrics import METRICS
from csrd.report import paper

PROTOCOLS = {
    "default": "Compared with the normal dose inside the head mask; the data range is the normal dose's "
    "maximum there, and SSIM's windows, textures and perceptual features lie in axial slices",
    "released": "Computed as by the paper's released code: means over whole axial slices, divided by the low "
    "dose's maximum",
}


EXPLAINED = {
    "truth": "Truth: without noise, at the normal dose's resolution",
    "oracle": "Oracle: the best blend of that truth and the low dose",
    "painted": "Painted: the training subjects' mean uptake of each region in its true place",
    "mronly": "MR alone: CSR-D's network with the head's mean in place of the PET",
}
FURTHER = [
    "Oracle's gain: the part of its gain in PSNR over the low dose that a method has",
    "Hot spots: what is left of the contrast of hot spots of 4 to 7 mm radius, ± standard error",
    "False spots: hot spots of that size in an image that the truth does not have",
]
NOTHING = "–"


@dataclass(frozen=True)
class Scope:
    """The scope of tables: methods, test subjects and doses, and how their metrics were computed.

    `train_drfs` are the doses that methods were fitted on; `simulated` marks virtual subjects; `units`
    overrides the units in the headers (`units_of`); `protocol` is the metrics'; `target` is the reference,
    the "normal" dose or the "truth". `controls` are the control rows; `scatter` marks virtual scans with
    scatter.
    """

    methods: Sequence[str]
    subjects: Sequence[str]
    drfs: Sequence[int]
    train_drfs: Sequence[int]
    simulated: bool = False
    units: Mapping[str, str] = field(default_factory=dict)
    protocol: str = "default"
    target: str = "normal"
    controls: Sequence[str] = ()
    scatter: bool = False

    def of(self, metrics: pd.DataFrame, controls: bool = False) -> pd.DataFrame:
        """Return the rows of the methods, subjects and doses, on request with the control rows."""
        methods = [*self.methods, *(self.controls if controls else ())]
        wanted = {"drf": self.drfs, "subject": self.subjects, "method": methods}
        return metrics[metrics[list(wanted)].isin(wanted).all(axis=1)]


def table1(
    metrics: pd.DataFrame, methods: Sequence[str], subjects: Sequence[str], by: Sequence[str] = ()
) -> pd.DataFrame:
    """Return ``method, <metric>_mean, <metric>_std, …, n`` in the paper's row order, control rows last.

    `metrics` has a row per subject × drf × method; only the (test) `subjects` count. The mean and the sample
    standard deviation (n − 1) run over the n images of a method, subjects and doses together; a value that
    is not finite (the PSNR of a perfect image) makes both not finite. With the oracle among the `methods`
    there is a column ``oracle_share``: the gain in PSNR over the low dose, over the oracle's gain.
    Raises InputError where a method or a subject has no rows.
    """
    return _summary(_chosen(metrics, methods, subjects), [*by, "method"], methods)


def table1_by_dose(metrics: pd.DataFrame, methods: Sequence[str], subjects: Sequence[str]) -> pd.DataFrame:
    """Return ``drf, method, <metric>_mean, <metric>_std, …, n``: Table 1 for each dose by itself."""
    table = table1(metrics, methods, subjects, by=["drf"])
    return table.sort_values("drf", kind="stable", ignore_index=True)


def whole_table(metrics: pd.DataFrame, scope: Scope) -> pd.DataFrame:
    """Return `table1` of a scope, with its control rows."""
    return table1(scope.of(metrics, controls=True), [*scope.methods, *scope.controls], scope.subjects)


def table_by_dose(metrics: pd.DataFrame, scope: Scope) -> pd.DataFrame:
    """Return `table1_by_dose` of a scope, with its control rows."""
    rows = scope.of(metrics, controls=True)
    return table1_by_dose(rows, [*scope.methods, *scope.controls], scope.subjects)


def metrics_in(table: pd.DataFrame) -> list[str]:
    """Return the keys of the metrics a summary holds, in the paper's order."""
    return [key for key in paper.METRICS if f"{key}_mean" in table]


def units_of(in_suv: bool, vgg: str) -> dict[str, str]:
    """Return the text in brackets in the headers: MAE's unit, and the name of P_dist's network."""
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
    """Return the cells that are printed bold: the best mean of each column, with ties as printed.

    A control row has none.
    """
    marks, compared = {}, ~table["method"].map(is_control)
    for key in metrics_in(table):
        printed = table[f"{key}_mean"].round(METRICS[key].decimals)
        means = printed[compared]
        marks[key] = compared & (printed == (means.min() if METRICS[key].lower_better else means.max()))
    return pd.DataFrame(marks)


def without_controls(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the methods alone."""
    return table[~table["method"].map(is_control)].reset_index(drop=True)


def further(table: pd.DataFrame) -> pd.DataFrame:
    """Return the printed text of the columns beside the metrics, by their heads."""
    columns = {}
    if "oracle_share" in table:
        columns["Oracle's gain ↑"] = [_percent(share) for share in table["oracle_share"]]
    if "hot_recovery" in table:
        pairs = zip(table["hot_recovery"], table["hot_recovery_error"], strict=True)
        columns["Hot spots →1"] = [_cell(mean, error, 2) for mean, error in pairs]
    if "false_spots" in table:
        columns["False spots ↓"] = [_cell(count, np.nan, 1) for count in table["false_spots"]]
    return pd.DataFrame(columns, index=table.index)


def _percent(share: float) -> str:
    return NOTHING if np.isnan(share) else f"{round(100 * share)} %".replace("-", "−")


def caption(scope: Scope, by_dose: bool = False) -> str:
    """Return the caption: subjects, doses, reference, and limits."""
    sentences = [_averaged(scope, by_dose)]
    if unseen := [f"{drf}" for drf in sorted(scope.drfs) if drf not in scope.train_drfs]:
        sentences.append(f"No method saw an image at {listed(unseen)} × while it was fitted or chosen")
    sentences += _compared(scope)
    if scope.simulated and not scope.scatter:
        sentences.append("Scatter is not simulated")
    return ". ".join([*sentences, "Bold: best mean", *_controlled(scope)]) + "."


def _controlled(scope: Scope) -> list[str]:
    """Return the sentences about the control rows and the columns beside the metrics."""
    told = [text for key, text in EXPLAINED.items() if key in scope.controls]
    if not told:
        return []
    if scope.target == "normal":
        told += FURTHER
    return ["The lower rows are controls, not methods", *told]


def _averaged(scope: Scope, by_dose: bool) -> str:
    """Return the sentence about the subjects and images of the means."""
    count, doses = len(scope.subjects), listed([f"{drf}" for drf in sorted(scope.drfs)])
    people = f"{count} {'virtual ' if scope.simulated else ''}test subject{'s' * (count != 1)}"
    images = f" at {doses} × reduced dose (n = {count * len(scope.drfs)} images a method)"
    return f"Mean ± standard deviation over {people}{'' if by_dose else images}"


def _compared(scope: Scope) -> list[str]:
    """Return the sentences about the reference."""
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
    table = pd.DataFrame({**columns, "n": groups.size()})
    if "psnr_mean" in table and {"lowdose", "oracle"} <= set(methods):
        table.insert(len(columns), "oracle_share", _oracle_share(table["psnr_mean"]))
    table = table.reset_index()
    rank = {method: i for i, method in enumerate(in_row_order(methods))}
    return table.sort_values("method", key=lambda method: method.map(rank), kind="stable", ignore_index=True)


def _oracle_share(psnr: pd.Series) -> pd.Series:
    """Return the gain over the low dose, over the oracle's gain; `psnr` is by (dose and) method."""
    by_method = psnr.unstack("method") if psnr.index.nlevels > 1 else psnr.to_frame().T
    gains = by_method.sub(by_method["lowdose"], axis=0)
    shares = gains.div(gains["oracle"], axis=0)
    return shares.stack() if psnr.index.nlevels > 1 else shares.iloc[0]


def _cell(mean: float, std: float, decimals: int) -> str:
    if np.isnan(mean):
        return NOTHING
    if np.isinf(mean):
        return "∞" if mean > 0 else "−∞"
    text = f"{mean:.{decimals}f}".replace("-", "−")
    return text if np.isnan(std) else f"{text} ± {std:.{decimals}f}"


def listed(words: list[str]) -> str:
    """Return words as ``a, b and c``."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]

"""Summary of the tables in sentences: the best methods, and the weaknesses."""

from collections.abc import Iterable

import pandas as pd

from csrd.methods import in_row_order, label_of
from csrd.metrics import METRICS
from csrd.report.statistics import AGAINST, Power
from csrd.report.table import best, listed, metrics_in

TOLERANCE = 0.03  # difference up to which a coverage counts as equal to its level
LEVEL = 0.9
WITHOUT_PET = ("painted", "mronly")


def summary(
    table: pd.DataFrame,
    by_dose: pd.DataFrame,
    train_drfs: Iterable[int],
    coverage: pd.DataFrame | None = None,
    power: Power | None = None,
) -> list[str]:
    """Return sentences on `table1`, the unseen doses of `table1_by_dose`, and merged `coverage` rows.

    `power` is that of the statistical test, and is mentioned where no difference could be significant.
    """
    sentences = [f"Over all doses, {winners(table)}.", *losses(table), *worse_than_nothing(table)]
    for drf, part in by_dose.groupby("drf"):
        if drf not in train_drfs:
            part = part.reset_index(drop=True)
            unseen = f"At 1/{drf} of the dose, of which no method had seen an image"
            sentences.append(f"{unseen}, {winners(part)}.")
    if power is not None and not power.exists:
        one = power.subjects == 1
        few = "1 test subject is" if one else f"{power.subjects} test subjects are"
        sentences.append(f"{few} too few for any difference to be significant.")
    if coverage is not None:
        sentences += calibration(coverage)
    return sentences


def controlled(table: pd.DataFrame, truth: pd.DataFrame | None = None) -> list[str]:
    """Return what the control rows say of the benchmark and of CSR-D; [] without them.

    `table` is Table 1, and `truth` its split by dose against the truth, both with their control rows.
    """
    rows, told = table.set_index("method"), []
    if "oracle_share" in table and AGAINST in rows.index:
        share = rows.loc[AGAINST, "oracle_share"]
        told.append(f"{label_of(AGAINST)} has {share:.0%} of the oracle's gain in PSNR over the low dose.")
    if truth is None or AGAINST not in rows.index:
        return told
    psnr = truth.pivot(index="drf", columns="method", values="psnr_mean")
    for key in [key for key in WITHOUT_PET if key in psnr]:
        ahead = psnr[AGAINST] - psnr[key]
        margins = [f"{margin:+.1f} dB at 1/{drf}" for drf, margin in ahead.iloc[[0, -1]].items()]
        told.append(
            f"Against the truth, {label_of(AGAINST)} minus {label_of(key)}, a control that does not look at "
            f"the PET: {listed(list(dict.fromkeys(margins)))} of the dose.".replace("-", "−")
        )
    return told


def winners(table: pd.DataFrame) -> str:
    """Return the methods with the best mean of each metric, as ``TV has the best MAE; U-net the PSNR``."""
    marks = best(table)
    won: dict[str, list[str]] = {}
    for key in metrics_in(table):
        names = [label_of(method) for method in table.loc[marks[key], "method"]]
        won.setdefault(listed(names), []).append(METRICS[key].label)
    (first, metrics), *others = won.items()
    verb = "share" if " and " in first else "has"
    parts = [f"{first} {verb} the best mean {listed(metrics)}"]
    return "; ".join(parts + [f"{names} the best {listed(metrics)}" for names, metrics in others])


def losses(table: pd.DataFrame) -> list[str]:
    """Return the metrics in which CSR-D is not the best, with the values."""
    rows, marks = table.set_index("method"), best(table).set_index(table["method"])
    if AGAINST not in rows.index or len(rows) == 1:
        return []
    lost = []
    for key in metrics_in(table):
        if not marks.loc[AGAINST, key]:
            winner = marks.index[marks[key]][0]
            own, other = (_number(rows, method, key) for method in (AGAINST, winner))
            lost.append(f"{label_of(winner)} in {METRICS[key].label} ({own} against {other})")
    name = label_of(AGAINST)
    return [f"{name} loses to {listed(lost)}."] if lost else [f"{name} loses in no metric."]


def worse_than_nothing(table: pd.DataFrame) -> list[str]:
    """Return the methods and metrics that are worse than the low dose as reconstructed."""
    rows, worse = table.set_index("method"), []
    if "lowdose" not in rows.index:
        return []
    for method in rows.index.drop("lowdose"):
        keys = []
        for key in metrics_in(table):
            gain = rows.loc[method, f"{key}_mean"] - rows.loc["lowdose", f"{key}_mean"]
            if gain > 0 if METRICS[key].lower_better else gain < 0:
                keys.append(METRICS[key].label)
        if keys:
            worse.append(f"{label_of(method)} in {listed(keys)}")
    return [f"Worse than the low dose as it is: {'; '.join(worse)}."] if worse else []


def calibration(coverage: pd.DataFrame) -> list[str]:
    """Return the coverage of each method's 90 % interval, with a conclusion."""
    rows = coverage[(coverage["level"] == LEVEL) & (coverage["target"] == "normal")]
    sentences = []
    for method in in_row_order(list(rows["method"].unique())):
        fraction = rows.loc[rows["method"] == method, "coverage"].mean()
        verdict = "as it should"
        if abs(fraction - LEVEL) > TOLERANCE:
            verdict = f"so its standard deviation is too {'small' if fraction < LEVEL else 'large'}"
        sentences.append(
            f"The {LEVEL:.0%} interval of {label_of(method)} holds the normal dose in {fraction:.0%} of the "
            f"head's voxels, {verdict}."
        )
    return sentences


def _number(rows: pd.DataFrame, method: str, key: str) -> str:
    return f"{rows.loc[method, f'{key}_mean']:.{METRICS[key].decimals}f}"

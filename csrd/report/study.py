"""Several runs as one study: their pooled metrics, and checks of the paper's claims on CSR-D."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from csrd.errors import InputError
from csrd.methods import label_of
from csrd.metrics import METRICS
from csrd.report.html import Cell, plain_table
from csrd.report.statistics import AGAINST
from csrd.report.table import listed

EVERYWHERE = {"lowdose": ("mae", "psnr", "ssim"), "tv": ("mae", "psnr", "ssim")}
"""Methods and metrics in which CSR-D must be better in each run, at every dose and on every test subject."""
ON_AVERAGE = {
    "csrdnomr": ("mae", "psnr", "ssim"),
    "unet": ("psnr", "ssim", "h_dist", "p_dist", "mae"),
    "restormer": ("psnr", "ssim", "h_dist", "p_dist", "mae"),
}
"""Methods and metrics in which CSR-D must be better in the mean over runs, test subjects and doses."""
NOT_BEHIND = {"unet3d": {"psnr": 0.1}}
"""Methods and metrics in which CSR-D must not be behind in that mean by more than this."""
PASSED, FAILED, NOT_RUN = "passed", "failed", "not run"


def pooled(parts: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the metrics of runs as one table, subjects named ``<run>/<subject>``, and a column ``run``.

    `parts` are the runs' metrics by the runs' names. Raises InputError where their methods or doses differ.
    """
    for column in ("method", "drf"):
        found = {name: frozenset(table[column]) for name, table in parts.items()}
        if odd := [name for name in found if found[name] != next(iter(found.values()))]:
            raise InputError(
                f"{odd[0]} has other values of {column} than {next(iter(found))}; give both one configuration"
            )
    rows = pd.concat(parts, names=["run"]).reset_index("run").reset_index(drop=True)
    return rows.assign(subject=rows["run"] + "/" + rows["subject"])


def checks(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return ``claim, run, verdict, detail``: a row per claim, and per run where each run is checked.

    `metrics` is `pooled`. The detail is CSR-D's smallest advantage with subject and dose, or the two means.
    Raises InputError where CSR-D is not among the methods.
    """
    if AGAINST not in set(metrics["method"]):
        raise InputError(
            f"the runs have no method {AGAINST}; add it to `methods` of the configuration and run again"
        )
    rows = [*_everywhere(metrics), *_on_average(metrics), *_not_behind(metrics)]
    return pd.DataFrame(rows, columns=["claim", "run", "verdict", "detail"])


def advantage(metrics: pd.DataFrame, key: str, other: str) -> pd.Series:
    """Return the advantage of CSR-D over another method at each (subject, drf), negative if it is worse."""
    values = metrics.pivot(index=["subject", "drf"], columns="method", values=key)
    gain = values[AGAINST] - values[other]
    return -gain if METRICS[key].lower_better else gain


def _everywhere(metrics: pd.DataFrame) -> Iterator[tuple[str, str, str, str]]:
    for other, keys in EVERYWHERE.items():
        for key in keys:
            claim = f"{_beats(other, key)} at every dose on every test subject"
            for run, part in metrics.groupby("run"):
                if not _measured(part, other, key):
                    yield claim, run, NOT_RUN, ""
                    continue
                gain = advantage(part, key, other)
                subject, drf = gain.idxmin()
                verdict = PASSED if (gain > 0).all() else FAILED
                won = f"{(gain > 0).sum()} of {len(gain)}"
                yield claim, run, verdict, f"{won}; least advantage {gain.min():+.3g} ({subject}, 1/{drf})"


def _on_average(metrics: pd.DataFrame) -> Iterator[tuple[str, str, str, str]]:
    for other, keys in ON_AVERAGE.items():
        for key in keys:
            claim = f"{_beats(other, key)} on average"
            if not _measured(metrics, other, key):
                yield claim, "all", NOT_RUN, ""
                continue
            verdict = PASSED if advantage(metrics, key, other).mean() > 0 else FAILED
            behind = [
                f"{run} ({_means(part, key, other)})"
                for run, part in metrics.groupby("run")
                if advantage(part, key, other).mean() <= 0
            ]
            detail = _means(metrics, key, other) + (f"; behind in {listed(behind)}" if behind else "")
            yield claim, "all", verdict, detail


def _not_behind(metrics: pd.DataFrame) -> Iterator[tuple[str, str, str, str]]:
    for other, limits in NOT_BEHIND.items():
        for key, limit in limits.items():
            names = f"{label_of(AGAINST)} is at most {limit:g} behind {label_of(other)}"
            claim = f"{names} in {METRICS[key].label} on average"
            if not _measured(metrics, other, key):
                yield claim, "all", NOT_RUN, ""
                continue
            verdict = PASSED if advantage(metrics, key, other).mean() >= -limit else FAILED
            yield claim, "all", verdict, _means(metrics, key, other)


def _means(metrics: pd.DataFrame, key: str, other: str) -> str:
    own, theirs = (metrics.loc[metrics["method"] == m, key].mean() for m in (AGAINST, other))
    return f"{own:.4g} against {theirs:.4g}"


def _beats(other: str, key: str) -> str:
    return f"{label_of(AGAINST)} beats {label_of(other)} in {METRICS[key].label}"


def _measured(metrics: pd.DataFrame, method: str, key: str) -> bool:
    return key in metrics and method in set(metrics["method"])


def checks_html(table: pd.DataFrame) -> str:
    """Return the table of `checks` as an HTML fragment."""
    rows = [
        (row.claim, [Cell(row.run), Cell(row.verdict, best=row.verdict == FAILED), Cell(row.detail)])
        for row in table.itertuples()
    ]
    count = table["verdict"].value_counts()
    note = ", ".join(f"{count.get(verdict, 0)} {verdict}" for verdict in (PASSED, FAILED, NOT_RUN)) + "."
    return plain_table("Claim", ["Run", "Verdict", "Detail"], rows, note)


def sentences(verdicts: pd.DataFrame, folder: Path) -> list[str]:
    """Return the command line's output for `checks`: those that did not run or failed, and the count."""
    lines = []
    for verdict in (NOT_RUN, FAILED):
        for row in verdicts[verdicts["verdict"] == verdict].itertuples():
            lines.append(f"{verdict}: {row.claim} ({row.run})" + (f": {row.detail}" if row.detail else ""))
    passed = (verdicts["verdict"] == PASSED).sum()
    return [*lines, f"{passed} of {len(verdicts)} checks passed; see {folder}"]

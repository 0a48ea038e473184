"""Several runs that differ in their seed as one study."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from csrd import cohort
from csrd.config import Config
from csrd.errors import InputError
from csrd.io.files import write_text
from csrd.io.tables import read_csv, write_csv
from csrd.report import curves
from csrd.report.html import page
from csrd.report.study import checks, checks_html, pooled
from csrd.report.table import Scope, units_of
from csrd.report.writers import statistics_tables, tables


def study(folders: Sequence[str | Path], out_dir: str | Path, settings: Config) -> pd.DataFrame:
    """Write the study of the runs into `out_dir`; return its `checks`.

    ``metrics.csv``, ``tables/table1*``, ``tables/statistics.{csv,html}``, ``tables/checks.{csv,html}`` and
    ``figures/dose_quality.png``. `settings` is the configuration that the runs share but for seed and folder.
    """
    out, rows = Path(out_dir), pooled(metrics_of(folders))
    verdicts, scope = checks(rows), _scope(rows, settings)
    write_csv(rows.drop(columns="run"), out / "metrics.csv")
    metrics = read_csv(out / "metrics.csv")  # rounded: the tables are those of the file
    tables(metrics, scope, out / "tables")
    statistics_tables(metrics, scope.methods, out / "tables")
    curves.dose_quality(out / "figures" / "dose_quality.png", metrics, scope)
    write_csv(verdicts, out / "tables" / "checks.csv")
    write_text(out / "tables" / "checks.html", page("Checks", checks_html(verdicts)))
    return verdicts


def metrics_of(folders: Sequence[str | Path]) -> dict[str, pd.DataFrame]:
    """Return the metrics of runs by the names of their results folders.

    Raises InputError where a run has no metrics, or two runs have one name.
    """
    parts: dict[str, pd.DataFrame] = {}
    for folder in map(Path, folders):
        if folder.name in parts:
            raise InputError(f"two runs are named {folder.name}; give each results folder once")
        parts[folder.name] = read_csv(folder / "metrics" / "metrics.csv")
    return parts


def _scope(rows: pd.DataFrame, settings: Config) -> Scope:
    """Return what the tables of the pooled rows are of."""
    return Scope(
        list(rows["method"].unique()),
        sorted(rows["subject"].unique()),
        sorted(map(int, rows["drf"].unique())),
        list(settings.train_drfs),
        settings.cohort.virtual,
        units_of(cohort.in_suv(cohort.subjects(settings)), settings.metrics.vgg),
        settings.metrics.protocol,
        scatter=settings.acquisition.scatter,
    )

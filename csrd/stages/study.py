"""Several runs that differ in their seed as one study."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from csrd import cohort
from csrd.config import Config
from csrd.errors import InputError
from csrd.io.files import write_text
from csrd.io.tables import read_csv, write_csv
from csrd.methods import is_control
from csrd.report import curves
from csrd.report.html import page
from csrd.report.study import checks, checks_html, pooled
from csrd.report.table import Scope, units_of
from csrd.report.writers import lesions_tables, statistics_tables, tables


def study(folders: Sequence[str | Path], out_dir: str | Path, settings: Config) -> pd.DataFrame:
    """Write the study of the runs into `out_dir`; return its `checks`.

    ``metrics.csv``, ``tables/table1*``, ``tables/statistics.{csv,html}``, ``tables/checks.{csv,html}``, of a
    virtual cohort ``tables/lesions.{csv,html}`` and ``tables/false_spots.csv``, and
    ``figures/dose_quality.png``. `settings` is the configuration of the runs, which differ only in seed and
    folder.
    """
    out, rows = Path(out_dir), pooled(tables_of(folders, "metrics"))
    verdicts, scope = checks(rows), _scope(rows, settings)
    write_csv(rows.drop(columns="run"), out / "metrics.csv")
    metrics = read_csv(out / "metrics.csv")  # rounded: the tables are those of the file
    recovery, false = None, None
    if settings.cohort.virtual:
        recovery, false = (pooled(tables_of(folders, name)) for name in ("lesions", "false_spots"))
        lesions_tables(recovery, false, out / "tables")
    tables(metrics, scope, out / "tables", recovery, false)
    statistics_tables(scope.of(metrics), scope.methods, out / "tables")
    curves.dose_quality(out / "figures" / "dose_quality.png", metrics, scope)
    write_csv(verdicts, out / "tables" / "checks.csv")
    write_text(out / "tables" / "checks.html", page("Checks", checks_html(verdicts)))
    return verdicts


def tables_of(folders: Sequence[str | Path], name: str) -> dict[str, pd.DataFrame]:
    """Return a merged table of runs, such as "metrics", by the names of their results folders.

    Raises InputError where a run does not have it, or two runs have one name.
    """
    parts: dict[str, pd.DataFrame] = {}
    for folder in map(Path, folders):
        if folder.name in parts:
            raise InputError(f"two runs are named {folder.name}; give each results folder once")
        parts[folder.name] = read_csv(folder / "metrics" / f"{name}.csv")
    return parts


def _scope(rows: pd.DataFrame, settings: Config) -> Scope:
    """Return the scope of the tables of pooled rows."""
    found = list(rows["method"].unique())
    return Scope(
        [key for key in found if not is_control(key)],
        sorted(rows["subject"].unique()),
        sorted(map(int, rows["drf"].unique())),
        list(settings.train_drfs),
        settings.cohort.virtual,
        units_of(cohort.in_suv(cohort.subjects(settings)), settings.metrics.vgg),
        settings.metrics.protocol,
        controls=[key for key in found if is_control(key)],
        scatter=settings.acquisition.scatter,
    )

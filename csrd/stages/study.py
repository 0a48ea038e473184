"""Several runs that differ in their seed as one study.

`python -m csrd.stages.study FOLDER…` takes their results folders. It exits with 1 where a check fails.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import yaml

from csrd import cohort
from csrd.config import Config, load
from csrd.errors import InputError, plain_errors
from csrd.io.files import write_text
from csrd.io.tables import read_csv, write_csv
from csrd.report import curves
from csrd.report.html import page
from csrd.report.study import FAILED, NOT_RUN, PASSED, checks, checks_html, pooled
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
    )


def main(arguments: list[str] | None = None) -> int:
    """Write the study that the command line names, print what failed; return 1 where something did."""
    parser = argparse.ArgumentParser(prog="python -m csrd.stages.study", description=__doc__.split("\n")[0])
    parser.add_argument("folders", nargs="+", metavar="FOLDER", type=Path, help="results folder of one run")
    parser.add_argument("--config", type=Path, default=Path("config/config.yaml"), help="what the runs share")
    parser.add_argument("--out", type=Path, help="default: the folder that the first run lies in")
    options = parser.parse_args(arguments)
    try:
        values = yaml.safe_load(options.config.read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise InputError(
            f"{options.config} is no readable configuration ({error}); name another by --config"
        ) from None
    out = options.out or options.folders[0].resolve().parent
    verdicts = study(options.folders, out, load(values))
    for verdict in (NOT_RUN, FAILED):
        for row in verdicts[verdicts["verdict"] == verdict].itertuples():
            print(f"{verdict}: {row.claim} ({row.run})" + (f": {row.detail}" if row.detail else ""))
    count = verdicts["verdict"].value_counts()
    print(f"{count.get(PASSED, 0)} of {len(verdicts)} checks passed; see {out / 'tables'}")
    return int(FAILED in count)


if __name__ == "__main__":
    with plain_errors():
        code = main()
    sys.exit(code)

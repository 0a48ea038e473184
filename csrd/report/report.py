"""The page of a report: results in sentences, tables, figures and checks, the settings and versions."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import pandas as pd

from csrd.config import Config
from csrd.methods import CONTROLS_OF_TRUTH, is_control, methods
from csrd.metrics import PROTOCOLS
from csrd.report.coverage import coverage_html, coverage_table
from csrd.report.html import fragment, page, picture
from csrd.report.lesions import lesions_html, sentences, with_lesions
from csrd.report.numbers import numbers
from csrd.report.regions import regions_html, regions_table
from csrd.report.run import versions
from csrd.report.statistics import AGAINST, compare, power, statistics_html
from csrd.report.summary import controlled, summary
from csrd.report.table import Scope, caption, table_by_dose, whole_table, without_controls
from csrd.report.times import times, times_html
from csrd.report.vendor import vendor_html
from csrd.report.writers import html_table, paper_table


@dataclass(frozen=True)
class Pictures:
    """The page's PNGs: by test subject, by subject, and those of the whole study, where there are any."""

    comparison: dict[str, str | Path]
    errors: dict[str, str | Path] = field(default_factory=dict)
    std: dict[str, str | Path] = field(default_factory=dict)
    registration: dict[str, str | Path] = field(default_factory=dict)
    dose_quality: str | Path | None = None
    training: str | Path | None = None
    reliability: str | Path | None = None
    agreement: str | Path | None = None
    vendor: str | Path | None = None

    @classmethod
    def of(cls, shown: Iterable[tuple[str, str | None]], files: Iterable[str | Path]) -> Self:
        """Return the pictures in `files`: for each a kind, which is a field, and a subject or None."""
        found: dict[str, Any] = {"comparison": {}}
        for (kind, subject), file in zip(shown, files, strict=True):
            if subject is None:
                found[kind] = file
            else:
                found.setdefault(kind, {})[subject] = file
        return cls(**found)

    def embedded(self) -> dict:
        """Return the same with each file as the address of an `img`."""
        return {key: _embedded(value) for key, value in vars(self).items()}


@dataclass(frozen=True)
class Results:
    """A run's tables: its `metrics`, and where there are any, other merged measurements.

    `coverage` of predicted intervals, `truth` the metrics against the noise-free truth, `regions` the uptake
    by region, `lesions` the recovery of spots and `false` the number of false ones, `jobs` the benchmarks;
    `missing` are the keys that sidecars of the normal doses lack, `scans` the addresses of single scans'
    pages by subject.
    """

    metrics: pd.DataFrame
    coverage: pd.DataFrame | None = None
    truth: pd.DataFrame | None = None
    regions: pd.DataFrame | None = None
    lesions: pd.DataFrame | None = None
    false: pd.DataFrame | None = None
    jobs: pd.DataFrame | None = None
    vendor: pd.DataFrame | None = None
    corrections: Sequence[str] = ()
    missing: Sequence[str] = ()
    scans: Mapping[str, str] = field(default_factory=dict)


def report(
    results: Results, pictures: Pictures, settings: Config, scope: Scope, run: Mapping | None = None
) -> str:
    """Return the page, which needs no other file.

    Tables are of the `scope`; `run` is the content of ``run.json``. The `settings` of
    methods that are not in use are not listed.
    """
    rows, keys = scope.of(results.metrics), set(scope.methods)
    body = fragment(
        "report.html",
        title=settings.report.title,
        simulated=scope.simulated,
        scatter=scope.scatter,
        **_tables(results, rows, scope),
        paper_table=paper_table(),
        metrics=[metric for key, metric in PROTOCOLS[scope.protocol].items() if key in rows],
        pictures=pictures.embedded(),
        drf=max(scope.drfs),
        settings=list(flat(settings.model_dump(mode="json", exclude=set(methods()) - keys))),
        versions=versions(),
        run=run,
        missing=list(results.missing),
        scans=results.scans,
        corrections=list(results.corrections),
    )
    return page(settings.report.title, body)


def _tables(results: Results, rows: pd.DataFrame, scope: Scope) -> dict:
    """Return the page's summary and its tables as HTML fragments, by their names in the template."""
    merged, by_dose = whole_table(results.metrics, scope), table_by_dose(results.metrics, scope)
    compared = AGAINST in scope.methods and len(scope.methods) > 1
    strength = power(rows, scope.methods) if compared else None
    note_by_dose = caption(scope, by_dose=True)
    of_methods = without_controls(merged), without_controls(by_dose)
    told = summary(*of_methods, scope.train_drfs, results.coverage, strength)
    told += controlled(merged, _by_dose_of_truth(results.truth, scope))
    of_lesions = ""
    if results.lesions is not None and results.false is not None:
        told += sentences(results.lesions, results.false)
        of_lesions = lesions_html(results.lesions, results.false)
        merged, by_dose = (with_lesions(t, results.lesions, results.false) for t in (merged, by_dose))
    return {
        "numbers": numbers(of_methods[0], results.lesions, results.regions),
        "summary": told,
        "table": html_table(merged, caption(scope), scope.units),
        "lesions": of_lesions,
        "by_dose": html_table(by_dose, note_by_dose, scope.units, scope.train_drfs),
        "statistics": "" if strength is None else statistics_html(compare(rows, scope.methods), strength),
        "truth": _where(results.truth, lambda truth: _against_truth(truth, scope)),
        "coverage": _where(results.coverage, lambda found: coverage_html(coverage_table(found))),
        "regions": _where(results.regions, lambda found: regions_html(regions_table(found))),
        "vendor": _where(results.vendor, vendor_html),
        "times": _where(results.jobs, lambda jobs: times_html(times(jobs))),
    }


def _where(rows: pd.DataFrame | None, html: Callable[[pd.DataFrame], str]) -> str:
    """Return the HTML of the rows, "" where there are none."""
    return "" if rows is None else html(rows)


def _against_truth(rows: pd.DataFrame, scope: Scope) -> str:
    """Return Table 1 against the noise-free truth as an HTML fragment."""
    scope = _scope_of_truth(rows, scope)
    return html_table(whole_table(rows, scope), caption(scope), scope.units)


def _by_dose_of_truth(rows: pd.DataFrame | None, scope: Scope) -> pd.DataFrame | None:
    """Return the split by dose against the noise-free truth, None without it."""
    return None if rows is None else table_by_dose(rows, _scope_of_truth(rows, scope))


def _scope_of_truth(rows: pd.DataFrame, scope: Scope) -> Scope:
    """Return the scope of the table against the truth, with the control rows that its metrics have."""
    there = dict.fromkeys(rows["method"])
    controls = [key for key in there if key in CONTROLS_OF_TRUTH or (key in methods() and is_control(key))]
    return replace(scope, target="truth", controls=controls)


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

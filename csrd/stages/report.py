"""Tables and figures of a report, the record of the run, and the page with all of them."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from csrd.config import load
from csrd.io.bids import missing_keys, subject_of
from csrd.io.files import checksums, read_json, sha256, write_json, write_text
from csrd.io.tables import read_benchmarks, read_csv, read_history
from csrd.io.volume import Volume
from csrd.report import curves, figures
from csrd.report import report as pages
from csrd.report.noise import noise_figure, noise_page
from csrd.report.regions import bland_altman
from csrd.report.run import record_of
from csrd.report.table import Scope, units_of
from csrd.report.vendor import corrections, vendor_figure
from csrd.report.writers import coverage_tables, lesions_tables, regions_tables, statistics_tables, tables
from csrd.stages import regions as measured

Paths = Sequence[str | Path]


def table1(
    metrics: str | Path,
    page: str | Path,
    *,
    methods: Sequence[str],
    subjects: Sequence[str],
    drfs: Sequence[int],
    train_drfs: Sequence[int],
    simulated: bool,
    in_suv: bool,
    vgg: str,
    protocol: str,
    target: str,
    controls: Sequence[str] = (),
    scatter: bool = False,
    lesions: str | Path | None = None,
    false: str | Path | None = None,
) -> None:
    """Write Table 1 and its split by dose into the folder of `page` (`csrd.report.writers.tables`)."""
    units = units_of(in_suv, vgg)
    scope = Scope(methods, subjects, drfs, train_drfs, simulated, units, protocol, target, controls, scatter)
    spots = [None if path is None else read_csv(path) for path in (lesions, false)]
    tables(read_csv(metrics), scope, Path(page).parent, *spots)


def lesions(lesions: str | Path, false: str | Path, *, table: str | Path) -> None:
    """Write the merged recovery of spots and number of false spots as tables, CSV and HTML."""
    lesions_tables(read_csv(lesions), read_csv(false), Path(table).parent)


def statistics(
    metrics: str | Path,
    table: str | Path,
    *,
    methods: Sequence[str],
    subjects: Sequence[str],
    drfs: Sequence[int],
) -> None:
    """Write the comparison of CSR-D with every other method, paired by subject."""
    rows = Scope(methods, subjects, drfs, train_drfs=drfs).of(read_csv(metrics))
    statistics_tables(rows, methods, Path(table).parent)


def comparison(
    reference: str | Path,
    mask: str | Path,
    lows: Paths,
    figure: str | Path,
    *,
    drfs: Sequence[int],
    methods: Sequence[str],
    drf: int,
    denoised: Paths = (),
    mr: str | Path | None = None,
    truth: str | Path | None = None,
) -> None:
    """Draw one subject: truth, MR, normal dose, low doses of `drfs`, and the images of `methods` at `drf`."""
    normal, head = _normal(reference, mask)
    optional = {
        "mr": None if mr is None else Volume.load(mr, unit="arbitrary"),
        "truth": None if truth is None else Volume.load(truth),
    }
    panels = figures.comparison(normal, _images(drfs, lows), _images(methods, denoised), drf, **optional)
    figures.compare(figure, panels, normal, head)


def errors(
    reference: str | Path,
    mask: str | Path,
    images: Paths,
    figure: str | Path,
    *,
    methods: Sequence[str],
    drf: int,
    stds: Paths | None = None,
) -> None:
    """Draw the methods' errors on one subject, or their size beside the predicted standard deviations."""
    normal, head = _normal(reference, mask)
    of_methods = _images(methods, images)
    if stds is None:
        figures.errors(figure, normal, head, of_methods, drf=drf)
    else:
        figures.uncertainty(figure, normal, head, of_methods, _images(methods, stds), drf=drf)


def dose_quality(
    metrics: str | Path,
    figure: str | Path,
    *,
    methods: Sequence[str],
    drfs: Sequence[int],
    train_drfs: Sequence[int],
    in_suv: bool,
    vgg: str,
) -> None:
    """Draw every metric against the dose."""
    rows = read_csv(metrics)
    subjects = list(rows["subject"].unique())
    scope = Scope(methods, subjects, drfs, train_drfs, units=units_of(in_suv, vgg))
    curves.dose_quality(figure, rows, scope)


def training(models: Paths, figure: str | Path, *, methods: Sequence[str]) -> None:
    """Draw the training curves, from the histories beside the methods' ``model.json``."""
    histories = [read_history(Path(model).with_name("history.jsonl")) for model in models]
    curves.training(figure, dict(zip(methods, histories, strict=True)))


def coverage(
    coverage: str | Path, *, table: str | Path, figure: str | Path, train_drfs: Sequence[int]
) -> None:
    """Write the merged coverage as a table, CSV and HTML, and as the figure of reliability."""
    rows = read_csv(coverage)
    curves.reliability(figure, rows, train_drfs=train_drfs)
    coverage_tables(rows, Path(table).parent)


def regions(regions: str | Path, *, table: str | Path, figure: str | Path) -> None:
    """Write the merged uptake by region as a table, CSV and HTML, and its agreement with the normal dose."""
    rows = read_csv(regions)
    regions_tables(rows, Path(table).parent)
    bland_altman(figure, rows)


def vendor(vendor: str | Path, *, figure: str | Path) -> None:
    """Draw the agreement of the normal doses with the vendor's images."""
    vendor_figure(figure, read_csv(vendor))


def noise(
    images: Paths,
    truth: str | Path,
    labels: str | Path,
    mask: str | Path,
    *,
    table: str | Path,
    figure: str | Path,
    page: str | Path,
    methods: Sequence[str],
    draws: Sequence[int],
    subject: str,
    drf: int,
) -> None:
    """Write bias and deviation over several thinnings as a table, a figure and a page.

    The parameters are those of `csrd.stages.regions.noise`.
    """
    about: dict[str, Any] = {"subject": subject, "drf": drf}
    measured.noise(images, truth, labels, mask, table, methods=methods, draws=draws, **about)
    rows = read_csv(table)
    noise_figure(figure, rows)
    write_text(page, noise_page(rows, figure, draws=len(draws), **about))


def record_run(
    metrics: str | Path,
    run: str | Path,
    *,
    settings: Mapping[str, Any],
    subjects: Sequence[str],
    inputs: Paths,
    methods: Sequence[str] = (),
    models: Paths = (),
    study: Paths = (),
) -> None:
    """Write the record of a run, ``run.json`` (`csrd.report.run.record_of`).

    `inputs` are the checksums of each of the `subjects`' files, `models` the cards of the fitted `methods`,
    `study` the study's own tables.
    """
    of_subjects = {name: read_json(path) for name, path in zip(subjects, inputs, strict=True)}
    record = record_of(
        settings,
        inputs={"study": checksums(study), **of_subjects},
        models={method: read_json(path) for method, path in zip(methods, models, strict=True)},
        metrics_sha256=sha256(metrics),
    )
    write_json(run, record)


def report(
    metrics: str | Path,
    page: str | Path,
    *,
    run: str | Path,
    settings: Mapping[str, Any],
    test_subjects: Sequence[str],
    in_suv: bool,
    pictures: Paths,
    shown: Sequence[tuple[str, str | None]],
    benchmarks: str | Path,
    sidecars: Paths = (),
    coverage: str | Path | None = None,
    truth: str | Path | None = None,
    regions: str | Path | None = None,
    lesions: str | Path | None = None,
    false: str | Path | None = None,
    controls: Sequence[str] = (),
    scans: Paths = (),
    vendor: str | Path | None = None,
) -> None:
    """Write the page with all tables and `pictures`; `shown` gives kind and subject of each (`Pictures.of`).

    `coverage`, `truth`, `regions`, `lesions` and `false` are merged tables; `sidecars` are those of the
    normal doses' images; `controls` are the control rows of Table 1, `scans` the pages of
    single scans of the `test_subjects`, which the page opens on demand.
    """
    config = load(settings)
    units = units_of(in_suv, config.metrics.vgg)
    scope = Scope(
        config.compared_methods,
        test_subjects,
        config.drfs,
        config.train_drfs,
        config.cohort.virtual,
        units,
        config.metrics.protocol,
        controls=controls,
        scatter=config.acquisition.scatter,
    )
    merged = {"coverage": coverage, "truth": truth, "regions": regions, "lesions": lesions, "false": false}
    merged["vendor"] = vendor
    results = pages.Results(
        read_csv(metrics),
        **{name: read_csv(path) for name, path in merged.items() if path is not None},
        jobs=read_benchmarks(benchmarks),
        missing=list(missing_keys(sidecars)),
        scans=_addresses(scans, page),
        corrections=[] if config.cohort.virtual else corrections(map(read_json, sidecars)),
    )
    of_files = pages.Pictures.of(shown, pictures)
    write_text(page, pages.report(results, of_files, config, scope, read_json(run)))


def _addresses(scans: Paths, page: str | Path) -> dict[str, str]:
    """Return the addresses of single scans' pages as links from `page`, by subject."""
    folder = Path(page).parent
    return {subject_of(scan): Path(os.path.relpath(scan, folder)).as_posix() for scan in scans}


def _normal(reference: str | Path, mask: str | Path) -> tuple[Volume, np.ndarray]:
    """Return the normal dose and its head mask, (X, Y, Z) bool."""
    return Volume.load(reference), Volume.load(mask, unit="mask").array > 0


def _images(keys: Sequence[Any], paths: Paths) -> dict[Any, Volume]:
    """Return the images in files, each by its key."""
    return {key: Volume.load(path) for key, path in zip(keys, paths, strict=True)}

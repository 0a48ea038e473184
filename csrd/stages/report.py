"""Tables and figures of a report; `csrd.report.report` writes the page with all of them."""

from collections.abc import Sequence
from pathlib import Path

from csrd.report import curves, figures
from csrd.report.noise import noise_figure, noise_page
from csrd.report.regions import bland_altman
from csrd.report.table import units_of
from csrd.report.writers import coverage_tables, regions_tables, statistics_tables, tables
from csrd.stages import regions as measured

Paths = Sequence[str | Path]


def table1(
    metrics: str | Path,
    page: str | Path,
    *,
    methods: list[str],
    subjects: list[str],
    drfs: list[int],
    train_drfs: list[int],
    simulated: bool,
    in_suv: bool,
    vgg: str,
    protocol: str,
    target: str,
) -> None:
    """Write Table 1 and its split by dose into the folder of `page` (`csrd.report.writers.tables`)."""
    about = {"train_drfs": train_drfs, "simulated": simulated, "protocol": protocol, "target": target}
    about |= {"methods": methods, "test_subjects": subjects, "drfs": drfs, "units": units_of(in_suv, vgg)}
    tables(metrics, Path(page).parent, **about)


def statistics(
    metrics: str | Path, table: str | Path, *, methods: list[str], subjects: list[str], drfs: list[int]
) -> None:
    """Write the comparison of CSR-D with every other method, paired by subject."""
    folder = Path(table).parent
    statistics_tables(metrics, folder, methods=methods, test_subjects=subjects, drfs=drfs)


def comparison(
    reference: str | Path,
    mask: str | Path,
    lows: Paths,
    figure: str | Path,
    *,
    drfs: list[int],
    methods: list[str],
    drf: int,
    denoised: Paths = (),
    mr: str | Path | None = None,
    truth: str | Path | None = None,
) -> None:
    """Draw one subject: truth, MR, normal dose, low doses of `drfs`, and the images of `methods` at `drf`."""
    images = {method: {drf: image} for method, image in zip(methods, denoised, strict=True)}
    files = {"lows": dict(zip(drfs, lows, strict=True)), "denoised": images, "mr": mr, "truth": truth}
    figures.comparison(figure, reference, mask, drf=drf, **files)


def errors(
    reference: str | Path,
    mask: str | Path,
    images: Paths,
    figure: str | Path,
    *,
    methods: list[str],
    drf: int,
    spreads: Paths | None = None,
) -> None:
    """Draw the methods' errors on one subject, or their size beside the predicted deviations `spreads`."""
    of_methods = dict(zip(methods, images, strict=True))
    if spreads is None:
        figures.errors(figure, reference, mask, of_methods, drf=drf)
    else:
        stds = dict(zip(methods, spreads, strict=True))
        figures.uncertainty(figure, reference, mask, of_methods, stds, drf=drf)


def dose_quality(
    metrics: str | Path,
    figure: str | Path,
    *,
    methods: list[str],
    drfs: list[int],
    train_drfs: list[int],
    in_suv: bool,
    vgg: str,
) -> None:
    """Draw every metric against the dose."""
    doses = {"drfs": drfs, "train_drfs": train_drfs}
    curves.dose_quality(figure, metrics, methods=methods, units=units_of(in_suv, vgg), **doses)


def training(models: Paths, figure: str | Path, *, methods: list[str]) -> None:
    """Draw the courses of training, from the records beside the methods' ``model.json``."""
    histories = [Path(model).with_name("history.jsonl") for model in models]
    curves.training(figure, dict(zip(methods, histories, strict=True)))


def coverage(coverage: str | Path, *, table: str | Path, figure: str | Path, train_drfs: list[int]) -> None:
    """Write the merged coverage as a table, CSV and HTML, and as the figure of reliability."""
    curves.reliability(figure, coverage, train_drfs=train_drfs)
    coverage_tables(coverage, Path(table).parent)


def regions(regions: str | Path, *, table: str | Path, figure: str | Path) -> None:
    """Write the merged uptake by region as a table, CSV and HTML, and its agreement with the normal dose."""
    regions_tables(regions, Path(table).parent)
    bland_altman(figure, regions)


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
    about = {"subject": subject, "drf": drf}
    measured.noise(images, truth, labels, mask, table, methods=methods, draws=draws, **about)
    noise_figure(figure, table)
    noise_page(page, table, figure, draws=len(draws), **about)

"""Tables and figures that belong together."""

from collections.abc import Sequence
from pathlib import Path

from csrd.report.curves import reliability
from csrd.report.noise import noise_figure, noise_page
from csrd.report.regions import bland_altman
from csrd.report.writers import coverage_tables, regions_tables
from csrd.stages import regions as measured


def coverage(coverage: str | Path, *, table: str | Path, figure: str | Path, train_drfs: list[int]) -> None:
    """Write the merged coverage as a table, CSV and HTML, and as the figure of reliability."""
    reliability(figure, coverage, train_drfs=train_drfs)
    coverage_tables(coverage, Path(table).parent)


def regions(regions: str | Path, *, table: str | Path, figure: str | Path) -> None:
    """Write the merged uptake by region as a table, CSV and HTML, and its agreement with the normal dose."""
    regions_tables(regions, Path(table).parent)
    bland_altman(figure, regions)


def noise(
    images: Sequence[str | Path],
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

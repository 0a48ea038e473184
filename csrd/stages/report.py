"""Tables and figures of a result together, from its merged table."""

from collections.abc import Iterable
from pathlib import Path

from csrd.io.bids import entities_of
from csrd.report.curves import reliability
from csrd.report.noise import noise_figure, noise_page
from csrd.report.regions import bland_altman
from csrd.report.writers import coverage_tables, regions_tables
from csrd.stages import regions as measured


def coverage(merged: str | Path, *, table: str | Path, figure: str | Path, train_drfs: list[int]) -> None:
    """Write the table of coverage, as CSV and HTML, and the figure of reliability."""
    reliability(figure, merged, train_drfs=train_drfs)
    coverage_tables(merged, Path(table).parent)


def regions(merged: str | Path, *, table: str | Path, figure: str | Path) -> None:
    """Write the table of uptake by region, as CSV and HTML, and its agreement with the normal dose."""
    regions_tables(merged, Path(table).parent)
    bland_altman(figure, merged)


def noise(
    images: Iterable[str | Path],
    truth: str | Path,
    labels: str | Path,
    mask: str | Path,
    *,
    table: str | Path,
    figure: str | Path,
    page: str | Path,
    subject: str,
    drf: int,
) -> None:
    """Write bias and deviation over several thinnings as a table, a figure and a page.

    `images` are those of all methods and thinnings, told apart by `desc` in their names.
    """
    by_method: dict[str, list[str | Path]] = {}
    for path in images:
        by_method.setdefault(entities_of(path)["desc"], []).append(path)
    facts = {"subject": subject, "drf": drf}
    measured.noise(by_method, truth, labels, mask, table, **facts)
    noise_figure(figure, table)
    noise_page(page, table, figure, draws=len(next(iter(by_method.values()))), **facts)

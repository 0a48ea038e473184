"""Measure how models do on other brain PET than they were trained on: 25 simulated scans, and a table.

    python benchmarks/generality scans --t1w FOLDER       simulate and reconstruct the scans, once
    python benchmarks/generality table [--page]           measure on these scans; --page: docs/generality.md
    python benchmarks/generality validate                 print a few figures of the validation scans

The packaged models are always measured; `--model NAME=FOLDER` adds a fitted one, with and without MR as far
as it does both, and `--model NAME=FOLDER,FOLDER` one with MR and one without. Choices may be made on the
validation scans only. OUT/records keeps what was measured, by the weights' checksums: a second run measures
what is new. `--anew` measures all again, as is right after an edit of the code that applies a model.
"""

import argparse
import time
from pathlib import Path

import numba
import torch
from columns import GAUSSIAN, INPUT, Column, Made, filters, measured, model_columns, record
from limits import limits
from page import NORMAL, Records, bias_cell, psnr_cell, spot_cell, table, tables, write_places
from rows import REFERENCE, ROWS, Row
from scans import Scan, Simulation, kept_path

from csrd.errors import InputError, plain_errors
from csrd.io.files import whole_file, write_json
from csrd.pretrained import packaged

REPOSITORY = Path(__file__).resolve().parents[2]
TRACERS, PAGE = Path(__file__).with_name("tracers"), REPOSITORY / "docs" / "generality.md"
IMAGES = PAGE.parent / "images"
WITH_STD = ("reference", "tracer", "scanner")
"""Factors whose scans at 1/4 get a standard deviation from the models: samples take five times as long."""


def make_scans(given: argparse.Namespace) -> None:
    """Make the scans that are not kept yet."""
    numba.set_num_threads(given.threads)
    work = given.out / "work"
    work.mkdir(parents=True, exist_ok=True)
    simulation = Simulation(given.t1w, TRACERS, work, given.threads)
    for row in ROWS:
        path = kept_path(given.out, row)
        if path.exists() or (given.row and row.name not in given.row):
            continue
        start, cpu = time.perf_counter(), time.process_time()
        scan = simulation.scan(row)
        scan.save(path)
        took = f"{time.perf_counter() - start:.0f} s, {time.process_time() - cpu:.0f} CPU s"
        print(f"{row.name}: {scan.facts['resolution_mm']:.2f} mm, {took}", flush=True)


def make_table(given: argparse.Namespace) -> None:
    """Measure on the test scans, and write all tables; with `--page` into the page, with its figures."""
    rows, columns = kept_rows(given), filters() + models(given)
    records = measure(rows, columns, given)
    columns = with_records(columns, records)
    found = {"limits": limits(rows, records, columns)} | tables(rows, records, columns)
    write_json(given.out / "table.json", records)
    with whole_file(given.out / "table.md") as temporary:
        temporary.write_text("\n\n".join(f"## {key}\n\n{text}" for key, text in found.items()) + "\n")
    if given.page:
        write_places(PAGE, found)
        draw_figures(records, columns, given.out)


def draw_figures(records: Records, columns: list[Column], out: Path) -> None:
    """Draw the page's figures; the one of another person's MR by the first model that uses an MR."""
    from figures import OTHER, draw_displacement, draw_other_person

    draw_displacement(records, columns, IMAGES / "generality-displacement.png")
    model = next(column for column in columns if column.uses_mr)
    scans = [Scan.load(kept_path(out, row)) for row in ROWS if row.name in (REFERENCE.name, OTHER)]
    draw_other_person(*scans, model, IMAGES / "generality-other-person.png")


def validate(given: argparse.Namespace) -> None:
    """Print a few figures of the validation scans."""
    rows = kept_rows(given, validation=True)
    columns = [column for column in filters() if column.name in (INPUT, GAUSSIAN)] + models(given)
    records = measure(rows, columns, given)
    columns = with_records(columns, records)
    shown = {"PSNR against the truth, dB": psnr_cell("truth"), "recovery of hot spots": spot_cell("hot")}
    shown |= {"bias of regions, mean / largest, %": bias_cell("truth")}
    print("\n\n".join(f"{title}\n{table(rows, records, columns, cell)}" for title, cell in shown.items()))


def kept_rows(given: argparse.Namespace, validation: bool = False) -> list[Row]:
    """Return the rows whose scans are kept.

    Raises InputError where there are none.
    """
    rows = [row for row in ROWS if row.validation == validation and kept_path(given.out, row).exists()]
    if not rows:
        raise InputError(f"{given.out} has no scans; make them with: python benchmarks/generality scans")
    return rows


def models(given: argparse.Namespace) -> list[Column]:
    """Return the columns of the packaged models and of those on the command line."""
    found = model_columns("packaged", packaged("csrd"), packaged("csrdnomr"))
    for text in given.model:
        name, _, folders = text.partition("=")
        parts = [Path(folder) for folder in folders.split(",")]
        if not folders or len(parts) > 2:
            raise InputError(f"--model is {text}; write NAME=FOLDER, or NAME=FOLDER,FOLDER_WITHOUT_MR")
        found += model_columns(name, *parts)
    return found


def measure(rows: list[Row], columns: list[Column], given: argparse.Namespace) -> Records:
    """Return the figures of all rows and columns, and those of the normal dose."""
    torch.set_num_threads(given.threads)
    folder, records = given.out / "records", {}
    for row in rows:
        start, scan = time.perf_counter(), Scan.load(kept_path(given.out, row))
        std = row.factor in WITH_STD and row.drf == REFERENCE.drf
        records[row.name] = {c.name: record(c, scan, std, folder, given.anew) for c in columns}
        records[row.name][NORMAL] = measured(scan, Made(scan.normal))
        print(f"{row.name}: {time.perf_counter() - start:.0f} s", flush=True)
    return records


def with_records(columns: list[Column], records: Records) -> list[Column]:
    """Return the columns that have an image of at least one scan."""
    return [column for column in columns if any(record[column.name] for record in records.values())]


def parser() -> argparse.ArgumentParser:
    """Return the command line of the three commands."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = found.add_subparsers(required=True)
    for name, run in (("scans", make_scans), ("table", make_table), ("validate", validate)):
        command = commands.add_parser(name, help=run.__doc__)
        command.set_defaults(run=run)
        command.add_argument("--out", type=Path, default=Path("results/generality"))
        command.add_argument("--threads", type=int, default=2)
        if name == "scans":
            command.add_argument("--t1w", type=Path, required=True, help="sub-13 … sub-16, skull-stripped")
            command.add_argument("--row", nargs="+", help="only these scans")
        else:
            command.add_argument("--model", action="append", default=[], metavar="NAME=FOLDER[,FOLDER]")
            command.add_argument("--anew", action="store_true", help="read no record")
        if name == "table":
            command.add_argument("--page", action="store_true", help="renew docs/generality.md")
    return found


if __name__ == "__main__":
    given = parser().parse_args()
    with plain_errors():
        given.run(given)

"""How models do on other brain PET than they were trained on: 25 simulated scans, and a table of figures.

    python benchmarks/generality.py scans --t1w FOLDER [--out results/generality] [--threads 2]
    python benchmarks/generality.py table [--out results/generality] [--model NAME=FOLDER ...] [--page]

`scans` simulates list-mode of the skull-stripped T1w images sub-13 to sub-16 in FOLDER, reconstructs it, and
keeps one file a scan in OUT/scans (and OUT/validation, on which choices may be made). What is there is kept.
`table` measures the input, three filters, the packaged models and each `--model` (a folder with model.json,
or with csrd/ and csrdnomr/ in it) on the kept scans and writes OUT/table.md. `--page` also renews
docs/generality.md and its figures. `--validation` takes the validation scans, `--row NAME ...` some scans.
"""

import argparse
import json
import time
from pathlib import Path

import numba
import torch
from generality_columns import Made, columns, measured, record
from generality_page import draw_displacement, draw_other_person, tables, write_places
from generality_rows import REFERENCE, ROWS
from generality_scans import Scan, Workshop, kept_path

from csrd.io.files import whole_file

REPOSITORY = Path(__file__).parent.parent
TRACERS, PAGE = REPOSITORY / "config" / "tracers", REPOSITORY / "docs" / "generality.md"
WITH_STD = ("reference", "tracer", "scanner", "validation")
"""Factors whose scans at 1/4 get a standard deviation from the models: samples take five times as long."""


def scans(given: argparse.Namespace) -> None:
    """Make the scans that are not kept yet."""
    numba.set_num_threads(given.threads)
    work = given.out / "work"
    work.mkdir(parents=True, exist_ok=True)
    shop = Workshop(given.t1w, TRACERS, work, given.threads)
    for row in ROWS:
        path = kept_path(given.out, row)
        if path.exists() or (given.row and row.name not in given.row):
            continue
        start, cpu = time.perf_counter(), time.process_time()
        scan = shop.make(row)
        scan.save(path)
        took = f"{time.perf_counter() - start:.0f} s, {time.process_time() - cpu:.0f} CPU s"
        print(f"{row.name}: {scan.facts['resolution_mm']:.2f} mm, {took}", flush=True)


def table(given: argparse.Namespace) -> None:
    """Measure what is not measured yet, and write the tables."""
    torch.set_num_threads(given.threads)
    models = [("packaged", None), *((name, Path(folder)) for name, _, folder in map(_parted, given.model))]
    wanted = columns(models)
    rows = [row for row in ROWS if row.validation == given.validation and kept_path(given.out, row).exists()]
    rows = [row for row in rows if not given.row or row.name in given.row]
    records, kept = {}, {}
    for row in rows:
        start, scan = time.perf_counter(), Scan.load(kept_path(given.out, row))
        std = row.factor in WITH_STD and row.drf == REFERENCE.drf and not given.no_std
        records[row.name] = {c.name: record(c, scan, std, given.out / "records") for c in wanted}
        normal = Made(scan.normal, None, {})
        records[row.name]["normal dose"] = measured(scan, normal.image, None, 0)
        kept[row.name] = scan
        print(f"{row.name}: {time.perf_counter() - start:.0f} s", flush=True)
    found = tables(rows, records, wanted)
    name = "validation" if given.validation else "table"
    with whole_file(given.out / f"{name}.md") as temporary:
        temporary.write_text("\n\n".join(f"## {key}\n\n{text}" for key, text in found.items()) + "\n")
    with whole_file(given.out / f"{name}.json") as temporary:
        temporary.write_text(json.dumps(records, indent=1))
    if given.page:
        write_places(PAGE, found)
        draw_displacement(records, wanted, PAGE.parent / "images" / "generality-displacement.png")
        shown = [column for column in wanted if column.uses_mr][-1]
        draw_other_person(kept, shown, PAGE.parent / "images" / "generality-other-person.png")


def _parted(text: str) -> tuple[str, str, str]:
    """Return NAME, =, FOLDER."""
    parts = text.partition("=")
    if not parts[0] or not Path(parts[2]).is_dir():
        raise SystemExit(f"--model {text} names no folder; write NAME=FOLDER")
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(required=True)
    make, show = commands.add_parser("scans"), commands.add_parser("table")
    make.add_argument("--t1w", type=Path, required=True)
    make.set_defaults(run=scans)
    show.add_argument("--model", action="append", default=[], metavar="NAME=FOLDER")
    show.add_argument("--validation", action="store_true")
    show.add_argument("--no-std", action="store_true", help="no standard deviations, which take longest")
    show.add_argument("--page", action="store_true")
    show.set_defaults(run=table)
    for command in (make, show):
        command.add_argument("--out", type=Path, default=Path("results/generality"))
        command.add_argument("--threads", type=int, default=2)
        command.add_argument("--row", nargs="+", help="only these rows")
    given = parser.parse_args()
    given.run(given)


if __name__ == "__main__":
    main()

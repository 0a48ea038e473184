"""The tables of docs/generality.md, and how they are written into its marked places."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from columns import GAUSSIAN, INPUT, Column
from rows import Row

from csrd.io.files import whole_file

Records = Mapping[str, Mapping[str, dict | None]]
"""Figures by the row's name and the column's; None where a model made no image."""
NORMAL = "normal dose"
ORACLES = (GAUSSIAN, "oracle TV", "oracle NLM")
NONE = "–"
Cell = Callable[[dict], str]


def tables(rows: list[Row], records: Records, columns: list[Column]) -> dict[str, str]:
    """Return the tables of single figures and `gains`, by the name of their place in the page."""
    normal = Column(NORMAL, lambda *_: None)
    models = [column for column in columns if column.gives_std]
    sampled = [
        row for row in rows if any("coverage_truth" in (records[row.name][m.name] or {}) for m in models)
    ]
    return {
        "gains": gains(rows, records, models),
        "psnr-truth": table(rows, records, [normal, *columns], psnr_cell("truth")),
        "psnr-normal": table(rows, records, columns, psnr_cell("normal")),
        "bias-truth": table(rows, records, [normal, *columns], bias_cell("truth")),
        "bias-normal": table(rows, records, columns, bias_cell("normal")),
        "hot": table(rows, records, [normal, *columns], spot_cell("hot")),
        "cold": table(rows, records, [normal, *columns], spot_cell("cold")),
        "false": table(rows, records, [normal, *columns], lambda record: str(record["false_spots"])),
        "coverage": table(sampled, records, models, coverage_cell),
    }


def table(rows: list[Row], records: Records, columns: list[Column], cell: Cell) -> str:
    """Return one figure of all scans and columns; `cell` writes it."""
    body = [
        [row.factor, row.level, *(_cell(row, records, column, cell) for column in columns)] for row in rows
    ]
    return markdown(["factor", "scan", *(column.name for column in columns)], body)


def _cell(row: Row, records: Records, column: Column, cell: Cell) -> str:
    """Return a figure; `NONE` where there is none, and where it is the reference's whatever the MR."""
    record = records[row.name].get(column.name)
    shown_elsewhere = row.factor == "MR" and not column.uses_mr
    if row.mr == "none" and column.gives_std:  # the model without MR is what this row is about
        shown_elsewhere = False
    return NONE if record is None or shown_elsewhere else cell(record)


def markdown(header: list[str], rows: list[list[str]], left: int = 2) -> str:
    """Return a Markdown table, its first columns left-aligned."""
    rule = ["---" if n < left else "--:" for n in range(len(header))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def psnr_cell(target: str) -> Cell:
    return lambda record: f"{record[f'psnr_{target}']:.1f}"


def bias_cell(target: str) -> Cell:
    def cell(record: dict) -> str:
        largest, mean = record[f"bias_{target}"]
        region = record[f"worst_region_{target}"].replace("_", " ")
        return f"{100 * mean:.1f} / {100 * largest:+.0f} {region}"

    return cell


def spot_cell(kind: str) -> Cell:
    return lambda record: "{:.2f} ± {:.2f}".format(*record[kind])


def coverage_cell(record: dict) -> str:
    if "coverage_truth" not in record:
        return NONE
    return f"{100 * record['coverage_normal']:.0f} / {100 * record['coverage_truth']:.0f}"


def over_filter(records: Records, row: str, column: str) -> float:
    """Return by how many dB an image is nearer to the truth than that of the best filter."""
    best = max(records[row][name]["psnr_truth"] for name in ORACLES)
    return records[row][column]["psnr_truth"] - best


def over_input(records: Records, row: str, column: str) -> float:
    """Return by how many dB an image is nearer to the normal dose than the untouched input."""
    return records[row][column]["psnr_normal"] - records[row][INPUT]["psnr_normal"]


def gains(rows: list[Row], records: Records, models: list[Column]) -> str:
    """Return `over_filter` / `over_input` of each model, the scan with the largest loss first."""

    def lowest(row: Row) -> float:
        made = [model.name for model in models if records[row.name][model.name]]
        return min(
            (f(records, row.name, name) for name in made for f in (over_filter, over_input)), default=0
        )

    body = []
    for row in sorted(rows, key=lowest):
        cells = [
            _cell(row, records, model, lambda _, r=row, m=model: _gain_cell(records, r.name, m.name))
            for model in models
        ]
        body.append([row.factor, row.level, *cells])
    return markdown(["factor", "scan", *(model.name for model in models)], body)


def _gain_cell(records: Records, row: str, column: str) -> str:
    both = over_filter(records, row, column), over_input(records, row, column)
    return " / ".join(bold(f"{gain:+.1f}", round(gain, 1) >= 0) for gain in both)


def bold(text: str, reached: bool) -> str:
    """Return a figure as it is, in bold type where a limit is not reached."""
    return text if reached else f"**{text}**"


def write_places(page: Path, places: Mapping[str, str]) -> None:
    """Write each text between the marks `<!-- NAME -->` and `<!-- /NAME -->` of a page."""
    text = page.read_text()
    for name, content in places.items():
        mark = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- /{re.escape(name)} -->)", re.DOTALL)
        assert mark.search(text), f"{page} has no place for {name}"
        text = mark.sub(lambda found, new=content: f"{found[1]}\n{new}\n\n{found[2]}", text)
    with whole_file(page) as temporary:
        temporary.write_text(text)

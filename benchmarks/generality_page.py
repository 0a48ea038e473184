"""Tables and figures of `benchmarks/generality.py`, written into marked places of docs/generality.md."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from generality_columns import Column
from generality_rows import REFERENCE, ROWS, SHIFTS_MM, Row
from generality_scans import Scan

from csrd.io.files import whole_file

Records = Mapping[str, Mapping[str, dict | None]]  # row's name -> column's name -> figures
NORMAL, INPUT, GAUSSIAN = "normal dose", "input", "oracle Gaussian"
ORACLES = (GAUSSIAN, "oracle TV", "oracle NLM")
NONE = "–"
TRACER_ROWS = {
    drf: [
        row.name
        for row in ROWS
        if row.drf == drf and (row.factor in ("reference", "tracer", "validation") or row.name == "dose_10")
    ]
    for drf in (4, 10)
}
"""Scans of each tracer at the reference's settings."""
SPECIAL = ("mr_shift_4", "mr_other", "mr_none")  # rows that are reported, and judged by no limit


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table, its first two columns left-aligned."""
    rule = ["---" if n < 2 else "--:" for n in range(len(header))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def table(rows: list[Row], records: Records, columns: list[str], cell: Callable[[dict], str]) -> str:
    """Return one figure of all scans and columns; `cell` writes it."""
    body = [
        [
            row.factor,
            row.level,
            *(NONE if (r := records[row.name].get(c)) is None else cell(r) for c in columns),
        ]
        for row in rows
    ]
    return markdown(["factor", "scan", *columns], body)


def psnr_cell(target: str) -> Callable[[dict], str]:
    return lambda record: f"{record[f'psnr_{target}']:.1f}"


def bias_cell(target: str) -> Callable[[dict], str]:
    def cell(record: dict) -> str:
        largest, mean = record[f"bias_{target}"]
        region = record[f"worst_region_{target}"].replace("_", " ")
        return f"{100 * mean:.1f} / {100 * largest:+.0f} {region}"

    return cell


def spot_cell(kind: str) -> Callable[[dict], str]:
    return lambda record: "{:.2f} ± {:.2f}".format(*record[kind])


def false_cell(record: dict) -> str:
    return str(record["false_spots"])


def coverage_cell(record: dict) -> str:
    if "coverage_truth" not in record:
        return NONE
    return f"{100 * record['coverage_normal']:.0f} / {100 * record['coverage_truth']:.0f}"


def tables(rows: list[Row], records: Records, columns: list[Column]) -> dict[str, str]:
    """Return all tables by the name of their place in the page."""
    names = [column.name for column in columns]
    models = [column.name for column in columns if column.gives_std]
    found = {
        "worst": worst(rows, records, models),
        "limits": limits(rows, records, columns),
        "psnr-truth": table(rows, records, [NORMAL, *names], psnr_cell("truth")),
        "psnr-normal": table(rows, records, names, psnr_cell("normal")),
        "bias-truth": table(rows, records, [NORMAL, *names], bias_cell("truth")),
        "bias-normal": table(rows, records, names, bias_cell("normal")),
        "hot": table(rows, records, [NORMAL, *names], spot_cell("hot")),
        "cold": table(rows, records, [NORMAL, *names], spot_cell("cold")),
        "false": table(rows, records, [NORMAL, *names], false_cell),
    }
    covered = [row for row in rows if any("coverage_truth" in (records[row.name][m] or {}) for m in models)]
    return found | {"coverage": table(covered, records, models, coverage_cell)}


def best_oracle(record: Mapping[str, dict | None]) -> float:
    """Return the highest PSNR against the truth among the filters."""
    return max(record[name]["psnr_truth"] for name in ORACLES)


def worst(rows: list[Row], records: Records, models: list[str]) -> str:
    """Return, per model, where it loses: worst first, in dB against the input and the best filter."""
    lines = []
    for row in rows:
        for model in models:
            record = records[row.name][model]
            if record is None:
                continue
            to_input = record["psnr_normal"] - records[row.name][INPUT]["psnr_normal"]
            to_filter = record["psnr_truth"] - best_oracle(records[row.name])
            if to_input < 0 or to_filter < 0:
                scan = f"{row.factor}: {row.level}"
                lines.append(
                    (min(to_input, to_filter), [model, scan, f"{to_input:+.1f}", f"{to_filter:+.1f}"])
                )
    body = [cells for _, cells in sorted(lines, key=lambda line: line[0])]
    header = ["model", "scan", "against the input (normal dose), dB", "against the best filter (truth), dB"]
    return markdown(header, body) if body else "No model loses anywhere."


def limits(rows: list[Row], records: Records, columns: list[Column]) -> str:
    """Return each model's figures that a general model has limits for, those not reached in bold.

    The normal dose stands beside them, which the same limits would judge.
    """
    models = [Column(NORMAL, None), *(column for column in columns if column.gives_std)]
    wanted = [
        ("tracers at 1/4, mean over the best filter, dB", "≥ 2 (1 without MR)"),
        ("tracers at 1/10, mean over the best filter, dB", "≥ 3 (2 without MR)"),
        ("worst other scan over the best filter, dB", "≥ 0"),
        ("worst scan at 1/4 and below over the input, normal dose, dB", "≥ 0"),
        ("largest regional bias against the truth, %", "≤ 3"),
        ("mean regional bias against the truth, largest of a scan, %", "≤ 3"),
        ("hot spots at 1/4, mean recovery", "≥ 0.55"),
        ("most false spots beyond the normal dose's", "≤ 0"),
        ("coverage of the truth by 90 % intervals, %", "85 to 95"),
    ]
    cells = [_reached(rows, records, column) for column in models]
    body = [[*line, *(cell[n] for cell in cells)] for n, line in enumerate(wanted)]
    return markdown(["figure", "limit", *(column.name for column in models)], body)


def _reached(rows: list[Row], records: Records, column: Column) -> list[str]:
    """Return the figures of `limits` of one model."""
    of = {row.name: records[row.name][column.name] for row in rows}
    of = {name: record for name, record in of.items() if record is not None}
    gain = {name: record["psnr_truth"] - best_oracle(records[name]) for name, record in of.items()}
    tracers = {drf: [name for name in names if name in gain] for drf, names in TRACER_ROWS.items()}
    means = [_mean(gain[name] for name in names) for names in tracers.values()]
    other = [gain[n] for n in gain if n not in {*TRACER_ROWS[4], *TRACER_ROWS[10], *SPECIAL}]
    to_input = [
        of[row.name]["psnr_normal"] - records[row.name][INPUT]["psnr_normal"]
        for row in rows
        if row.name in of and row.drf >= 4 and row.name not in SPECIAL
    ]
    biases = [np.abs(record["bias_truth"]) for name, record in of.items() if name not in SPECIAL]
    largest, mean = (100 * float(values) for values in np.max(biases, axis=0))
    hot = _mean(of[name]["hot"][0] for name in tracers[4])
    false = max(record["false_spots"] - records[name][NORMAL]["false_spots"] for name, record in of.items())
    covers = [100 * record["coverage_truth"] for record in of.values() if "coverage_truth" in record]
    least = (2, 3) if column.uses_mr else (1, 2)
    return [
        *(_bold(f"{mean:+.1f}", mean >= limit) for mean, limit in zip(means, least, strict=True)),
        _bold(f"{min(other):+.1f}", min(other) >= 0) if other else NONE,
        _bold(f"{min(to_input):+.1f}", min(to_input) >= 0),
        *(_bold(f"{bias:.1f}", bias <= 3) for bias in (largest, mean)),
        _bold(f"{hot:.2f}", hot >= 0.55),
        _bold(f"{false}", false <= 0),
        _bold(f"{min(covers):.0f} to {max(covers):.0f}", min(covers) >= 85 and max(covers) <= 95)
        if covers
        else NONE,
    ]


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return float(np.mean(values)) if values else float("nan")


def _bold(text: str, reached: bool) -> str:
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


def draw_displacement(records: Records, columns: list[Column], path: Path) -> None:
    """Draw PSNR and spot recovery against the MR's displacement, models without MR as level lines."""
    rows = [REFERENCE.name, *(f"mr_shift_{mm:g}" for mm in SHIFTS_MM)]
    at = [0.0, *SHIFTS_MM]
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    drawn = [
        ("PSNR against the truth (dB)", lambda record: record["psnr_truth"]),
        ("PSNR against the normal dose (dB)", lambda record: record["psnr_normal"]),
        ("recovery of hot spots", lambda record: record["hot"][0]),
    ]
    for axis, (label, value) in zip(axes, drawn, strict=True):
        models = [column for column in columns if column.uses_mr]
        for number, column in enumerate(models):
            found = [value(records[row][column.name]) for row in rows]
            axis.plot(at, found, "o-", color=f"C{number}", label=column.name)
        levels = [column for column in columns if not column.uses_mr and column.gives_std]
        levels = [(f"C{number}", "--", column.name) for number, column in enumerate(levels)]
        for colour, style, name in (*levels, ("0.3", ":", GAUSSIAN), ("0.6", "-.", INPUT)):
            if records[rows[0]][name] is not None:
                axis.axhline(value(records[rows[0]][name]), color=colour, ls=style, label=name)
        axis.set(xlabel="displacement of the MR (mm)", ylabel=label)
    axes[0].legend(fontsize=8)
    _save(figure, path)


def draw_other_person(scans: Mapping[str, Scan], column: Column, path: Path) -> None:
    """Draw the reference denoised with its own and with another person's MR, and what lies between."""
    own, other = scans[REFERENCE.name], scans["mr_other"]
    images = [column.make(scan, False).image.array for scan in (own, other)]
    peak = float(np.percentile(own.truth.array[own.mask], 99.8))
    pet = {"cmap": "gray_r", "vmin": 0, "vmax": peak}
    mr = {"cmap": "gray", "vmin": 0, "vmax": float(np.percentile(own.mr.array[own.mask], 99))}
    signed = {"cmap": "RdBu_r", "vmin": -0.3 * peak, "vmax": 0.3 * peak}
    panels = [
        ("own MR", own.mr.array, mr),
        ("another person's MR", other.mr.array, mr),
        ("truth", own.truth.array, pet),
        ("low dose", own.low.array, pet),
        ("with own MR", images[0], pet),
        ("with another's MR", images[1], pet),
        ("own MR − truth", images[0] - own.truth.array, signed),
        ("another's MR − truth", images[1] - own.truth.array, signed),
    ]
    z = int(np.mean(np.nonzero(own.labels == 10)[2]))  # through the putamen
    figure, axes = plt.subplots(2, 4, figsize=(11, 6.6), layout="constrained")
    for axis, (title, array, how) in zip(axes.flat, panels, strict=True):
        axis.imshow(array[:, :, z].T, origin="lower", **how)
        axis.set_title(title, fontsize=10)
        axis.axis("off")
    _save(figure, path)


def _save(figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=110)
    plt.close(figure)

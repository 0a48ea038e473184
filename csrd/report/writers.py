"""The report stage's tables: one frame, written as CSV, Markdown, LaTeX and HTML."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from csrd.io.files import write_text
from csrd.io.tables import write_csv
from csrd.methods import is_control, label_of
from csrd.report import paper
from csrd.report.coverage import coverage_html, coverage_table
from csrd.report.html import fragment, page
from csrd.report.lesions import false_counts, lesions_html, recoveries, with_lesions
from csrd.report.regions import regions_html, regions_table
from csrd.report.statistics import compare, power, statistics_html
from csrd.report.table import (
    Scope,
    best,
    caption,
    cells,
    further,
    header,
    metrics_in,
    table_by_dose,
    whole_table,
)

NAMES = {"normal": ("table1", "Table 1"), "truth": ("table1_truth", "Table 1 against the truth")}
LATEX_ESCAPES = {
    "%": r"\%",
    "_": r"\_",
    "&": r"\&",
    "±": r"$\pm$",
    "×": r"$\times$",
    "−": "$-$",
    "σ": r"$\sigma$",
}
LATEX_ESCAPES |= {"↓": r"$\downarrow$", "↑": r"$\uparrow$", "∞": r"$\infty$"}


def tables(
    metrics: pd.DataFrame,
    scope: Scope,
    out: Path,
    lesions: pd.DataFrame | None = None,
    false: pd.DataFrame | None = None,
) -> None:
    """Write ``table1.{csv,md,tex,html}`` and ``table1_by_dose.{csv,html}`` into a folder.

    Of the target "truth", `metrics` are those against it, and the files' names begin with table1_truth.
    `lesions` and `false` spots (`csrd.stages.lesions.lesions`) add columns, and a row of the normal dose.
    """
    units = scope.units
    whole, split = (make(metrics, scope) for make in (whole_table, table_by_dose))
    if lesions is not None and false is not None:
        whole, split = (with_lesions(table, lesions, false) for table in (whole, split))
    note = caption(scope)
    name, title = NAMES[scope.target]
    write_csv(whole, out / f"{name}.csv")
    write_csv(split, out / f"{name}_by_dose.csv")
    write_text(out / f"{name}.md", markdown(whole, note, units))
    write_text(out / f"{name}.tex", latex(whole, note, units, label=name))
    write_text(out / f"{name}.html", page(title, html_table(whole, note, units)))
    body = html_table(split, caption(scope, by_dose=True), units, scope.train_drfs)
    write_text(out / f"{name}_by_dose.html", page(f"{title} by dose", body))


def statistics_tables(rows: pd.DataFrame, methods: Sequence[str], out: Path) -> None:
    """Write ``statistics.{csv,html}``, the paired comparison of CSR-D with each other method."""
    table = compare(rows, methods)
    write_csv(table, out / "statistics.csv")
    body = statistics_html(table, power(rows, methods))
    write_text(out / "statistics.html", page("Paired comparison", body))


def coverage_tables(rows: pd.DataFrame, out: Path) -> None:
    """Write ``coverage.{csv,html}`` from the merged rows of `csrd.stages.evaluate.coverage`."""
    table = coverage_table(rows)
    write_csv(table, out / "coverage.csv")
    write_text(out / "coverage.html", page("Coverage", coverage_html(table)))


def lesions_tables(rows: pd.DataFrame, false: pd.DataFrame, out: Path) -> None:
    """Write ``lesions.{csv,html}`` and ``false_spots.csv`` from the merged rows of `csrd.stages.lesions`."""
    by = ["method", "drf"]
    write_csv(recoveries(rows, by), out / "lesions.csv")
    write_csv(false_counts(false, by), out / "false_spots.csv")
    write_text(out / "lesions.html", page("Lesions", lesions_html(rows, false)))


def regions_tables(rows: pd.DataFrame, out: Path) -> None:
    """Write ``regions.{csv,html}`` from the merged rows of `csrd.stages.regions.regions`."""
    table = regions_table(rows)
    write_csv(table, out / "regions.csv")
    write_text(out / "regions.html", page("Uptake by region", regions_html(table)))


def markdown(table: pd.DataFrame, note: str, units: Mapping[str, str]) -> str:
    """Return the table as Markdown, the caption above it."""
    more = further(table)
    heads = ["Method", *(" ".join(header(key, units)) for key in metrics_in(table)), *more, "n"]
    lines = [note, "", _row(heads), _row([":--", *["--:"] * (len(heads) - 1)])]
    texts, bold = cells(table), best(table)
    for i, method in enumerate(table["method"]):
        row = [f"**{text}**" if mark else text for text, mark in zip(texts.loc[i], bold.loc[i], strict=True)]
        name = f"*{label_of(method)}*" if is_control(method) else label_of(method)
        lines.append(_row([name, *row, *more.loc[i], str(table["n"][i])]))
    return "\n".join(lines) + "\n"


def latex(table: pd.DataFrame, note: str, units: Mapping[str, str], label: str = "denoising") -> str:
    """Return the table as LaTeX for the booktabs package, narrow enough for an article's page."""
    heads = [header(key, units) for key in metrics_in(table)]
    names = [name.partition(" (")[0] + f" {arrow}" for name, arrow in heads]
    units_below = [bracket and f"({bracket}" for _, _, bracket in (name.partition(" (") for name, _ in heads)]
    texts, bold = cells(table), best(table)
    body, controlled = [], False
    for i, method in enumerate(table["method"]):
        if is_control(method) and not controlled:
            controlled = True
            body.append(r"\midrule")
        row = [_tex(text) for text in texts.loc[i]]
        row = [
            rf"\boldmath\textbf{{{text}}}" if mark else text
            for text, mark in zip(row, bold.loc[i], strict=True)
        ]
        body.append(" & ".join([_tex(label_of(method)), *row, str(table["n"][i])]) + r" \\")
    return "\n".join(
        [
            r"% \usepackage{booktabs}",
            r"\begin{table}[htbp]",
            r"  \centering",
            rf"  \caption{{{_tex(note)}}}",
            rf"  \label{{tab:{label}}}",
            r"  \scriptsize",
            r"  \setlength{\tabcolsep}{1.5pt}",
            rf"  \begin{{tabular}}{{@{{}}l{'r' * len(heads)}r@{{}}}}",
            r"    \toprule",
            "    " + " & ".join(["Method", *map(_tex, names), "$n$"]) + r" \\",
            "    " + " & ".join(["", *map(_tex, units_below), ""]) + r" \\",
            r"    \midrule",
            *("    " + line for line in body),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def html_table(
    table: pd.DataFrame, note: str, units: Mapping[str, str], train_drfs: Sequence[int] | None = None
) -> str:
    """Return the table as an HTML fragment; one with a column ``drf`` gets a body per dose, best cells each.

    Doses that are not in `train_drfs` are marked as unseen.
    """
    groups = []
    for drf, part in table.groupby("drf") if "drf" in table else [(None, table)]:
        part = part.reset_index(drop=True)
        texts, bold, more = cells(part), best(part), further(part)
        rows = [
            (
                label_of(method),
                [*zip(texts.loc[i], bold.loc[i], strict=True), *((text, False) for text in more.loc[i])],
                int(part["n"][i]),
                is_control(method),
            )
            for i, method in enumerate(part["method"])
        ]
        unseen = drf is not None and train_drfs is not None and drf not in train_drfs
        groups.append({"drf": drf, "unseen": unseen, "rows": rows})
    heads = [header(key, units) for key in metrics_in(table)]
    heads += [tuple(name.rsplit(" ", 1)) for name in further(table)]
    return fragment("table.html", groups=groups, heads=heads, caption=note)


def paper_table() -> str:
    """Return the paper's own Table 1 as an HTML fragment."""
    printed = paper.paper_table1()
    decimals = {"mae": 3, "psnr": 2, "ssim": 2, "h_dist": 2, "p_dist": 2}
    rows = []
    for _, line in printed.iterrows():
        texts = [
            f"{line[f'{key}_mean']:.{d}f} ± {line[f'{key}_std']:.{max(d, 2)}f}" for key, d in decimals.items()
        ]
        rows.append((label_of(line["method"]), [(text, line["method"] == "csrd") for text in texts]))
    return fragment("paper.html", rows=rows)


def _row(fields: list[str]) -> str:
    return "| " + " | ".join(fields) + " |"


def _tex(text: str) -> str:
    return "".join(LATEX_ESCAPES.get(character, character) for character in text)

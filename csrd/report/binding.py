"""BP_ND of the dynamic virtual cohort: bias and spread by region, method and dose."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from csrd.report.curves import COLOURS, INK, SOFT, panels_of
from csrd.report.html import Cell, fragment, page, picture, plain_table

LABELS = {
    "lowdose": "As reconstructed",
    "gaussian": "Gaussian",
    "hypr": "HYPR",
    "csrd": "CSR-D, each frame",
    "csrdhypr": "CSR-D of the mean, HYPR",
}
"""Rows of the table, in their order."""
MODEL_LABELS = {"mrtm2": "MRTM2", "logan": "Logan's plot", "srtm": "SRTM"}
"""The first that was fitted is that of figure and tables by region: SRTM is not determined in every scan."""
STYLES = {
    "lowdose": (COLOURS["lowdose"], "o"),
    "gaussian": ("#e69f00", "s"),
    "hypr": ("#009e73", "D"),
    "csrd": (COLOURS["csrd"], "o"),
    "csrdhypr": ("#d55e00", "^"),
}
SHOWN = ("putamen", "thalamus", "raphe", "frontal")
"""Regions whose curves are drawn."""
MOST_SPREAD = 60.0  # in percent, of the figure's axis
AGAINST = {"put_in": "bias", "resolved": "bias_resolved", "normal": "bias_normal"}
KEYS = ["model", "drf", "method", "region"]


class Tables(NamedTuple):
    """Bias and spread of each region, and of all regions together (`by_region`)."""

    regions: pd.DataFrame
    pooled: pd.DataFrame


def by_region(rows: pd.DataFrame) -> Tables:
    """Return ``model, drf, method, region, scans, undetermined, bp, put_in, bias…, sd``, and pooled rows.

    `rows` are those of `csrd.stages.binding.measure`. Biases are means over scans of BP_ND over a value,
    minus 1: `bias` over what was put in, `bias_resolved` over the noise-free curves at the images'
    resolution, `bias_normal` over the mean of the subject's normal doses as reconstructed. `sd` is the
    standard deviation between repeated scans of a subject, relative to what was put in, pooled over subjects.
    Scans in which BP_ND is not determined are counted and left out. Pooled: means over regions of sizes of
    biases and of sd, and `rms`, the root mean square of single scans' relative errors over all regions.
    """
    normal = rows[(rows["drf"] == 1) & (rows["method"] == "lowdose")]
    normal = normal.groupby(["subject", "model", "region"])["bp"].mean().rename("normal").reset_index()
    rows = rows.merge(normal, on=["subject", "model", "region"], how="left")
    for target, name in AGAINST.items():
        rows[name] = rows["bp"] / rows[target] - 1
    groups = rows.groupby(KEYS, sort=False)
    table = groups.agg(
        voxels=("voxels", "mean"),
        scans=("bp", "count"),
        undetermined=("bp", lambda values: int(values.isna().sum())),
        passed=("passed", "mean"),
        bp=("bp", "mean"),
        put_in=("put_in", "mean"),
        **{name: (name, "mean") for name in AGAINST.values()},
    )
    variances = rows.groupby([*KEYS, "subject"], sort=False)["bias"].var(ddof=1)
    table["sd"] = np.sqrt(variances.groupby(KEYS, sort=False).mean())
    table["rms"] = np.sqrt((rows.assign(square=rows["bias"] ** 2).groupby(KEYS, sort=False)["square"]).mean())
    table = table.reset_index()
    sizes = table.assign(**{name: table[name].abs() for name in AGAINST.values()}, square=table["rms"] ** 2)
    pooled = sizes.groupby(KEYS[:3], sort=False).agg(
        scans=("scans", "sum"),
        undetermined=("undetermined", "sum"),
        passed=("passed", "mean"),
        **{name: (name, "mean") for name in AGAINST.values()},
        sd=("sd", "mean"),
        rms=("square", "mean"),
    )
    pooled["rms"] = np.sqrt(pooled["rms"])
    return Tables(table, pooled.reset_index())


def models_of(table: pd.DataFrame) -> list[str]:
    """Return the models in a table, the one of figure and tables by region first."""
    return [model for model in MODEL_LABELS if model in set(table["model"])]


def bp_figure(path: str | Path, table: pd.DataFrame) -> None:
    """Write a PNG: spread against bias over what was put in, a panel a dose, a point a region and method."""
    table = table[table["model"] == models_of(table)[0]]
    drfs = sorted(table["drf"].unique())
    largest = min(110 * float(np.nanquantile(table["sd"], 0.98)), MOST_SPREAD)
    with panels_of(path, len(drfs), columns=len(drfs)) as (figure, cells):
        for cell, drf in zip(cells, drfs, strict=False):
            for method, (colour, marker) in STYLES.items():
                part = table[(table["drf"] == drf) & (table["method"] == method)]
                cell.scatter(100 * part["bias"], 100 * part["sd"], s=22, alpha=0.8, color=colour,
                             marker=marker, label=LABELS[method])  # fmt: skip
            cell.axvline(0, color=SOFT, linewidth=0.8, zorder=0)
            cell.set_title(f"1/{drf} of the dose", fontsize=11)
            cell.set_xlabel("bias of BP$_{ND}$ (%)", fontsize=10)
            cell.set_xlim(-100, 100)
            cell.set_ylim(0, largest)
        cells[0].set_ylabel("standard deviation (%)", fontsize=10)
        handles, labels = cells[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=10)


def curves_figure(path: str | Path, lines: pd.DataFrame) -> None:
    """Write a PNG of one scan's curves at the lowest dose: a panel a region, noise-free ones dashed."""
    drf, subject = lines["drf"].max(), lines["subject"].iloc[0]
    lines = lines[lines["subject"] == subject]
    regions = [name for name in SHOWN if name in set(lines["region"])]
    with panels_of(path, len(regions), columns=2) as (figure, cells):
        for cell, name in zip(cells, regions, strict=False):
            of_region = lines[lines["region"] == name]
            for key, style, label in (("truth", ":", "as put in"), ("resolved", "--", "at the resolution")):
                part = of_region[of_region["method"] == key]
                middle = (part["start"] + part["end"]) / 120
                cell.plot(middle, part["value"], color=INK, linestyle=style, linewidth=1.2, label=label)
            for method in ("lowdose", "csrd", "csrdhypr"):
                part = of_region[
                    (of_region["method"] == method) & (of_region["drf"] == drf) & (of_region["draw"] == 1)
                ]
                colour, marker = STYLES[method]
                middle = (part["start"] + part["end"]) / 120
                cell.plot(middle, part["value"], color=colour, marker=marker, markersize=4, linewidth=1,
                          label=LABELS[method])  # fmt: skip
            cell.set_title(name.replace("_", " "), fontsize=11)
            cell.set_xlabel("minutes", fontsize=10)
            cell.set_ylabel("kBq/mL", fontsize=10)
        handles, labels = cells[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=10)


def pooled_html(pooled: pd.DataFrame, model: str) -> str:
    """Return all regions together as a fragment of HTML: a row a dose and method."""
    shown = pooled[pooled["model"] == model].set_index(["drf", "method"])
    heads = ["Bias, put in", "Bias, at the resolution", "Bias, normal dose", "Spread", "Error of one scan",
             "Not determined", "Frames not denoised"]  # fmt: skip
    rows = []
    for drf in sorted(shown.index.get_level_values("drf").unique()):
        for method, label in LABELS.items():
            row = shown.loc[drf, method]
            texts = [f"{100 * row[key]:.1f}" for key in (*AGAINST.values(), "sd", "rms")]
            texts += [f"{row['undetermined']:.0f}", f"{row['passed']:.1f}"]
            rows.append((f"1/{drf} {label}", [Cell(text) for text in texts]))
    note = (
        f"BP_ND by {MODEL_LABELS[model]}, all regions together, in percent: mean sizes of regions' biases "
        "against what was put in, against noise-free curves at the images' resolution, and against the "
        "normal dose as reconstructed; the mean standard deviation between repeated scans; the root mean "
        "square error of one region of one scan; the number of regions and scans in which BP_ND is not "
        "determined; the mean number of frames that CSR-D left as they are, because they have too few counts."
    )
    return plain_table("Dose and method", heads, rows, note)


def regions_html(table: pd.DataFrame, model: str, drf: int) -> str:
    """Return bias ± spread by region at a dose as a fragment of HTML, the other biases below."""
    shown = table[(table["model"] == model) & (table["drf"] == drf)].set_index(["region", "method"])
    rows = []
    for region in shown.index.get_level_values("region").unique():
        put_in = shown.loc[(region, "lowdose"), "put_in"]
        cells = [_cell(shown.loc[(region, method)]) for method in LABELS]
        rows.append((region.replace("_", " "), [Cell(f"{put_in:.2f}"), *cells]))
    note = (
        f"BP_ND by {MODEL_LABELS[model]} at 1/{drf} of the dose: bias against what was put in ± "
        "standard deviation between repeated scans of a subject, in percent; below, the bias against "
        "noise-free curves at the images' resolution, and against the normal dose as reconstructed."
    )
    return plain_table("Region", ["Put in", *LABELS.values()], rows, note)


def binding_page(
    found: Tables, strengths: Mapping, figure: str | Path, curves: str | Path, title: str
) -> str:
    """Return the page of the dynamic cohort, which needs no other file."""
    drfs = sorted(found.regions["drf"].unique())
    chosen = [
        (LABELS[key], ", ".join(f"{by_dose[drf]:g} mm at 1/{drf}" for drf in sorted(by_dose, key=int)))
        for key, by_dose in strengths["FWHM_mm"].items()
    ]
    models = models_of(found.regions)
    body = fragment(
        "binding.html",
        title=title,
        model=MODEL_LABELS[models[0]],
        pooled=[pooled_html(found.pooled, model) for model in models],
        regions=[regions_html(found.regions, models[0], drf) for drf in reversed(drfs)],
        figure=picture(figure),
        curves=picture(curves),
        chosen=chosen,
    )
    return page(title, body)


def _cell(row: pd.Series) -> Cell:
    text = f"{100 * row['bias']:+.0f} ± {100 * row['sd']:.0f}"
    below = f"{100 * row['bias_resolved']:+.0f}, {100 * row['bias_normal']:+.0f}"
    return Cell(text.replace("-", "−"), below.replace("-", "−"))

import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from pylatexenc.latexwalker import LatexEnvironmentNode, LatexWalker

from csrd.errors import InputError
from csrd.methods import in_row_order, is_control, keys
from csrd.report import paper
from csrd.report.table import (
    Scope,
    best,
    caption,
    cells,
    metrics_in,
    table1,
    table1_by_dose,
    table_by_dose,
    units_of,
    whole_table,
)
from csrd.report.writers import html_table, latex, markdown, tables

SUBJECTS, DRFS = ["sub-07", "sub-08"], [4, 10]


@pytest.fixture
def metrics() -> pd.DataFrame:
    """Two test subjects and a training one (whose wild values must not count) at two doses, three methods."""
    rows = []
    for method, base in (("tv", 1.0), ("csrd", 0.5), ("lowdose", 2.0)):
        for i, subject in enumerate(["sub-01", *SUBJECTS]):
            for drf in DRFS:
                mae = 99.0 if subject == "sub-01" else base + 0.1 * i + 0.02 * drf
                rows.append((subject, drf, method, mae, 30 - 10 * np.log10(mae), 0.9 - 0.01 * base))
    return pd.DataFrame(rows, columns=["subject", "drf", "method", "mae", "psnr", "ssim"])


@pytest.fixture
def table(metrics) -> pd.DataFrame:
    return table1(metrics, ["tv", "csrd", "lowdose"], SUBJECTS)


def test_rows_stand_in_the_papers_order_and_columns_in_the_contracts(table):
    assert list(table["method"]) == ["lowdose", "tv", "csrd"]
    assert list(table) == [
        "method",
        "mae_mean",
        "mae_std",
        "psnr_mean",
        "psnr_std",
        "ssim_mean",
        "ssim_std",
        "n",
    ]


def test_mean_and_deviation_by_hand(table):
    # low dose: 2 + {0.1, 0.2} + {0.08, 0.2} = 2.18, 2.30, 2.28, 2.40
    row = table[table["method"] == "lowdose"].iloc[0]
    assert row["n"] == 4
    assert row["mae_mean"] == pytest.approx(2.29)
    assert row["mae_std"] == pytest.approx(np.sqrt((0.11**2 + 0.01**2 + 0.01**2 + 0.11**2) / 3))


def test_by_dose(metrics):
    split = table1_by_dose(metrics, ["lowdose", "tv", "csrd"], SUBJECTS)
    assert list(zip(split["drf"], split["method"], strict=True)) == [
        (d, m) for d in DRFS for m in ("lowdose", "tv", "csrd")
    ]
    assert split["mae_mean"][0] == pytest.approx(2.23) and (split["n"] == 2).all()


def test_columns_follow_the_metrics_there_are(metrics):
    table = table1(metrics.drop(columns="ssim"), ["tv"], SUBJECTS)
    assert list(table) == ["method", "mae_mean", "mae_std", "psnr_mean", "psnr_std", "n"]


def test_the_best_cell_is_the_lowest_error_and_the_highest_similarity(table):
    marks = best(table)
    assert marks["mae"].tolist() == marks["psnr"].tolist() == marks["ssim"].tolist() == [False, False, True]


def test_equal_as_printed_is_equally_best(table):
    table.loc[1, "mae_mean"] = table.loc[2, "mae_mean"] + 1e-5
    assert best(table)["mae"].tolist() == [False, True, True]


def test_cells_as_the_paper_prints_them(table):
    assert cells(table)["mae"][0] == "2.290 ± 0.090"
    table.loc[0, "psnr_mean"], table.loc[0, "psnr_std"] = np.inf, np.nan
    table.loc[1, "mae_std"] = np.nan
    assert cells(table)["psnr"][0] == "∞" and cells(table)["mae"][1] == "1.290"


def test_what_is_missing_is_told(metrics):
    with pytest.raises(InputError, match="no row of method unet"):
        table1(metrics, ["tv", "unet"], SUBJECTS)
    with pytest.raises(InputError, match="no row of subject sub-99"):
        table1(metrics, ["tv"], ["sub-07", "sub-99"])


def test_the_caption_says_what_must_be_known():
    text = caption(Scope([], SUBJECTS, [4, 6, 8, 10], [4, 6, 8], simulated=True))
    for part in (
        "2 virtual test subjects",
        "4, 6, 8 and 10 ×",
        "n = 8",
        "No method saw an image at 10 ×",
        "Scatter",
    ):
        assert part in text
    assert "Scatter" not in caption(Scope([], SUBJECTS, [4], [4], simulated=True, scatter=True))
    assert "low dose's maximum" in caption(Scope([], SUBJECTS, [4], [4], protocol="released"))
    real = caption(Scope([], ["a"], [4], [4]))
    assert "Scatter" not in real and "virtual" not in real and "No method" not in real


def test_markdown(table):
    lines = markdown(table, "Note.", {}).splitlines()
    assert lines[0] == "Note."
    assert lines[2] == "| Method | MAE (kBq/mL) ↓ | PSNR (dB) ↑ | SSIM ↑ | n |"
    assert lines[4].startswith("| Low-Dose | 2.290 ± 0.090 |")
    assert "| CSRD w MR | **0.790 ± 0.090** |" in lines[6]
    assert "MAE (SUV) ↓" in markdown(table, "Note.", {"mae": "SUV"})


def test_latex_compiles_and_fits_the_page(metrics, tmp_path):
    """By a TeX engine where there is one, else by a parser that knows macros and environments."""
    wide = metrics.assign(h_dist=22.53, p_dist=192.88, psnr=metrics["psnr"] * 1.001, mae=metrics["mae"] / 7)
    whole = table1(wide, ["lowdose", "tv", "csrd"], SUBJECTS).assign(method=["csrd", "csrdnomr", "unet"])
    note = caption(Scope([], SUBJECTS, DRFS, [4], simulated=True))
    text = latex(whole, note, units_of(in_suv=True, vgg="vgg16"))
    document = "\n".join([r"\documentclass{article}", r"\usepackage{booktabs}", r"\begin{document}"])
    document += f"\n{text}\n\\end{{document}}\n"
    if engine := shutil.which("pdflatex"):
        (tmp_path / "t.tex").write_text(document)
        arguments = "-interaction=nonstopmode", "-halt-on-error", "t.tex"
        done = subprocess.run([engine, *arguments], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        assert done.returncode == 0, done.stdout[-2000:]
        assert "Overfull" not in done.stdout and (tmp_path / "t.pdf").stat().st_size > 1000
    walker = LatexWalker(document, tolerant_parsing=False)
    *_, body = [node for node in walker.get_latex_nodes()[0] if node.isNodeType(LatexEnvironmentNode)]
    (outer,) = [node for node in body.nodelist if node.isNodeType(LatexEnvironmentNode)]
    (inner,) = [node for node in outer.nodelist if node.isNodeType(LatexEnvironmentNode)]
    lines = inner.latex_verbatim().split(r"\\")[:-1]
    assert {line.replace(r"\&", "").count("&") for line in lines} == {len(metrics_in(whole)) + 1}


def test_latex_is_booktabs(table):
    text = latex(table, "100 % of it × 4.", {})
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert text.count(rule) == 1
    assert r"CSRD w MR & \boldmath\textbf{0.790 $\pm$ 0.090}" in text
    assert r"\caption{100 \% of it $\times$ 4.}" in text
    assert text.isascii() and text.count(r"\\") == 5 and r"\hline" not in text


def test_html_marks_the_best_and_the_unseen_dose(metrics, table):
    whole = html_table(table, "a < b", {})
    assert whole.count('class="best"') == 3 and "a &lt; b" in whole
    split = html_table(table1_by_dose(metrics, ["lowdose", "tv"], SUBJECTS), "", {}, [4, 6, 8])
    assert split.count("unseen in fitting") == 1 and split.index("1/10 of the dose") < split.index("unseen")


def test_all_files_from_one_frame(metrics, tmp_path):
    scope = Scope(["lowdose", "tv", "csrd"], SUBJECTS, DRFS, [4], simulated=True)
    tables(metrics, scope, tmp_path / "tables")
    names = {path.name for path in (tmp_path / "tables").iterdir()}
    assert names == {f"table1.{s}" for s in ("csv", "md", "tex", "html")} | {
        "table1_by_dose.csv",
        "table1_by_dose.html",
    }
    assert pd.read_csv(tmp_path / "tables" / "table1.csv")["mae_mean"][0] == pytest.approx(2.29)


def test_the_papers_table():
    table = paper.paper_table1().set_index("method")
    assert table.loc["csrd", "psnr_mean"] == 41.11 and table.loc["tv", "h_dist_std"] == 8.59
    assert list(table.index) == list(paper.ROWS) == [
        key for key in keys() if not is_control(key) and key != "unet3d"
    ] and table.shape == (6, 10)
    assert in_row_order(["mine", "csrd", "lowdose"]) == ["lowdose", "csrd", "mine"]


def test_the_whole_table_has_the_contracts_columns_and_names_the_network(metrics):
    for key in ("lpips", "nrmse", "p_dist", "h_dist"):
        metrics.insert(3, key, 0.25)
    table = table1(metrics, ["tv", "csrd", "lowdose"], SUBJECTS)
    pairs = [
        f"{key}_{part}" for key in ("mae", "psnr", "ssim", "h_dist", "p_dist") for part in ("mean", "std")
    ]
    assert list(table) == ["method", *pairs, "n"]
    heads = markdown(table, "Note.", units_of(in_suv=True, vgg="vgg16")).splitlines()[2]
    assert heads == ("| Method | MAE (SUV) ↓ | PSNR (dB) ↑ | SSIM ↑ | H_dist ↓ | P_dist (VGG-16) ↓ | n |")
    assert units_of(in_suv=False, vgg="vgg19") == {"mae": "kBq/mL", "p_dist": "VGG-19"}


@pytest.fixture
def controlled(metrics) -> pd.DataFrame:
    """The metrics with control rows: the oracle 3 dB and TV 1.5 dB above the low dose."""
    low = metrics[metrics["method"] == "lowdose"]
    rows = [low.assign(method="oracle", psnr=low["psnr"] + 3, mae=0.01)]
    rows += [low.assign(method="painted", psnr=low["psnr"] - 1), low.assign(method="mronly", ssim=0.99)]
    tv = low.assign(method="tv", psnr=low["psnr"] + 1.5)
    return pd.concat([low, tv, metrics[metrics["method"] == "csrd"], *rows])


SCOPE = Scope(["lowdose", "tv", "csrd"], SUBJECTS, DRFS, [4], controls=["mronly", "oracle", "painted"])


def test_control_rows_are_last_and_never_bold(controlled):
    table = whole_table(controlled, SCOPE)
    assert list(table["method"]) == ["lowdose", "tv", "csrd", "oracle", "painted", "mronly"]
    marks = best(table)
    assert not marks[3:].to_numpy().any() and marks.any(axis=0).all()
    assert table["oracle_share"].tolist()[:2] == pytest.approx([0, 0.5]) and table["oracle_share"][3] == 1
    assert list(SCOPE.of(controlled)["method"].unique()) == ["lowdose", "tv", "csrd"]
    split = table_by_dose(controlled, SCOPE)
    of_tv = split[split["method"] == "tv"]
    assert of_tv["oracle_share"].tolist() == pytest.approx([0.5, 0.5]) and list(of_tv["drf"]) == DRFS


def test_control_rows_are_set_apart_in_every_format(controlled):
    table, note = whole_table(controlled, SCOPE), caption(SCOPE)
    text = markdown(table, note, {})
    assert "| *Oracle* | 0.010 |" in text.replace(" ± 0.000", "") and "| 50 % |" in text
    assert "controls, not methods" in note and "MR alone: CSR-D" in note
    assert "controls" not in caption(Scope([], SUBJECTS, DRFS, [4]))
    assert html_table(table, note, {}).count('<tr class="control">') == 3
    lines = latex(table, note, {}).splitlines()
    rules = [i for i, line in enumerate(lines) if "midrule" in line]
    assert len(rules) == 2 and lines[rules[1] + 1].strip().startswith("Oracle")

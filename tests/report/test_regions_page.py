import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from csrd.metrics.regions import REGION_KEYS
from csrd.report.noise import noise_figure, noise_page
from csrd.report.regions import bland_altman, regions_html, regions_table
from csrd.report.table import Scope
from csrd.report.writers import regions_tables, tables


@pytest.fixture
def rows() -> pd.DataFrame:
    """Two subjects; TV is 10 and 30 % too low."""
    found = []
    for i, subject in enumerate(("sub-07", "sub-08")):
        for method, drf, bias in (("normal", 1, 0.0), ("tv", 10, -0.1 - 0.2 * i)):
            for target in ("normal", "truth"):
                if method == target:
                    continue
                value = (1 + bias) * 10, (1 + bias) * 20, 10.0, 20.0
                found.append((subject, drf, method, target, "white_matter", 50, *value))
    columns = ["voxels", "mean", "max", "target_mean", "target_max"]
    return pd.DataFrame(found, columns=[*REGION_KEYS, *columns])


def test_bias_by_hand(rows):
    table = regions_table(rows).set_index(["method", "target", "region"])
    row = table.loc["tv", "truth", "white_matter"]
    assert (row["n"], row["bias"], row["max_bias"]) == pytest.approx((2, -0.2, -0.2))
    assert row["bias_sd"] == pytest.approx(0.2 / np.sqrt(2))


def test_the_tables_for_readers(rows, tmp_path):
    text = regions_html(regions_table(rows))
    assert text.index(">Normal dose<") < text.index(">TV<")
    assert ">white matter<" in text and "−20.0 ± 14.1<small>max −20</small>" in text
    regions_tables(rows, tmp_path / "tables")
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {"regions.csv", "regions.html"}


def test_agreement_is_drawn(rows, tmp_path):
    bland_altman(tmp_path / "b.png", rows)
    picture = imread(tmp_path / "b.png")
    orange = np.nonzero(picture[..., 0] - picture[..., 2] > 0.3)[0]
    assert orange.size and orange.min() > picture.shape[0] / 2, "TV's points lie below zero"


def test_table_1_against_the_truth_says_so(tmp_path):
    frame = pd.DataFrame(
        [("sub-07", drf, m, 1.0, 30.0) for drf in (4, 10) for m in ("lowdose", "tv")],
        columns=["subject", "drf", "method", "mae", "psnr"],
    )
    scope = Scope(["lowdose", "tv"], ["sub-07"], [4, 10], [4], simulated=True, target="truth")
    tables(frame, scope, tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {f"table1_truth.{kind}" for kind in ("csv", "md", "tex", "html")} | {
        "table1_truth_by_dose.csv",
        "table1_truth_by_dose.html",
    }
    text = (tmp_path / "out" / "table1_truth.md").read_text()
    assert "Compared with the noise-free truth" in text and "resolution of the normal dose" in text
    assert r"\label{tab:table1_truth}" in (tmp_path / "out" / "table1_truth.tex").read_text()


def test_bias_and_deviation_are_shown(tmp_path):
    frame = pd.DataFrame(
        [
            ("sub-07", 10, method, "white_matter", 50, 5, 10.0, bias, 0.3, 1.2, 2.0)
            for method, bias in (("tv", -1.0), ("csrd", 0.2))
        ],
        columns=[
            "subject",
            "drf",
            "method",
            "region",
            "voxels",
            "draws",
            "truth",
            "bias",
            "sd",
            "voxel_bias",
            "voxel_sd",
        ],
    )
    noise_figure(tmp_path / "noise.png", frame)
    facts = {"subject": "sub-07", "drf": 10, "draws": 5}
    text = noise_page(frame, tmp_path / "noise.png", **facts)
    assert "−10.0 ± 3.0<small>voxels 12 ± 20</small>" in text and "+2.0 ± 3.0" in text
    assert "over 5 thinnings" in text and "sub-07, 1/10 of the dose" in text
    assert not re.search(r'src="(?!data:)', text)

"""Recovery of spots and false spots as columns, tables and sentences."""

import numpy as np
import pandas as pd
import pytest

from csrd.metrics.lesions import SPOT_KEYS
from csrd.report.lesions import false_counts, lesions_html, recoveries, sentences, with_lesions
from csrd.report.writers import lesions_tables


@pytest.fixture
def rows() -> pd.DataFrame:
    """Two subjects with two hot and one cold lesion and a small spot; CSR-D loses more at 1/10."""
    found = []
    for i, subject in enumerate(("sub-07", "sub-08")):
        for method, drf, share in (("normal", 1, 1.0), ("lowdose", 4, 1.0), ("lowdose", 10, 0.8),
                                   ("csrd", 4, 0.4), ("csrd", 10, 0.2)):  # fmt: skip
            facts = (("spot 1", "hot", "lesion"), ("spot 2", "hot", "lesion"), ("spot 3", "cold", "lesion"),
                     ("spot 4", "hot", "small"))  # fmt: skip
            for n, (spot, kind, size) in enumerate(facts):
                found.append((subject, drf, method, spot, kind, size, share + 0.1 * (i == n)))
    return pd.DataFrame(found, columns=[*SPOT_KEYS, "kind", "size", "recovery"])


@pytest.fixture
def false() -> pd.DataFrame:
    counts = {("normal", 1): 4, ("lowdose", 4): 10, ("lowdose", 10): 20, ("csrd", 4): 3, ("csrd", 10): 4}
    found = [(s, drf, m, n + i) for i, s in enumerate(("sub-07", "sub-08")) for (m, drf), n in counts.items()]
    return pd.DataFrame(found, columns=["subject", "drf", "method", "false_spots"])


def test_means_over_spots_have_their_standard_error(rows):
    by_dose = recoveries(rows, ["method", "drf"]).set_index(["method", "drf", "size", "kind"])
    row = by_dose.loc["csrd", 10, "lesion", "hot"]  # 0.3, 0.2, 0.2, 0.3
    assert row["n"] == 4 and row["recovery"] == pytest.approx(0.25)
    assert row["error"] == pytest.approx(np.std([0.3, 0.2, 0.2, 0.3], ddof=1) / 2)
    every = recoveries(rows).set_index(["method", "size", "kind"])
    assert every.loc["csrd", "lesion", "hot"]["n"] == 4, "with all doses a spot counts once"
    assert every.loc["csrd", "lesion", "hot"]["recovery"] == pytest.approx(0.35)


def test_false_spots_are_a_mean_over_images(false):
    counts = false_counts(false).set_index("method")
    assert counts.loc["lowdose"].tolist() == [4, 15.5] and counts.loc["normal"].tolist() == [2, 4.5]


def test_table_1_gets_the_columns_and_the_normal_dose(rows, false):
    table = pd.DataFrame(
        {"method": ["lowdose", "csrd", "oracle"], "psnr_mean": [20.0, 30, 31], "n": [4, 4, 4]}
    )
    joined = with_lesions(table, rows, false).set_index("method")
    assert list(joined.index) == ["lowdose", "csrd", "normal", "oracle"]
    assert joined.loc["csrd", "hot_recovery"] == pytest.approx(0.35)
    assert joined["false_spots"].tolist()[:3] == [15.5, 4.0, 4.5] and np.isnan(
        joined.loc["oracle", "false_spots"]
    )
    assert np.isnan(joined.loc["normal", "psnr_mean"]) and joined.loc["normal", "n"] == 2
    split = pd.DataFrame({"drf": [4, 10], "method": ["csrd"] * 2, "psnr_mean": [31.0, 29.0], "n": [2, 2]})
    of_dose = with_lesions(split, rows, false)
    assert of_dose["hot_recovery"].tolist() == pytest.approx([0.45, 0.25])
    assert of_dose["false_spots"].tolist() == [3.5, 4.5]


def test_the_readers_tables(rows, false, tmp_path):
    text = lesions_html(rows, false)
    assert ">hot, 1/10<" in text and "0.25 ± 0.03" in text and ">hot, 2 to 4 mm<" in text
    assert text.index(">CSRD w MR<") < text.index(">Normal dose<") and "4 spots of each kind" in text
    lesions_tables(rows, false, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"lesions.csv", "lesions.html", "false_spots.csv"}


def test_the_summary_says_what_is_left(rows, false):
    assert sentences(rows, false) == [
        "Of the contrast of hot lesions there are left, at 1/4 and 1/10 of the dose, "
        "1.05 ± 0.03 and 0.85 ± 0.03 in the low dose; 0.45 ± 0.03 and 0.25 ± 0.03 in the image of CSRD w "
        "MR.",
        "False spots in an image: 15.5 in the low dose, 4.0 in the image of CSRD w MR, 4.5 in the normal "
        "dose.",
    ]

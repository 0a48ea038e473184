import itertools

import numpy as np
import pandas as pd
import pytest

from csrd.report.statistics import Power, compare, holm, signed_rank, statistics_html, subject_means


def frame(subjects: int, methods=("tv", "csrd", "lowdose"), drfs=(4, 10)) -> pd.DataFrame:
    """CSR-D's MAE is below TV's on each subject, below the low dose's on all but the last."""
    rows = []
    for i, drf, method in itertools.product(range(subjects), drfs, methods):
        mae = {"tv": 2.0, "csrd": 1.0 + 0.01 * i, "lowdose": 3.0 if i < subjects - 1 else 0.5}[method]
        rows.append((f"sub-{i:02}", drf, method, mae + 0.1 * drf, 30 - mae))
    return pd.DataFrame(rows, columns=["subject", "drf", "method", "mae", "psnr"])


def test_doses_are_no_subjects():
    means = subject_means(frame(3))
    assert len(means) == 9 and means.loc[("tv", "sub-00"), "mae"] == pytest.approx(2.7)
    assert (compare(frame(3, drfs=(4, 6, 8, 10)), ["csrd", "tv"])["n"] == 3).all()
    # the p value of 3 subjects, however many doses each was imaged at
    assert compare(frame(3, drfs=(4, 6, 8, 10)), ["csrd", "tv"])["p"].tolist() == [0.25, 0.25]


def test_differences_and_wins():
    table = compare(frame(4), ["lowdose", "tv", "csrd"]).set_index(["metric", "method"])
    row = table.loc[("mae", "tv")]
    assert row["difference"] == pytest.approx(-0.985) and row["better"] == 4
    assert table.loc[("psnr", "tv"), "difference"] == pytest.approx(0.985)
    assert table.loc[("psnr", "lowdose"), "better"] == 3
    assert list(table.index) == list(itertools.product(["mae", "psnr"], ["lowdose", "tv"]))


def test_the_signed_rank_test_is_exact():
    """Against every assignment of signs to the ranks."""
    difference = np.array([0.5, -0.1, 1.2, 0.7, -0.3, 2.0, 0.9])
    ranks = np.argsort(np.argsort(np.abs(difference))) + 1
    seen = min(ranks[difference > 0].sum(), ranks[difference < 0].sum())
    signs = np.array(list(itertools.product([0, 1], repeat=7)))
    sums = signs @ ranks
    assert signed_rank(difference) == pytest.approx(2 * np.mean(sums <= seen))
    assert signed_rank(np.zeros(5)) == 1 and np.isnan(signed_rank(np.array([1.0, np.inf])))


@pytest.mark.parametrize(
    ("subjects", "comparisons", "smallest", "exists"),
    [(2, 1, 0.5, False), (5, 1, 0.0625, False), (6, 1, 0.03125, True), (6, 5, 0.03125, False)],
)
def test_power(subjects, comparisons, smallest, exists):
    power = Power(subjects, comparisons)
    assert power.smallest_p == smallest and power.exists is exists
    assert ("no power" in power.sentence()) is not exists and f"n = {subjects} test" in power.sentence()
    best = compare(frame(subjects), ["tv", "csrd"])
    assert best["p"].min() == pytest.approx(smallest), "what is called possible is what the test gives"


def test_holm():
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.5, 0.9])).tolist() == [1.0, 1.0]
    assert holm(np.array([np.nan, 0.01]))[1] == pytest.approx(0.02)


def test_holm_stands_within_a_metric():
    table = compare(frame(9), ["lowdose", "tv", "csrd"]).set_index(["metric", "method"])
    assert table.loc[("mae", "tv"), "p_holm"] == pytest.approx(2 * 2 / 2**9)


def test_the_table_says_what_it_cannot_show():
    text = statistics_html(compare(frame(2), ["lowdose", "tv", "csrd"]), Power(2, 2))
    assert "the test has no power (the smallest p possible is 0.5, 1 corrected" in text
    assert "−0.995<small>2 of 2; p 0.5, 1</small>" in text and text.count('class="best"') == 2

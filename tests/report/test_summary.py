import re
from pathlib import Path

import pandas as pd
import pytest

from csrd.io.tables import read_benchmarks
from csrd.report.statistics import Power
from csrd.report.summary import calibration, controlled, losses, summary, winners, worse_than_nothing
from csrd.report.table import table1, table1_by_dose
from csrd.report.times import STAGES, clock, times, times_html

METHODS = ["lowdose", "tv", "csrd"]


@pytest.fixture
def rows() -> pd.DataFrame:
    """TV has the best PSNR and a worse texture than the low dose; at 1/10 it has the best MAE too."""
    lines = []
    for subject in ("sub-07", "sub-08"):
        for drf in (4, 10):
            lines += [
                (subject, drf, "lowdose", 0.4, 20.0, 2.0),
                (subject, drf, "tv", 0.1 if drf == 10 else 0.5, 30.0, 5.0),
                (subject, drf, "csrd", 0.2, 29.0, 1.0),
            ]
    return pd.DataFrame(lines, columns=["subject", "drf", "method", "mae", "psnr", "h_dist"])


@pytest.fixture
def table(rows):
    return table1(rows, METHODS, ["sub-07", "sub-08"])


def test_who_wins_what(table):
    assert winners(table) == "CSRD w MR has the best mean MAE and H_dist; TV the best PSNR"
    table["mae_mean"] = 0.2
    assert winners(table).startswith("Low-Dose, TV and CSRD w MR share the best mean MAE")


def test_bad_news_is_told(table):
    assert losses(table) == ["CSRD w MR loses to TV in PSNR (29.00 against 30.00)."]
    assert worse_than_nothing(table) == ["Worse than the low dose as it is: TV in H_dist."]
    assert losses(table[table["method"] != "csrd"].reset_index(drop=True)) == []


def test_control_rows_say_what_the_table_is_worth(rows):
    low = rows[rows["method"] == "lowdose"]
    every = pd.concat([rows, low.assign(method="oracle", psnr=32.0)])
    table = table1(every, [*METHODS, "oracle"], ["sub-07", "sub-08"])
    assert controlled(table) == ["CSRD w MR has 75% of the oracle's gain in PSNR over the low dose."]
    painted = pd.concat([rows, low.assign(method="painted", psnr=25.0 + 0.5 * low["drf"])])
    by_dose = table1_by_dose(painted, [*METHODS, "painted"], ["sub-07", "sub-08"])
    assert controlled(table, by_dose)[1] == (
        "Against the truth, CSRD w MR minus Painted, a control that does not look at the PET: +2.0 dB at 1/4 "
        "and −1.0 dB at 1/10 of the dose."
    )
    assert controlled(table1(rows, METHODS, ["sub-07", "sub-08"])) == []


def test_the_unseen_dose_has_its_own_sentence(rows, table):
    split = table1_by_dose(rows, METHODS, ["sub-07", "sub-08"])
    told = summary(table, split, [4])
    assert told[0].startswith("Over all doses, ")
    assert told[-1] == (
        "At 1/10 of the dose, of which no method had seen an image, TV has the best mean MAE and PSNR; "
        "CSRD w MR the best H_dist."
    )
    assert "2 test subjects are too few" in summary(table, split, [4], power=Power(2, 2))[-1]
    assert "1 test subject is too few" in summary(table, split, [4], power=Power(1, 2))[-1]
    assert summary(table, split, [4], power=Power(9, 2)) == told


@pytest.mark.parametrize(
    ("share", "verdict"), [(0.7, "too small"), (0.91, "as it should"), (0.99, "too large")]
)
def test_calibration_in_words(share, verdict):
    rows = pd.DataFrame(
        {"method": "csrd", "target": ["normal", "truth"], "level": 0.9, "coverage": [share, 0.1]}
    )
    (sentence,) = calibration(rows)
    assert f"in {share:.0%}" in sentence and verdict in sentence


def test_every_rule_has_a_stage():
    for path in (Path(__file__).parents[2] / "workflow" / "rules").glob("*.smk"):
        rules = set(re.findall(r"<benchmarks>/(\w+)", path.read_text()))
        assert rules == set(STAGES.get(path.stem, ())), path.stem


def test_time_by_rule(tmp_path):
    heads = "s\th:m:s\tmax_rss\tcpu_time\n"
    for name, line in (
        ("align/sub-01", "10\t0:00:10\t100\t9"),
        ("align/sub-02", "20\t0:00:20\t300\t19"),
        ("fit/csrd", "100\t0:01:40\t2048\t190"),
        ("fit/tv", "5\t0:00:05\t90\t5"),
        ("table1", "0.01\t0:00:00\t-\t-"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.tsv").write_text(heads + line + "\n")
    (tmp_path / "broken.tsv").write_text("")
    table = times(read_benchmarks(tmp_path)).set_index("rule")
    assert list(table.index) == ["align", "fit csrd", "fit tv", "table1"]
    assert table.loc["align"].tolist() == ["align", 2, 30, 28, 300]
    text = times_html(times(read_benchmarks(tmp_path)))
    assert "1 min 40 s" in text and "2 min 15 s" in text and "<td>74%</td>" in text
    assert text.index(">train<") < text.index("\u2003fit csrd<") and "1 min 45 s" in text, "a stage's sum"
    assert ">tables<" in text and "table1" not in text, "too short to be listed"
    assert times_html(times(read_benchmarks(tmp_path / "nothing"))) == ""
    assert clock(59.6) == "1 min 00 s" and clock(7380) == "2 h 03 min"

import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from csrd.errors import InputError
from csrd.io.tables import read_csv, read_history
from csrd.metrics.coverage import COVERAGE_KEYS, LEVELS
from csrd.report import curves
from csrd.report.coverage import coverage_html, coverage_table
from csrd.report.curves import dose_quality, reliability, training
from csrd.report.table import Scope
from csrd.report.writers import coverage_tables


def colour_is_in(path, colour) -> bool:
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return bool((np.abs(imread(path)[..., :3] - rgb).max(axis=-1) < 0.01).any())


@pytest.fixture
def metrics(tmp_path):
    rows = [("sub-07", drf, m, 0.1 * drf, 30.0) for drf in (4, 10) for m in ("lowdose", "csrd")]
    pd.DataFrame(rows, columns=["subject", "drf", "method", "mae", "psnr"]).to_csv(tmp_path / "m.csv")
    return read_csv(tmp_path / "m.csv")


def test_a_line_a_method_and_a_band_behind_the_unseen_dose(metrics, tmp_path):
    seen, unseen = tmp_path / "seen.png", tmp_path / "unseen.png"
    known = ["lowdose", "csrd"], ["sub-07"], [10, 4]
    dose_quality(seen, metrics, Scope(*known, train_drfs=[4, 10]))
    dose_quality(unseen, metrics, Scope(*known, train_drfs=[4]))
    assert colour_is_in(unseen, curves.COLOURS["csrd"])
    assert not colour_is_in(unseen, curves.COLOURS["unet"])
    assert colour_is_in(unseen, "#eef3f6") and not colour_is_in(seen, "#eef3f6")


def record(path, *, psnr: bool) -> None:
    lines = [{"step": i, "loss": 1 / i, "seconds": 3.0 * i} for i in range(1, 40)]
    if psnr:
        lines[-1] |= {"psnr": 31.0, "mae": 400.0}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_training_with_and_without_validation(tmp_path):
    record(tmp_path / "a.jsonl", psnr=True)
    record(tmp_path / "b.jsonl", psnr=False)
    first, second = (read_history(tmp_path / f"{name}.jsonl") for name in "ab")
    training(tmp_path / "both.png", {"csrd": first, "unet": second})
    assert all(colour_is_in(tmp_path / "both.png", curves.COLOURS[m]) for m in ("csrd", "unet"))
    training(tmp_path / "none.png", {"unet": second})


def test_the_record_is_read_as_it_was_written(tmp_path):
    record(tmp_path / "a.jsonl", psnr=True)
    table = read_history(tmp_path / "a.jsonl")
    assert len(table) == 39 and table["psnr"].notna().sum() == 1 and table["seconds"].iloc[-1] == 117
    for text in ("", "not json\n", '{"step": 1}\n'):
        (tmp_path / "bad.jsonl").write_text(text)
        with pytest.raises(InputError, match="train the method again"):
            read_history(tmp_path / "bad.jsonl")
    with pytest.raises(InputError, match="train the method again"):
        read_history(tmp_path / "absent.jsonl")


@pytest.fixture
def coverage(tmp_path):
    """CSR-D covers the normal dose as it says and half as much of the truth, at two doses."""
    rows = [
        (subject, drf, method, target, level, level * (0.5 if target == "truth" else 1))
        for subject in ("sub-07", "sub-08")
        for drf in (4, 10)
        for method in ("csrdnomr", "csrd")
        for target in ("truth", "normal")
        for level in LEVELS
    ]
    pd.DataFrame(rows, columns=[*COVERAGE_KEYS, "coverage"]).to_csv(tmp_path / "c.csv", index=False)
    return read_csv(tmp_path / "c.csv")


def test_the_table_of_coverage(coverage, tmp_path):
    coverage_tables(coverage, tmp_path)
    table = pd.read_csv(tmp_path / "coverage.csv")
    assert list(table) == ["method", "target", "0.5", "0.68", "0.9", "0.95"]
    rows = list(zip(table["method"], table["target"], strict=True))
    assert rows == [(m, t) for m in ("csrd", "csrdnomr") for t in ("normal", "truth")]
    assert table["0.9"].tolist() == pytest.approx([0.9, 0.45, 0.9, 0.45])
    text = coverage_html(coverage_table(coverage))
    assert "CSRD w/o MR: noise-free truth" in text and "<td>68%</td>" in text


def test_reliability_without_truth(coverage, tmp_path):
    reliability(tmp_path / "both.png", coverage, train_drfs=[4])
    reliability(tmp_path / "one.png", coverage[coverage["target"] == "normal"], train_drfs=[4])
    assert imread(tmp_path / "both.png").shape[1] > imread(tmp_path / "one.png").shape[1]

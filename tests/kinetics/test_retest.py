"""Agreement of test and retest: published numbers, closed forms, tables of a dataset."""

import numpy as np
import pytest

from csrd.errors import InputError
from csrd.io.files import write_text
from csrd.io.tables import read_tsv
from csrd.kinetics.retest import agreement, intraclass
from csrd.stages.retest import retest

SHROUT_FLEISS = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float
)
"""Table 2 of Shrout & Fleiss 1979."""


def test_icc_of_the_published_example():
    """ICC(1,1) is 0.17 in Table 4; its interval in closed form by F = 1.79 of 5 and 18 degrees."""
    icc, low, high = intraclass(SHROUT_FLEISS)
    assert icc == pytest.approx(0.166, abs=5e-4) and low < 0 < icc < high < 1
    assert (low, high) == (pytest.approx(-0.133, abs=2e-3), pytest.approx(0.723, abs=2e-3))


def test_agreement_in_closed_form():
    test = np.array([1.0, 2.0, 3.0])
    found = agreement(test, test * [1.1, 1.1, 0.9])
    each = 200 * np.array([0.1 / 2.1, 0.1 / 2.1, -0.1 / 1.9])
    assert found.count == 3 and found.difference == pytest.approx(each.mean())
    assert found.difference_sd == pytest.approx(each.std(ddof=1))
    assert found.variability == pytest.approx(np.abs(each).mean())
    same = agreement(test, test)
    assert (same.icc, same.variability) == (1, 0)
    assert np.isnan(agreement(test[:1], test[:1]).icc) and np.isnan(
        agreement(test[:1], test[:1]).difference_sd
    )


HEADER = "name\tBPND\tBPND_se\tR1\tR1_se\tk2prime\tk2prime_se"


def write(folder, subject, session, method, value):
    name = f"{subject}_ses-{session}_desc-{method}_kinpar.tsv"
    path = folder / subject / f"ses-{session}" / "pet" / name
    write_text(path, f"{HEADER}\nputamen\t{value}\t0.1\t1\t0.1\tn/a\tn/a\n")
    return path


def test_tables_of_a_dataset(tmp_path, caplog):
    values = {"sub-01": (1.0, 1.1), "sub-02": (2.0, 2.1), "sub-03": ("n/a", 1.0)}
    tables = [
        write(tmp_path, subject, session, method, value)
        for subject, both in values.items()
        for session, value in zip(("2nd", "1st"), both, strict=True)
        for method in ("input", "csrd")
    ]
    out = [tmp_path / "csrd_bpnd.tsv", tmp_path / "csrd_retest.tsv", tmp_path / "csrd_retest.html"]
    retest(tables, *out, sessions=["2nd", "1st"])
    assert len(read_tsv(out[0], "").rows) == 12
    rows = [row for _, row in read_tsv(out[1], "").rows]
    assert [(row["method"], row["region"], row["people"]) for row in rows] == [
        ("csrd", "putamen", "2"),
        ("input", "putamen", "2"),
    ]
    assert (rows[0]["test_session"], rows[0]["BPND_test"], rows[0]["BPND_retest"]) == ("2nd", "1.5", "1.6")
    assert float(rows[0]["difference"]) == pytest.approx(100 * (0.1 / 1.05 + 0.1 / 2.05) / 2, rel=1e-3)
    assert "sub-03 has 1 of the two sessions" in caplog.text
    assert "putamen" in out[2].read_text() and "input: 2nd, 1st" in out[2].read_text()
    retest(tables, *out)
    assert read_tsv(out[1], "").rows[0][1]["test_session"] == "1st", "by name where none are named"
    with pytest.raises(InputError, match="--labels first"):
        retest([], *out)

"""Bias and spread of BP_ND from rows whose results are known by hand."""

import numpy as np
import pandas as pd
import pytest

from csrd.report.binding import LABELS, binding_page, bp_figure, by_region, curves_figure


def rows_of(values: dict) -> pd.DataFrame:
    """Return rows of one model and region, put in 2, 1.6 at the resolution; by subject, drf, method."""
    lines = [
        (subject, drf, method, draw, 0, "srtm", region, 9, bp, 1.0, 2.0, 1.6, 2.0)
        for (subject, drf, method, region), found in values.items()
        for draw, bp in enumerate(found, start=1)
    ]
    columns = ["subject", "drf", "method", "draw", "passed", "model", "region", "voxels", "bp", "r1"]
    return pd.DataFrame(lines, columns=[*columns, "put_in", "resolved", "noise_free"])


VALUES = {
    ("a", 1, "lowdose", "putamen"): [1.5, 1.7],
    ("b", 1, "lowdose", "putamen"): [1.8, 1.8],
    ("a", 4, "csrd", "putamen"): [1.2, 1.4],
    ("b", 4, "csrd", "putamen"): [1.4, 1.8],
    ("a", 4, "csrd", "raphe"): [2.6, np.nan],
    ("a", 1, "lowdose", "raphe"): [2.0, 2.0],
}


def test_bias_and_spread_are_those_by_hand():
    table = by_region(rows_of(VALUES)).regions.set_index(["drf", "method", "region"])
    row = table.loc[4, "csrd", "putamen"]
    assert row["bias"] == pytest.approx(np.mean([1.2, 1.4, 1.4, 1.8]) / 2 - 1)
    assert row["bias_resolved"] == pytest.approx(np.mean([1.2, 1.4, 1.4, 1.8]) / 1.6 - 1)
    assert row["bias_normal"] == pytest.approx(np.mean([1.2 / 1.6, 1.4 / 1.6, 1.4 / 1.8, 1.8 / 1.8]) - 1)
    within = (np.var([0.6, 0.7], ddof=1) + np.var([0.7, 0.9], ddof=1)) / 2
    assert row["sd"] == pytest.approx(np.sqrt(within)), "between a subject's scans, not between subjects"
    assert (row["scans"], row["undetermined"]) == (4, 0)


def test_scans_without_a_value_are_counted_and_left_out():
    found = by_region(rows_of(VALUES))
    row = found.regions.set_index(["drf", "method", "region"]).loc[4, "csrd", "raphe"]
    assert (row["scans"], row["undetermined"]) == (1, 1) and row["bias"] == pytest.approx(0.3)
    pooled = found.pooled.set_index(["drf", "method"]).loc[4, "csrd"]
    assert pooled["undetermined"] == 1
    assert pooled["bias"] == pytest.approx((0.275 + 0.3) / 2), "mean of sizes over regions"


@pytest.mark.parametrize(("model", "said"), [("mrtm2", "MRTM2"), ("logan", "Logan&#39;s plot")])
def test_the_page_has_every_row(tmp_path, model, said):
    rows = pd.concat(
        rows_of({("a", drf, method, name): [2.0 + drf / 20, 2.1] for method in LABELS for drf in (1, 4)
                 for name in ("putamen", "raphe")}).assign(model=model)
        for model in ("srtm", model)
    )  # fmt: skip
    found = by_region(rows)
    lines = [
        ("a", drf, method, 1, "putamen", start, start + 60.0, 1.0)
        for drf, method in [(0, "truth"), (0, "resolved"), *((4, key) for key in LABELS)]
        for start in (0.0, 60.0)
    ]
    curves = pd.DataFrame(
        lines, columns=["subject", "drf", "method", "draw", "region", "start", "end", "value"]
    )
    bp_figure(tmp_path / "bp.png", found.regions)
    curves_figure(tmp_path / "tacs.png", curves)
    strengths = {"FWHM_mm": {key: {"4": 3.0} for key in ("gaussian", "hypr", "csrdhypr")}}
    page = binding_page(found, strengths, tmp_path / "bp.png", tmp_path / "tacs.png", "Dynamic <cohort>")
    assert "Dynamic &lt;cohort&gt;" in page and "3 mm at 1/4" in page
    assert f"A point is a region, by {said}." in page
    assert all(f"1/{drf} {label}" in page for drf in (1, 4) for label in LABELS.values())

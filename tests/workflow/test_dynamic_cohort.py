"""The dynamic virtual cohort, from list-mode to its table of BP_ND, at a resolution that shows only that."""

import json

import numpy as np
import pandas as pd
import pytest

from csrd.stages.binding import METHODS

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def found(snakemake, study):
    snakemake("dynamic", "--cores", "all", "--configfile", "config/dynamic_test.yaml")
    return study / "results-dynamic-test"


def test_the_table_has_every_region_method_and_dose(found):
    table = pd.read_csv(found / "tables/binding.csv")
    assert set(table["drf"]) == {1, 4, 10} and set(table["method"]) == set(METHODS)
    assert set(table["model"]) == {"srtm", "mrtm2"}
    sizes = table.groupby(["model", "drf", "method"])["region"].nunique()
    assert sizes.nunique() == 1 and sizes.iloc[0] >= 14, "a small region may have no voxel of a coarse grid"
    assert (table["scans"] + table["undetermined"] == 2).all(), "repeats of one test subject"
    large = table[table["region"].isin(["frontal", "temporal", "putamen"]) & (table["drf"] == 1)]
    assert large["bias"].abs().max() < 0.9 and (large["sd"] > 0).all()


def test_noise_free_curves_have_what_was_put_in(found):
    rows = pd.read_csv(found / "metrics/sub-02_binding.csv")
    assert np.allclose(rows["noise_free"], rows["put_in"], rtol=0.03)


def test_frames_and_strengths_are_kept(found):
    sidecar = json.loads((found / "dynamic/sub-02/sub-02_draw-2_drf-10_desc-dynamic_pet.json").read_text())
    assert sidecar["FrameDuration"] == [60, 120, 300, 600, 1200, 1200]
    assert sidecar["DoseReductionFactor"] == 10
    strengths = json.loads((found / "dynamic/strengths.json").read_text())["FWHM_mm"]
    assert set(strengths) == {"gaussian", "hypr", "csrdhypr"}
    assert all(set(by_dose) == {"1", "4", "10"} for by_dose in strengths.values())


def test_the_page_needs_no_other_file(found):
    page = (found / "dynamic.html").read_text()
    assert 'src="data:image' in page and "CSR-D of the mean, HYPR" in page

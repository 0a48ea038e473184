"""The demonstration: its scan, and the whole of it as a user runs it."""

import re
import time

import numpy as np
import pytest
from scipy.ndimage import binary_erosion
from typer.testing import CliRunner

from csrd.cli import app
from csrd.io.volume import Volume
from csrd.stages.demo import psnr
from csrd.synthetic.demo import GREY_BQ_PER_ML, NOISE, demo_scan
from csrd.synthetic.tracers import FAMILIES
from csrd.virtual.atlas import atlas
from csrd.virtual.regions import REGIONS

LONGEST_S = 60


@pytest.fixture(scope="module")
def scan():
    return demo_scan(1)


def test_the_truth_has_the_tracers_uptake(scan):
    """In the middle of large regions, where the blur does not reach."""
    table = dict(zip(REGIONS, FAMILIES["FDG"], strict=True))
    for name, voxels in (("white_matter", 3), ("cerebellar_cortex", 3), ("thalamus", 2)):
        inside = binary_erosion(scan.labels.array == REGIONS[name], iterations=voxels)
        assert inside.any() and scan.truth.array[inside].mean() == pytest.approx(
            table[name] * GREY_BQ_PER_ML, rel=0.05
        ), name


def test_its_noise_has_the_stated_size_and_no_bias(scan):
    grey = np.abs(scan.truth.array / GREY_BQ_PER_ML - 1) < 0.05
    ratio = scan.low.array[grey] / scan.truth.array[grey]
    assert ratio.mean() == pytest.approx(1, abs=0.02)
    # over the whole box, which it is scaled by, noise is mirrored at the borders, hence stronger there
    assert ratio.std() == pytest.approx(NOISE, rel=0.08)


def test_a_seed_gives_the_same_scan(scan):
    again, other = demo_scan(1), demo_scan(2)
    assert again.low == scan.low and again.mr == scan.mr
    assert not np.array_equal(other.low.array, scan.low.array)
    assert np.array_equal(other.truth.array, scan.truth.array)


def test_the_atlas_has_every_region_and_is_symmetric():
    found = atlas()
    assert set(np.unique(found.labels.array)) == {0, *REGIONS.values()}
    assert set(found.regions.values()) >= {"caudate", "white matter"} and "bone" not in found.regions.values()
    left = found.labels.affine[0, 3]
    x = left + 2.0 * np.arange(found.labels.shape[0])
    putamen = (found.labels.array == REGIONS["putamen"]).sum(axis=(1, 2))
    assert putamen[x < 0].sum() == pytest.approx(putamen[x > 0].sum(), rel=0.1)


def test_psnr_by_hand(scan):
    off = scan.truth.like(scan.truth.array + np.float32(200.0))
    expected = 20 * np.log10(scan.truth.array.max() / 200)
    assert psnr(off, scan.truth) == pytest.approx(expected, abs=0.01)


@pytest.mark.long
def test_the_demonstration(tmp_path):
    start = time.process_time()
    done = CliRunner().invoke(app, ["demo", str(tmp_path / "demo"), "--no-open"])
    seconds = time.process_time() - start  # of two cores, which a busy machine does not change
    assert done.exit_code == 0, done.output
    before, after = map(float, re.findall(r"([\d.]+) dB", done.output))
    assert after > before + 5 and seconds < 2 * LONGEST_S
    page = (tmp_path / "demo" / "page.html").read_text()
    assert "Nothing unusual was noticed" in page and "putamen" in page and len(page) < 5e6
    clean = Volume.load(tmp_path / "demo" / "clean.nii.gz")
    assert clean.same_grid(Volume.load(tmp_path / "demo" / "low.nii.gz"))

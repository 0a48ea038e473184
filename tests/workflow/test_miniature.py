"""Measured scans by one command: a miniature of ds003382 on a local server, from `make` to the report.

Figures that these tests had when they were written are in docs/mmr.md.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from csrd.config.sections import Recon
from csrd.io.files import read_json
from csrd.io.volume import Volume
from csrd.metrics.agreement import exchanged
from csrd.metrics.truth import blurred, resolution
from csrd.report.vendor import agreements
from csrd.resample import resample
from csrd.scanner.geometry import mmr
from csrd.stages.openneuro import PROGRAM
from csrd.stages.recon import reconstruct, subject_sensitivity
from csrd.stages.vendor import compare_vendor
from csrd.virtual.regions import REGIONS
from tests.conftest import REPOSITORY
from tests.miniature import BALL, BALL_MM, Miniature, miniature
from tests.openneuro_server import CLIENT, serving

SMALL = """
drfs: [4]
train_drfs: [4]
methods: [lowdose, tv]
recon: {voxel_mm: 2.03125, matrix: [104, 120, 125], subsets: 8, iterations: 24, subject_lines: 4.0e+6,
        postfilter_fwhm_mm: 8}  # few subsets: of so few events each would lose contrast
align: {shape: [96, 112, 112]}
tv: {weights: [0.05, 0.2]}
"""
TESTED = "sub-06"
SEEN = {*range(1, REGIONS["csf"]), BALL}  # regions of the brain with uptake, and the ball
LEAST_ML = 5.0
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Miniature:
    return miniature(tmp_path_factory.mktemp("ds003382"), tmp_path_factory.mktemp("scratch"))


@pytest.fixture(scope="module")
def results(dataset, study, tmp_path_factory) -> Path:
    """Run the command as it is in the README, but for the server and the size; return the results."""
    site = tmp_path_factory.mktemp("site")
    (site / "sitecustomize.py").write_text(CLIENT)
    (study / "small.yaml").write_text(SMALL)
    binaries = Path(sys.executable).parent
    path = os.pathsep.join([str(binaries.parent / "openneuro" / "bin"), str(binaries), os.environ["PATH"]])
    if shutil.which(PROGRAM, path=path) is None:
        pytest.skip(f"{PROGRAM} is not installed: make openneuro installs it")
    command = ["make", "-f", REPOSITORY / "Makefile", "openneuro", "DATASET=ds003382", "SUBJECTS=02 05 06"]
    there = [
        word for made in (".venv/installed", ".venv/openneuro/bin/openneuro-py") for word in ("-o", made)
    ]
    python_path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    with serving(dataset.folder) as server:
        settings = [f"BIN={binaries}", "CORES=1", "MEASURED=small.yaml", f"SERVER={server.api}"]
        environment = {"TEST_OPENNEURO": server.api, "PATH": path, "PYTHONPATH": python_path}
        done = subprocess.run(
            [*command, *settings, *there],
            cwd=study,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    assert done.returncode == 0, done.stdout[-5000:]
    return study / "results-openneuro"


@pytest.fixture(scope="module")
def image(results) -> Volume:
    """Return the tested subject's normal dose, with its axes as the truth's."""
    return Volume.load(results / "recon" / TESTED / f"{TESTED}_drf-1_pet.nii.gz").canonical()


@pytest.fixture(scope="module")
def measured(results, study) -> dict[str, Path]:
    """Return the tested subject's files as they were fetched and imported."""
    raw, name = results / "raw" / TESTED, TESTED
    vendor = f"{name}/pet/{name}_task-checkerboard_trc-18FFDG_rec-acstat_run-001_pet.nii.gz"
    return {
        "listmode": raw / f"{name}_listmode.l",
        "mumap": raw / f"{name}_mumap.nii.gz",
        "normalisation": raw / f"{name}_normalisation.n",
        "sensitivity": results / "recon" / name / f"{name}_sensitivity.nii.gz",
        "vendor": study / "data" / "ds003382" / vendor,
    }


def again(target: Path, files: dict[str, Path], **changed: object) -> Volume:
    """Return the normal dose reconstructed as the workflow does, but by two iterations and other settings."""
    settings = Recon(voxel_mm=2.03125, matrix=(104, 120, 125), subsets=32, iterations=2, postfilter_fwhm_mm=8)
    given = {key: files[key] for key in ("mumap", "normalisation", "sensitivity")}
    how = {"seed": 2024, "subject": TESTED, "threads": 1, "log": "unused"}
    reconstruct(files["listmode"], target, recon=settings.model_copy(update=changed), **given, **how)
    return Volume.load(target).canonical()


def test_the_report_is_there(results):
    table = pd.read_csv(results / "tables" / "table1.csv", index_col="method")
    assert list(table.index) == ["lowdose", "tv"] and (table["n"] == 1).all()
    report = (results / "report.html").read_text()
    assert 'id="vendor"' in report and 'id="corrections"' in report and 'id="truth"' not in report
    assert "not of coil and table" in report and "by the gap crystals that the normalisation marks" in report


def test_the_image_is_the_truth_at_its_resolution(image, dataset):
    """Means of the brain's regions with uptake, of at least 5 mL, within 3 %."""
    truth, labels = dataset.truth[TESTED], dataset.labels[TESTED]
    head = resample(truth, image).array > 0
    expected = blurred(truth, image, resolution(truth, image, head))
    regions = resample(labels, image, order=0).array
    ratios = {}
    for label in SEEN:
        inside = regions == label
        if inside.sum() * image.voxel_mm.prod() / 1000 >= LEAST_ML:
            ratios[label] = round(float(image.array[inside].mean() / expected[inside].mean()), 4)
    print("regions:", ratios)
    assert len(ratios) > 12 and BALL in ratios
    assert {label: ratio for label, ratio in ratios.items() if abs(ratio - 1) > 0.03} == {}


def test_the_image_is_not_turned(image, dataset):
    """The hot ball lies where it is, and at none of its seven mirror images in the brain."""
    truth = resample(dataset.truth[TESTED], image)
    assert exchanged(image.array, truth.array, image.voxel_mm) == ()
    ball = resample(dataset.labels[TESTED], image, order=0).array == BALL
    at = np.argwhere(ball)
    centre = at.mean(0)
    level = image.array[ball].mean()
    middle = (np.array(image.shape) - 1) / 2
    for flip in np.ndindex(2, 2, 2):
        if any(flip):
            mirrored = np.where(flip, 2 * middle - at, at).round().astype(int)
            assert image.array[tuple(mirrored.T)].mean() < 0.9 * level, flip
    weights = np.where(ball, image.array, 0)
    found = (np.indices(image.shape) * weights).sum((1, 2, 3)) / weights.sum()
    assert np.linalg.norm((found - centre) * image.voxel_mm) < 1.0 < BALL_MM


def test_random_factors_of_the_norm_leave_the_shells_as_they_are(dataset, measured, tmp_path):
    """Shells by depth in the head, of the scan with a norm.bf of random factors and of perfect crystals."""
    plain = dict(measured) | {"listmode": dataset.perfect[TESTED], "normalisation": tmp_path / "ones.npy"}
    np.save(plain["normalisation"], np.ones(mmr().crystals, np.float32))
    plain["sensitivity"] = tmp_path / "sensitivity.nii.gz"
    geometric = measured["sensitivity"].with_name(f"{TESTED}_scanner.nii.gz")
    how = {"lines": 4_000_000, "seed": 2024, "subject": TESTED, "threads": 1, "listmode": plain["listmode"]}
    subject_sensitivity(geometric, plain["mumap"], plain["normalisation"], plain["sensitivity"], **how)
    perfect = again(tmp_path / "perfect.nii.gz", plain)
    image = again(tmp_path / "norm.nii.gz", measured)
    at = np.moveaxis(np.indices(image.shape), 0, -1) * image.voxel_mm
    inside = resample(dataset.labels[TESTED], image, order=0).array
    brain = np.isin(inside, list(SEEN))
    radius = np.linalg.norm(at - at[brain].mean(0), axis=-1)
    shells = [brain & (radius // 12 == shell) for shell in range(6)]
    ratios = [float(image.array[shell].mean() / perfect.array[shell].mean()) for shell in shells]
    print("shells:", np.round(ratios, 4))
    np.testing.assert_allclose(ratios, 1, atol=0.025)


def test_the_vendors_images_agree(results):
    """Of the scans of 6 s the background is too noisy for a verdict."""
    found = agreements(pd.read_csv(results / "metrics" / "vendor.csv"))
    print(found)
    assert set(found) == {"sub-02", "sub-05", TESTED}
    assert all(abs(one.ratio - 1) < 0.03 and one.turned == () for _, one in found.values())
    assert found[TESTED][1].faults == [] and abs(found[TESTED][1].background) < 0.03


def test_planted_faults_are_found(results, measured, tmp_path):
    """A vendor's image that is turned or scaled, and a reconstruction without scatter correction."""
    ours = results / "recon" / TESTED / f"{TESTED}_drf-1_pet.nii.gz"
    vendor, listmode = Volume.load(measured["vendor"]), measured["listmode"]

    def faults(pet: Path, array: np.ndarray) -> list[str]:
        vendor.like(array, "Bq/mL").save(tmp_path / "vendor.nii.gz")
        found = tmp_path / "table.csv"
        return compare_vendor(pet, tmp_path / "vendor.nii.gz", found, subject=TESTED, listmode=listmode)

    assert faults(ours, vendor.array) == []
    for axis, words in enumerate(("left and right", "front and back", "head and feet")):
        assert f"{words} are exchanged" in faults(ours, np.flip(vendor.array, axis))
    scaled = faults(ours, vendor.array / np.float32(1.25))
    assert len(scaled) == 1 and scaled[0].startswith("the scale differs by +")
    again(tmp_path / "scattered.nii.gz", measured, scatter="none")
    scattered = faults(tmp_path / "scattered.nii.gz", vendor.array)
    print("without scatter correction:", scattered)
    assert any(fault.startswith("a background of +") for fault in scattered)


def test_the_sidecar_says_what_was_done(results):
    sidecar = read_json(results / "recon" / TESTED / f"{TESTED}_drf-4_pet.json")
    assert sidecar["DoseReductionFactor"] == 4
    assert sidecar["NormalisationCorrection"] == "components of the mMR's own normalisation"
    assert sidecar["ScatterCorrectionMethod"].endswith("from the normal dose")

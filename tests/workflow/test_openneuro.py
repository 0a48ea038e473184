"""Measured scans by one command: a miniature of ds003382 on a local server, from `make` to the report."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from csrd.io.files import read_json
from csrd.io.volume import Volume
from csrd.metrics.agreement import exchanged
from csrd.metrics.truth import blurred, resolution
from csrd.resample import resample
from csrd.stages.openneuro import PROGRAM
from tests.conftest import REPOSITORY
from tests.miniature import Miniature, miniature
from tests.openneuro_server import CLIENT, serving

SMALL = """
drfs: [4, 10]
train_drfs: [4]
methods: [lowdose, tv]
recon: {voxel_mm: 4.0625, matrix: [52, 60, 63], subsets: 6, iterations: 3, subject_lines: 2.0e+6,
        postfilter_fwhm_mm: 6}
align: {shape: [48, 56, 60]}
tv: {weights: [0.05, 0.2]}
"""
TESTED = "sub-06"
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


def test_the_report_is_there(results):
    table = pd.read_csv(results / "tables" / "table1.csv", index_col="method")
    assert list(table.index) == ["lowdose", "tv"] and (table["n"] == 2).all()
    report = (results / "report.html").read_text()
    assert 'id="vendor"' in report and 'id="corrections"' in report and 'id="truth"' not in report
    assert "not of coil and table" in report and "by the gap crystals that the normalisation marks" in report


def test_the_image_is_the_truth_at_its_resolution(results, dataset):
    """Means of the regions of at least 5 mL, within 3 %."""
    pet = Volume.load(results / "recon" / TESTED / f"{TESTED}_drf-1_pet.nii.gz").canonical()
    truth, labels = dataset.truth[TESTED], dataset.labels[TESTED]
    head = resample(truth, pet).array > 0
    found = blurred(truth, pet, resolution(truth, pet, head))
    regions = resample(labels, pet, order=0).array
    compared = {}
    for label in np.unique(labels.array):
        inside = regions == label
        if label and inside.sum() * pet.voxel_mm.prod() / 1000 >= 5 and label < 19:
            compared[int(label)] = pet.array[inside].mean() / found[inside].mean()
    assert len(compared) > 6
    assert {label: ratio for label, ratio in compared.items() if abs(ratio - 1) > 0.03} == {}


def test_the_image_is_not_turned(results, dataset):
    pet = Volume.load(results / "recon" / TESTED / f"{TESTED}_drf-1_pet.nii.gz").canonical()
    truth = resample(dataset.truth[TESTED], pet).array
    assert exchanged(pet.array, truth, pet.voxel_mm) == ()


def test_the_vendors_images_agree(results):
    rows = pd.read_csv(results / "metrics" / "vendor.csv")
    assert set(rows["subject"]) == {"sub-02", "sub-05", "sub-06"}
    assert (rows["exchanged"] == "none").all()
    assert rows.groupby("subject")["ratio"].first().between(0.9, 1.1).all()


def test_the_sidecar_says_what_was_done(results):
    sidecar = read_json(results / "recon" / TESTED / f"{TESTED}_drf-10_pet.json")
    assert sidecar["DoseReductionFactor"] == 10
    assert sidecar["NormalisationCorrection"] == "components of the mMR's own normalisation"

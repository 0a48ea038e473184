"""A participant's sessions and runs as scans of their own, from the sheet to derivatives with BIDS names."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

from csrd.io.files import read_json
from csrd.io.tables import read_csv
from csrd.io.volume import Volume
from tests.align.head_phantom import head
from tests.bids.layouts import AFFINE, POINTS, SHAPE
from tests.bids.test_app import assert_is_bids

SHEET = """participant_id	session	run	split	pet	pet_drf4	t1w
sub-A	one	1	test	normal.nii.gz	low.nii.gz	t1w.nii.gz
sub-A	one	2	test	again.nii.gz	low2.nii.gz	t1w.nii.gz
sub-A	two	n/a	n/a	dynamic.nii.gz	n/a	n/a
sub-B	two	n/a	n/a	n/a	low3.nii.gz	n/a
"""


@pytest.fixture
def settings(tmp_path) -> Path:
    rng = np.random.default_rng(1)
    pet = head(POINTS, 0)
    for name, level in {"normal": 1, "again": 1, "low": 3, "low2": 3, "low3": 3}.items():
        array = pet + level * 1e3 * rng.standard_normal(SHAPE) * (pet > 100)
        Volume(array.astype(np.float32), AFFINE, "Bq/mL").save(tmp_path / f"{name}.nii.gz")
        (tmp_path / f"{name}.json").write_text('{"Units": "Bq/mL"}')
    frames = np.stack([0 * pet, pet, pet + 2e3 * rng.standard_normal(SHAPE)], -1).astype(np.float32)
    nib.save(nib.Nifti1Image(frames, AFFINE), tmp_path / "dynamic.nii.gz")
    said = {"Units": "Bq/mL", "FrameTimesStart": [0, 10, 20], "FrameDuration": [10, 10, 10]}
    (tmp_path / "dynamic.json").write_text(json.dumps(said))
    Volume(head(POINTS, 1).astype(np.float32), AFFINE, "arbitrary").save(tmp_path / "t1w.nii.gz")
    (tmp_path / "subjects.tsv").write_text(SHEET)
    values = {
        "results_dir": str(tmp_path / "results"),
        "methods": ["lowdose", "csrdnomr"],
        "drfs": [4],
        "train_drfs": [4],
        "cohort": {"sheet": str(tmp_path / "subjects.tsv"), "models": "packaged"},
        "align": {"shape": [20, 24, 20]},
        "recon": {"matrix": list(SHAPE)},
        "metrics": {"vgg": "vgg16"},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(values))
    return tmp_path / "mine.yaml"


def test_every_scan_has_a_place_in_the_plan(settings, snakemake):
    plan = snakemake("--cores", "1", "-n", "--configfile", str(settings)).stdout
    for expected in (
        "sub-A/ses-one/pet/sub-A_ses-one_rec-acstatDrf4_run-1_desc-csrdnomr_pet.nii.gz",
        "sub-A/ses-one/pet/sub-A_ses-one_rec-acstat_run-2_desc-reference_pet.json",
        "sub-A/ses-two/pet/sub-A_ses-two_desc-csrdnomr_pet.nii.gz",
        "sub-B/ses-two/pet/sub-B_ses-two_rec-acstatDrf4_desc-csrdnomr_pet.nii.gz",
    ):
        assert f"derivatives/csrd/{expected}" in plan


@pytest.mark.long
def test_scans_are_compared_and_denoised_under_their_own_names(settings, snakemake):
    snakemake("--cores", "1", "--configfile", str(settings))
    results = settings.parent / "results"
    table = read_csv(results / "metrics" / "metrics.csv")
    assert set(table["subject"]) == {"sub-A_ses-one_run-1", "sub-A_ses-one_run-2"}
    derivatives = results / "derivatives" / "csrd"
    image = derivatives / "sub-A/ses-one/pet/sub-A_ses-one_rec-acstatDrf4_run-2_desc-csrdnomr_pet"
    low = image.with_name(image.name.replace("csrdnomr", "lowdose"))
    assert Volume.load(f"{image}.nii.gz").same_grid(Volume.load(f"{low}.nii.gz"))
    source = f"bids::sub-A/ses-one/pet/{low.name}.nii.gz"
    assert source in read_json(f"{image}.json")["Sources"]
    plain = derivatives / "sub-A/ses-two/pet/sub-A_ses-two_desc-csrdnomr_pet.json"
    assert read_json(plain)["FramesWithoutCounts"] == [1]
    assert (derivatives / "sub-B/ses-two/pet/sub-B_ses-two_rec-acstatDrf4_desc-csrdnomr_pet.nii.gz").is_file()
    assert_is_bids(derivatives)
    assert "Nothing to be done" in snakemake("--cores", "1", "--configfile", str(settings)).stdout

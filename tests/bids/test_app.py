"""`csrd bids` on public layouts: nothing else is written by the user, and the derivatives are valid BIDS."""

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from csrd.io.files import read_json
from csrd.io.tables import read_tsv
from csrd.io.volume import Volume
from tests.align.head_phantom import head
from tests.bids.layouts import AFFINE, LAYOUTS, POINTS, build
from tests.bids.test_scans import EXPECTED
from tests.kinetics.study import bp, write_study

CSRD = Path(sys.executable).with_name("csrd")
VALIDATOR = Path(sys.executable).with_name("bids-validator-deno")


def app(*words, status: int = 0) -> str:
    done = subprocess.run(
        [CSRD, "bids", *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == status, done.stdout[-5000:]
    return done.stdout


def assert_is_bids(folder: Path) -> None:
    if not VALIDATOR.exists():
        pytest.skip(
            "bids-validator-deno is not installed: the derivatives were not validated (pip install it)"
        )
    done = subprocess.run([VALIDATOR, "--format", "json", folder], capture_output=True, text=True)
    found = json.loads(done.stdout)["issues"]["issues"]
    assert done.returncode == 0 and not [issue for issue in found if issue["severity"] == "error"], found


def images(out: Path) -> list[Path]:
    return sorted(out.glob("sub-*/**/pet/*_pet.nii.gz"))


def assert_like_sources(root: Path, out: Path) -> None:
    """Every image has its source's shape, place, unit and frame times."""
    for path in images(out):
        said = read_json(path.with_name(path.name.replace(".nii.gz", ".json")))
        source = root / said["Sources"][0].removeprefix("bids:raw:")
        before, after = nib.load(source), nib.load(path)
        assert before.shape == after.shape and after.get_data_dtype() == np.float32
        np.testing.assert_allclose(after.affine, before.affine, atol=1e-5)
        original = read_json(source.with_name(source.name.replace(".nii.gz", ".json")))
        for key in ("FrameTimesStart", "FrameDuration", "ImageDecayCorrected", "TracerName"):
            assert said.get(key) == original.get(key)
        assert not np.array_equal(after.get_fdata(), before.get_fdata()) and said["Denoising"]


def test_a_session_with_frames_is_denoised_and_listed(tmp_path):
    """One session, with the MR of another; `test_every_public_layout_is_denoised` has several sessions."""
    root = build("pet005", tmp_path, most_frames=3)
    for path in root.rglob("ses-intervention/anat/*"):
        path.unlink()  # the MR of the other session is used
    out = root / "derivatives" / "csrd"
    selected = root, out, "participant", "--session-label", "intervention", "--cores", 1
    assert "denoise by csrd" in app(*selected, "--dry-run") and not out.exists()
    said = app(*selected)
    assert "the T1w image is of another session: sub-01_ses-baseline_T1w.nii.gz" in said
    assert [path.relative_to(out).as_posix() for path in images(out)] == [
        "sub-01/ses-intervention/pet/sub-01_ses-intervention_task-eyes_desc-csrd_pet.nii.gz",
    ]
    assert_like_sources(root, out)
    description = read_json(out / "dataset_description.json")
    assert description["GeneratedBy"][0]["Name"] == "csrd" and description["DatasetLinks"] == {"raw": "../.."}
    text = (out / "csrd_methods.md").read_text()
    assert "1 PET image was denoised with csrd" in text and "1 image was dynamic" in text and "CC0" in text
    (page,) = (out / "csrd_pages").iterdir()
    assert page.name == "sub-01_ses-intervention_task-eyes_desc-csrd_pet.html"
    assert "is dynamic: this page shows the mean of its 3 frames" in page.read_text()
    assert "Nothing to be done" in app(*selected, "--dry-run")
    app(root, out, "group", "--cores", 1)
    ((_, row),) = read_tsv(out / "csrd_scans.tsv", "none").rows
    assert (row["session"], row["frames"], row["frames_without_counts"]) == ("intervention", "3", "1")
    assert "another session" in row["notes"] and str(tmp_path) not in row["notes"]
    assert_is_bids(out)


@pytest.mark.long
@pytest.mark.parametrize("name", LAYOUTS)
def test_every_public_layout_is_denoised(name, tmp_path):
    """One command; with all frames, and for one dataset with an MR that has to be registered."""
    root, out = build(name, tmp_path), tmp_path / "out"
    if name == "ds004869":
        for path in root.rglob("*_T1w.nii.gz"):
            moved = np.eye(4)
            moved[:3, 3] = 5, -4, 3
            Volume(head(POINTS, 1).astype(np.float32), moved @ AFFINE).save(path)
    app(root, out, "participant", "--cores", 2)
    found = images(out)
    assert len(found) == EXPECTED[name][0]
    assert sum("desc-csrd_" in path.name for path in found) == EXPECTED[name][1]
    assert_like_sources(root, out)
    assert_is_bids(out)
    if name == "ds004869":
        facts = read_json(found[0].with_name(found[0].name.replace(".nii.gz", ".json")))
        assert np.linalg.norm(np.array(facts["RegistrationMatrix"])[:3, 3] - (5, -4, 3)) < 3


@pytest.mark.long
def test_a_half_finished_run_goes_on_and_a_finished_one_has_nothing_to_do(tmp_path):
    root, out = build("ds003382", tmp_path), tmp_path / "out"
    app(root, out, "participant", "--participant-label", "sub-02", "--cores", 1, "--std")
    first = images(out)
    assert [path.name.split("desc-")[1] for path in first] == ["csrdStd_pet.nii.gz", "csrd_pet.nii.gz"]
    time = first[1].stat().st_mtime_ns
    damaged = next((root / "sub-05").rglob("*acstat*_pet.nii.gz"))
    content = damaged.read_bytes()
    damaged.write_bytes(content[: len(content) // 2])
    said = app(root, out, "participant", "--cores", 1, status=1)
    assert "command again" in said and "is not a readable NIfTI image" in said
    damaged.write_bytes(content)
    app(root, out, "participant", "--cores", 1)
    assert len(images(out)) == 3 and first[1].stat().st_mtime_ns == time, "one is not denoised twice"
    assert "Nothing to be done" in app(root, out, "participant", "--cores", 1)
    assert_is_bids(out)


@pytest.mark.long
def test_from_frames_to_bp_by_labels_of_another_dataset(tmp_path):
    """BP_ND before and after is what was put in; one person has no ICC, and the derivatives are valid."""
    root, others = write_study(tmp_path)
    out = tmp_path / "out"
    app(root, out, "participant", "--participant-label", "01", "--labels", others, "--cores", 1)
    folder = out / "sub-01" / "ses-rescan" / "pet"
    for method in ("input", "csrd"):
        table = folder / f"sub-01_ses-rescan_desc-{method}_kinpar.tsv"
        rows = {row["name"]: row["BPND"] for _, row in read_tsv(table, "none").rows}
        within = 0.1 if method == "input" else 0.3
        assert float(rows["putamen"]) == pytest.approx(bp("putamen", "sub-01", "ses-rescan"), rel=within)
    page = (out / "csrd_pages" / "sub-01_ses-rescan_desc-csrd_pet.html").read_text()
    assert "BP_ND by SRTM against cerebellar cortex" in page and "curve of putamen, before and after" in page
    app(root, out, "group", "--cores", 1)
    retest = {row["region"]: row for _, row in read_tsv(out / "csrd_retest.tsv", "none").rows}
    assert (retest["putamen"]["people"], retest["putamen"]["ICC"]) == ("1", "n/a")
    assert_is_bids(out)
    said = app(root, out, "participant", "--reference", "pons", status=1)
    assert "there are no regions for reference; give --labels too" in said

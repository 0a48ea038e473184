"""The grammar of file names: what is written can be read back, and aligned subjects are found by it."""

import pytest

from csrd.errors import InputError
from csrd.io.bids import Scan, dose_of, entities_of, find_aligned, subject_of


def test_names_of_a_scan():
    scan = Scan("sub-01", tracer="DASB")
    assert scan.reference == "sub-01/pet/sub-01_trc-DASB_rec-acstat_desc-reference_pet"
    assert scan.low(4) == "sub-01/pet/sub-01_trc-DASB_rec-acstatDrf4_desc-lowdose_pet"
    assert scan.std(10, "csrd") == "sub-01/pet/sub-01_trc-DASB_rec-acstatDrf10_desc-csrdStd_pet"
    assert scan.transform == "sub-01/anat/sub-01_from-T1w_to-pet_xfm"
    assert Scan("sub-01").reference == "sub-01/pet/sub-01_rec-acstat_desc-reference_pet"
    assert scan.name() == "sub-01/sub-01" and scan.name("activity", "truth") == "sub-01/truth/sub-01_activity"


def test_sessions_and_runs_have_their_places():
    scan = Scan("sub-01", session="02", run="3", tracer="DASB")
    name = "sub-01/ses-02/pet/sub-01_ses-02_trc-DASB_rec-acstatDrf4_run-3_desc-tv_pet"
    assert scan.denoised(4, "tv") == name
    assert scan.name("T1w") == "sub-01/ses-02/sub-01_ses-02_run-3_T1w"


def test_wildcards_make_a_pattern():
    pattern = Scan("{subject}", tracer="DASB").denoised("{drf}", "{method}")
    filled = pattern.format(subject="sub-07", drf=6, method="unet")
    assert filled == Scan("sub-07", tracer="DASB").denoised(6, "unet")


def test_an_entity_out_of_the_grammar_is_ours():
    with pytest.raises(AssertionError, match="unknown entities"):
        Scan("sub-01").name("pet", colour="red")


def test_names_are_read_back():
    path = f"results/{Scan('sub-07', session='2', tracer='DASB').denoised(6, 'unet')}.nii.gz"
    read = {"sub": "07", "ses": "2", "trc": "DASB", "rec": "acstatDrf6", "desc": "unet"}
    assert entities_of(path) == read and subject_of(path) == "sub-07" and dose_of(path) == 6
    assert dose_of("sub-01_draw-2_drf-10_desc-tv_pet.nii.gz") == 10
    assert dose_of("sub-01_rec-acstat_pet.nii.gz") is None and dose_of("clean.nii.gz") is None
    assert subject_of("my scan_1.l64") == "sub-myscan1"


@pytest.mark.parametrize(
    "scan", [Scan("sub-01"), Scan("sub-01", tracer="DASB"), Scan("sub-01", session="2", run="1")]
)
def test_aligned_subjects_are_found(tmp_path, scan):
    for name in (scan.reference, scan.low(4), scan.low(10), scan.mr, scan.head, scan.denoised(4, "tv")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.nii.gz").touch()
    found = find_aligned(tmp_path, ["sub-01"], [10, 4])
    assert found["lows"] == [tmp_path / f"{scan.low(drf)}.nii.gz" for drf in (10, 4)]
    assert found["normals"] == [tmp_path / f"{scan.reference}.nii.gz"]
    assert found["mrs"] == [tmp_path / f"{scan.mr}.nii.gz"]
    assert found["masks"] == [tmp_path / f"{scan.head}.nii.gz"]
    with pytest.raises(InputError, match="sub-01/pet has 0 files for .*acstatDrf6"):
        find_aligned(tmp_path, ["sub-01"], [6])
    (tmp_path / scan.mr).with_name("sub-01_acq-2_space-pet_desc-preproc_T1w.nii.gz").touch()
    with pytest.raises(InputError, match="anat has 2 files for"):
        find_aligned(tmp_path, ["sub-01"], [4])

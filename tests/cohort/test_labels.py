"""Labels for the dynamic scans of a dataset: the atlas, a dataset of labels, what is refused."""

import nibabel as nib
import numpy as np
import pytest

from csrd.cohort import labels_of_scans, subjects
from csrd.config import load
from csrd.errors import InputError
from tests.kinetics.study import write_study


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("study"))


def found(root, **kinetics):
    config = load({"cohort": {"bids": str(root), "as_is": True}, "kinetics": kinetics})
    return labels_of_scans(config, {scan.id: scan for scan in subjects(config)})


def test_where_the_labels_are_from(study):
    root, others = study
    assert found(root) == {}
    atlas = found(root, labels="atlas")
    assert len(atlas) == 4 and all(one.labels is None for one in atlas.values())
    assert atlas["sub-01_ses-rescan"].mr.name == "sub-01_ses-rescan_T1w.nii"
    own = found(root, labels=str(others))["sub-02_ses-baseline"]
    assert (
        own.labels.name == "sub-02_ses-baseline_dseg.nii.gz" and own.mr.name == "sub-02_ses-baseline_T1w.nii"
    )


def test_labels_of_the_pet_need_no_mr_and_those_of_no_session_do(study, tmp_path):
    root = study[0]
    grid = nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4))
    for name in ("sub-01/anat/sub-01_desc-a_dseg", "sub-01/anat/sub-01_desc-a_space-MNI_dseg",
                 "sub-02/ses-rescan/anat/sub-02_ses-rescan_space-PET_dseg",
                 "sub-02/anat/sub-02_dseg", "sub-01/anat/sub-01_desc-preproc_T1w"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        nib.save(grid, tmp_path / f"{name}.nii.gz")
    labels = found(root, labels=str(tmp_path))
    assert labels["sub-01_ses-rescan"].labels.name == "sub-01_desc-a_dseg.nii.gz"
    assert labels["sub-01_ses-rescan"].mr.name == "sub-01_desc-preproc_T1w.nii.gz", (
        "the labels' own T1w image"
    )
    assert labels["sub-02_ses-rescan"].mr is None
    assert labels["sub-02_ses-baseline"].mr.name == "sub-02_ses-baseline_T1w.nii"
    nib.save(grid, tmp_path / "sub-01/anat/sub-01_desc-b_dseg.nii.gz")
    with pytest.raises(InputError, match="has 2 images of labels"):
        found(root, labels=str(tmp_path))
    with pytest.raises(InputError, match="has no image of labels"):
        found(root, labels=str(tmp_path), description="c")


def test_the_atlas_needs_a_t1w_image(study):
    config = load({"cohort": {"bids": str(study[0]), "as_is": True, "select": {"mr": False}},
                   "kinetics": {"labels": "atlas"}})  # fmt: skip
    with pytest.raises(InputError, match="no T1w image, which the packaged atlas is matched to"):
        labels_of_scans(config, {scan.id: scan for scan in subjects(config)})

"""A BIDS dataset as a cohort: what is found where, and what is missing or there twice."""

import json

import numpy as np
import pytest

from csrd.cohort import in_suv, subjects
from csrd.cohort.bids import activity_at_reference
from csrd.config import load
from csrd.errors import InputError
from csrd.io.volume import Volume

SIDECAR = {
    "Units": "Bq/mL", "TracerName": "[11C]DASB", "TracerRadionuclide": "C11", "InjectedRadioactivity": 577.6,
    "InjectedRadioactivityUnits": "MBq", "InjectionStart": 0, "ImageDecayCorrectionTime": 0,
}  # fmt: skip


@pytest.fixture
def dataset(tmp_path):
    """Return a dataset: A with images of both doses, B with list-mode, C with a low dose alone."""
    (tmp_path / "dataset_description.json").write_text("{}")
    (tmp_path / "participants.tsv").write_text(
        "participant_id\tweight\tsplit\nsub-A\t65\ttrain\nsub-B\t70\ttest\nsub-C\tn/a\tn/a\n"
    )
    image = np.zeros((6, 6, 6), np.float32)
    image[2:4, 2:4, 2:4] = 1

    def save(path, sidecar=None):
        Volume(image, np.eye(4)).save(tmp_path / path)
        if sidecar is not None:
            (tmp_path / path.replace(".nii.gz", ".json")).write_text(json.dumps(sidecar))

    for name in "AB":
        save(f"sub-{name}/ses-1/anat/sub-{name}_ses-1_T1w.nii.gz")
        save(f"sub-{name}/ses-1/pet/sub-{name}_ses-1_trc-DASB_pet.nii.gz", SIDECAR)
    save("sub-A/ses-1/pet/sub-A_ses-1_trc-DASB_rec-acstatDrf4_pet.nii.gz", SIDECAR)
    save("sub-C/pet/sub-C_trc-DASB_pet.nii.gz", {**SIDECAR, "DoseReductionFactor": 4})
    source = tmp_path / "sourcedata" / "sub-B" / "ses-1"
    save("sourcedata/sub-B/ses-1/sub-B_mumap.nii.gz")
    (source / "scan.l64").touch()
    (source / "scan.l64.hdr").touch()
    return tmp_path


def config(root, **cohort):
    methods = ["lowdose", "csrdnomr"]
    return load({"drfs": [4], "train_drfs": [4], "methods": methods, "cohort": {"bids": str(root), **cohort}})


def test_every_depth_is_found(dataset):
    images, listmode, alone = subjects(config(dataset))
    assert images.pet.name == "sub-A_ses-1_trc-DASB_pet.nii.gz" and images.t1w.name.endswith("T1w.nii.gz")
    assert images.lows[4].name == "sub-A_ses-1_trc-DASB_rec-acstatDrf4_pet.nii.gz" and images.unit == "Bq/mL"
    assert (images.weight_kg, images.injected_MBq, images.tracer, images.split) == (
        65,
        577.6,
        "DASB",
        "train",
    )
    assert listmode.listmode.name == "scan.l64" and listmode.mumap.name == "sub-B_mumap.nii.gz"
    assert listmode.pet is None, "the dataset's image of the same scan is not taken for one of its own"
    assert list(alone.lows) == [4] and alone.split == "" and not alone.is_compared
    assert not in_suv([images, listmode]) and in_suv([images])


def test_mistakes_carry_the_line_of_participants(dataset):
    (dataset / "sub-A/ses-1/pet/sub-A_ses-1_trc-DASB_rec-acstatDrf4_pet.json").write_text("{}")
    (dataset / "sub-B/ses-1/anat/sub-B_ses-1_T1w.nii.gz").unlink()
    with pytest.raises(InputError) as caught:
        subjects(config(dataset))
    said = str(caught.value)
    assert "participants.tsv has mistakes" in said and "line 3: t1w is n/a; it is needed" in said
    assert "line 2: the unit of pet_drf4 is not known" in said
    image = (dataset / "sub-A/ses-1/anat/sub-A_ses-1_T1w.nii.gz").read_bytes()
    (dataset / "sub-A/ses-1/anat/sub-A_ses-1_acq-2_T1w.nii.gz").write_bytes(image)
    with pytest.raises(InputError, match="line 2: there are 2 files for t1w .*; keep one, or write a sheet"):
        subjects(config(dataset))


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (6, "DoseReductionFactor 6 in its sidecar, but 4 in its name; correct one"),
        (4.5, "DoseReductionFactor 4.5 in its sidecar; write a whole number"),
        ("4", "DoseReductionFactor '4' in its sidecar; write a whole number"),
        (float("nan"), "DoseReductionFactor nan in its sidecar; write a whole number"),
    ],
)
def test_a_dose_is_never_guessed(dataset, said, sentence):
    sidecar = dataset / "sub-A" / "ses-1" / "pet" / "sub-A_ses-1_trc-DASB_rec-acstatDrf4_pet.json"
    sidecar.write_text(json.dumps({**SIDECAR, "DoseReductionFactor": said}))
    with pytest.raises(InputError, match=f"line 2: .*{sentence}"):
        subjects(config(dataset, models="packaged"))


def test_without_splits_all_are_test_subjects(dataset):
    (dataset / "participants.tsv").write_text("participant_id\nsub-A\n")
    with pytest.raises(InputError, match="no subject has split train; .* cohort.models"):
        subjects(config(dataset))
    assert [subject.split for subject in subjects(config(dataset, models="packaged"))] == ["test"]


def test_what_is_no_dataset(tmp_path):
    with pytest.raises(InputError, match="is not a BIDS dataset: dataset_description.json"):
        subjects(config(tmp_path))
    with pytest.raises(InputError, match="sheet and bids are both given"):
        config(tmp_path, sheet="a.tsv")


@pytest.mark.parametrize(
    ("differs", "activity"),
    [
        ({}, 577.6),
        ({"ImageDecayCorrectionTime": 1224}, 288.8),
        ({"TracerRadionuclide": "11C", "ImageDecayCorrectionTime": 1224}, 288.8),
        ({"TracerRadionuclide": "Xx", "ImageDecayCorrectionTime": 1224}, None),
        ({"InjectedRadioactivityUnits": "kBq"}, 0.5776),
        ({"InjectedRadioactivityUnits": "furlongs"}, None),
        ({"InjectionStart": "n/a"}, None),
        ({"ImageDecayCorrectionTime": None}, None),
    ],
)
def test_activity_is_that_of_the_image_or_unknown(differs, activity):
    assert activity_at_reference(SIDECAR | differs) == (activity and pytest.approx(activity))


def test_sessions_of_a_subject_are_scans_of_their_own(dataset):
    """A second session with images, and a third with one image, which is denoised as it is."""
    for session, names in (("2", ("trc-DASB_pet", "trc-DASB_rec-acstatDrf4_pet")), ("3", ("trc-DASB_pet",))):
        for name in names:
            source = dataset / f"sub-A/ses-1/pet/sub-A_ses-1_{name}.nii.gz"
            target = dataset / f"sub-A/ses-{session}/pet/sub-A_ses-{session}_{name}.nii.gz"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
            target.with_name(target.name.replace(".nii.gz", ".json")).write_text(json.dumps(SIDECAR))
    table = dataset / "participants.tsv"
    table.write_text("participant_id\tweight\nsub-A\t65\nsub-B\t70\n")
    one, two, three, listmode = subjects(config(dataset, models="packaged"))
    assert [scan.id for scan in (one, two, three)] == ["sub-A_ses-1", "sub-A_ses-2", "sub-A_ses-3"]
    assert (one.split, two.split, three.split) == ("test", "test", "")
    assert two.t1w == one.t1w, "that of another session, where its own has none"
    assert three.is_plain and not two.is_plain and listmode.id == "sub-B"
    assert "ses-2" in str(two.lows[4]) and "ses-1" in str(one.lows[4])

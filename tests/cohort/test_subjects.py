"""The virtual cohort's list: numbered, split, and the same for the same seed."""

import pytest

from csrd.cohort import subjects
from csrd.config import load
from csrd.errors import InputError

COHORT = {"train": 2, "validation": 1, "test": 1}


@pytest.fixture
def tracer(tmp_path):
    path = tmp_path / "DASB.tsv"
    path.write_text("")
    return str(path)


def test_splits_and_names(tracer):
    cohort = subjects(load({"cohort": {**COHORT, "tracer": tracer}}))
    assert [(subject.id, subject.split) for subject in cohort] == [
        ("sub-01", "train"),
        ("sub-02", "train"),
        ("sub-03", "validation"),
        ("sub-04", "test"),
    ]
    assert {subject.tracer for subject in cohort} == {"DASB"}


def test_people_differ_and_depend_on_seed_and_name_only(tracer):
    small, large, other = (
        subjects(load({"seed": seed, "cohort": {**COHORT, "test": test, "tracer": tracer}}))
        for seed, test in ((1, 1), (1, 20), (2, 1))
    )
    assert small == large[:4] and small != other
    assert len({subject.weight_kg for subject in large}) > 15
    assert all(45 <= subject.weight_kg <= 95 and 460 < subject.injected_MBq < 695 for subject in large)


def test_real_anatomies_are_shared_out_by_name(tracer, tmp_path):
    folder = tmp_path / "t1w"
    folder.mkdir()
    for name in "dacb":
        (folder / f"{name}.nii.gz").touch()
    cohort = subjects(load({"cohort": {**COHORT, "tracer": tracer, "t1w": str(folder)}}))
    assert [subject.t1w.name[0] for subject in cohort] == list("abcd")
    with pytest.raises(InputError, match="holds 4 NIfTI images for 5 subjects"):
        subjects(load({"cohort": {**COHORT, "test": 2, "tracer": tracer, "t1w": str(folder)}}))


def test_fitted_models_leave_the_test_subjects(tracer, tmp_path):
    """They are the same subjects as in a cohort that is trained on too, and need no other images."""
    (tmp_path / "t1w").mkdir()
    (tmp_path / "t1w" / "one.nii.gz").touch()
    everyone = subjects(load({"cohort": {**COHORT, "tracer": tracer}}))
    models = {"models": "packaged", "tracer": tracer}
    assert subjects(load({"cohort": {**COHORT, **models}})) == everyone[3:]
    (alone,) = subjects(load({"cohort": {**COHORT, **models, "t1w": str(tmp_path / "t1w")}}))
    assert alone.id == "sub-04" and alone.t1w.name == "one.nii.gz"
    (first,) = subjects(load({"cohort": {"train": 0, "validation": 0, "test": 1, **models}}))
    assert (first.id, first.split) == ("sub-01", "test")


def test_nothing_to_train_on_is_refused(tracer):
    cohort = {"train": 0, "test": 1, "tracer": tracer}
    with pytest.raises(InputError, match="cohort.train is 0, but tv, csrd are to be fitted"):
        subjects(load({"methods": ["lowdose", "tv", "csrd"], "cohort": cohort}))
    assert len(subjects(load({"methods": ["lowdose"], "cohort": cohort}))) == 2


@pytest.mark.parametrize(
    ("name", "sentence"), [("none.tsv", "does not exist"), ("C-11.tsv", "letters and digits")]
)
def test_tracer_table(tmp_path, name, sentence):
    (tmp_path / "C-11.tsv").touch()
    with pytest.raises(InputError, match=sentence):
        subjects(load({"cohort": {"tracer": str(tmp_path / name)}}))

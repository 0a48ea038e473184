"""The scans of a BIDS dataset as they are: which are found, with which MR, and what is said of a choice."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from csrd.cli.cohorts import repeated
from csrd.cohort.bids import injected_activity
from csrd.cohort.scans import filters_in, read_scans
from csrd.config.sections import Cohort
from csrd.errors import InputError
from csrd.io.bids import inherited
from csrd.io.files import read_json
from csrd.pretrained import packaged
from csrd.stages import bids_app
from csrd.stages.bids_app import Choices, outdated, planned, sentences, settings_of
from csrd.stages.scans import describe_methods
from tests.bids.layouts import LAYOUTS, build

EXPECTED = {
    "ds001420": (4, 4), "ds003382": (2, 2), "ds003397": (4, 4), "ds004869": (4, 4), "pet001": (1, 1),
    "pet002": (4, 4), "pet003": (1, 1), "pet004": (1, 0), "pet005": (2, 2), "pet006": (1, 0),
}  # fmt: skip
"""Numbers of scans, and of those with a T1w image."""


@pytest.fixture(scope="module")
def layouts(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("layouts")
    for name in LAYOUTS:
        build(name, root, most_frames=2)
    return root


def touch(path: Path, frames: int = 1, **sidecar) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (5, 5, 5) if frames == 1 else (5, 5, 5, frames)
    nib.save(nib.Nifti1Image(np.ones(shape, np.float32), np.diag([4, 4, 4, 1])), path)
    if sidecar:
        path.with_name(path.name.partition(".")[0] + ".json").write_text(json.dumps(sidecar))
    return path


@pytest.fixture
def dataset(tmp_path) -> Path:
    """Return a dataset without participants.tsv: two sessions with two runs, an MR in the first session."""
    root = tmp_path / "study"
    for session in "ab":
        for run in ("01", "02"):
            touch(root / f"sub-1/ses-{session}/pet/sub-1_ses-{session}_run-{run}_pet.nii.gz")
    touch(root / "sub-1/ses-a/anat/sub-1_ses-a_T1w.nii")
    (root / "dataset_description.json").write_text("{}")
    return root


def scans(root: Path, **select):
    return read_scans(root, Cohort(bids=str(root), as_is=True, select=select))


@pytest.mark.parametrize("name", EXPECTED)
def test_every_layout_is_planned(layouts, name, tmp_path):
    found = planned(settings_of(layouts / name, tmp_path / "out", Choices()))
    assert (len(found), sum(scan.t1w is not None for scan in found)) == EXPECTED[name]
    assert len({scan.id for scan in found}) == len(found), "each has a name of its own"
    assert all(scan.is_plain and not scan.is_compared for scan in found)


def test_static_and_corrected_for_attenuation_comes_first_and_this_is_said(layouts):
    first, _ = scans(layouts / "ds003382")
    assert "_rec-acstat_" in first.pet.name
    assert "rec-acdyn, rec-nacstat are not" in first.notes[0]
    assert len(scans(layouts / "ds003382", reconstruction=["all"])) == 6
    assert {
        scan.id.split("rec-")[1][:5] for scan in scans(layouts / "ds003382", reconstruction=["acdyn"])
    } == {"acdyn"}


def test_static_is_what_has_one_frame_and_corrected_what_the_sidecar_says(dataset):
    folder = dataset / "sub-2/pet"
    order = []
    for label, frames, said in (
        ("nac", 1, {}), ("a", 1, {"AttenuationCorrection": "none"}), ("b", 3, {}), ("c", 1, {}),
    ):  # fmt: skip
        touch(folder / f"sub-2_rec-{label}_pet.nii.gz", frames, **said)
        order.append(scans(dataset, participant=["2"])[0].pet.name)
    assert order == [f"sub-2_rec-{label}_pet.nii.gz" for label in ("nac", "a", "b", "c")]
    touch(folder / "sub-2_pet.nii.gz")
    assert scans(dataset, participant=["2"])[0].pet.name == "sub-2_pet.nii.gz"


def test_weight_and_activity_by_the_usual_names_and_units(layouts):
    visual, _ = scans(layouts / "ds003382")  # body_weight, dose; Mbq
    assert (visual.weight_kg, visual.injected_MBq, visual.unit) == (85, 39, "Bq/mL")
    blocked = scans(layouts / "ds004869")[0]
    assert blocked.weight_kg == 75.8 and blocked.injected_MBq == pytest.approx(653.79)
    assert "SUVPerBqPerML" not in scans(layouts / "ds003397")[0].known(None), "nothing is known there"
    known = visual.known(str(layouts / "ds003382"))
    assert known["SUVPerBqPerML"] == pytest.approx(85e3 / 39e6)
    assert known["Sources"][0].startswith(
        "bids:raw:sub-02/pet/sub-02_task-checkerboard_trc-18FFDG_rec-acstat"
    )


def test_columns_are_in_the_units_of_their_description(dataset):
    """Activity on the clock of the decay correction, weights in pounds."""
    (dataset / "participants.tsv").write_text("participant_id\tweight\tdose\nsub-1\t150\t10\n")
    (dataset / "pet.json").write_text('{"InjectionStart": 0, "ImageDecayCorrectionTime": 0}')
    assert (scans(dataset)[0].weight_kg, scans(dataset)[0].injected_MBq) == (150, 10)
    described = dataset / "participants.json"
    described.write_text('{"weight": {"Units": "lb"}, "dose": {"Units": "mCi"}, "age": "years"}')
    scan = scans(dataset)[0]
    assert (scan.weight_kg, scan.injected_MBq) == (pytest.approx(68.04, abs=0.01), pytest.approx(370))
    described.write_text('{"weight": {"Units": "stone"}, "dose": {"Units": "counts"}}')
    assert (scans(dataset)[0].weight_kg, scans(dataset)[0].injected_MBq) == (None, None), "not guessed"


@pytest.mark.parametrize(
    ("sidecar", "activity"),
    [
        ({"InjectedRadioactivity": 10, "InjectedRadioactivityUnits": "mCi"}, 370),
        ({"InjectedRadioactivity": 4e8, "InjectedRadioactivityUnits": "Bq"}, 400),
        ({"InjectedRadioactivity": 400, "InjectedRadioactivityUnits": "Mbq"}, 400),
        ({"InjectedRadioactivity": "n/a", "InjectedRadioactivityUnits": "MBq"}, None),
        ({"InjectedRadioactivity": 400}, None),
        ({"RadionuclideTotalDose": 4e8}, 400),
        ({"RadionuclideTotalDose": 400}, None),
        ({"RadionuclideTotalDose": 400, "RadionuclideTotalDoseUnits": "MBq"}, 400),
        ({}, None),
    ],
)
def test_activities_have_units(sidecar, activity):
    assert injected_activity(sidecar) == (activity and pytest.approx(activity))


def test_sessions_and_runs_are_scans_of_their_own(dataset):
    found = scans(dataset)
    assert [scan.id for scan in found] == [f"sub-1_ses-{s}_run-{r}" for s in "ab" for r in ("01", "02")]
    assert {scan.folder for scan in found} == {"sub-1/ses-a", "sub-1/ses-b"}
    assert [scan.id for scan in scans(dataset, run=["1"], session=["ses-b"])] == ["sub-1_ses-b_run-01"]


def test_the_mr_of_another_session_is_used_and_this_is_said(dataset):
    same, other = scans(dataset, run=["1"])
    assert same.t1w == other.t1w and not same.notes
    assert other.notes == ("the T1w image is of another session: sub-1_ses-a_T1w.nii",)
    touch(dataset / "sub-1/ses-b/anat/sub-1_ses-b_acq-x_T1w.nii.gz")
    touch(dataset / "sub-1/ses-b/anat/sub-1_ses-b_acq-y_T1w.nii.gz")
    other = scans(dataset, session=["b"])[0]
    assert other.t1w.name == "sub-1_ses-b_acq-x_T1w.nii.gz" and "not sub-1_ses-b_acq-y" in other.notes[0]
    chosen = scans(dataset, session=["b"], t1w={"acq": ["y"]})[0]
    assert chosen.t1w.name == "sub-1_ses-b_acq-y_T1w.nii.gz" and not chosen.notes
    assert scans(dataset, mr=False)[0].t1w is None
    assert sentences([chosen]) == ["sub-1_ses-b_run-01_pet.nii.gz, with sub-1_ses-b_acq-y_T1w.nii.gz"]


def test_of_two_files_of_one_name_the_compressed_one_is_read(dataset):
    touch(dataset / "sub-1/ses-a/pet/sub-1_ses-a_run-01_pet.nii")
    assert len(scans(dataset)) == 4 and scans(dataset)[0].pet.name.endswith(".nii.gz")


def test_sidecars_are_inherited_the_nearest_first(dataset):
    image = dataset / "sub-1/ses-a/pet/sub-1_ses-a_run-01_pet.nii.gz"
    (dataset / "pet.json").write_text('{"Units": "kBq/mL", "a": 1, "b": 1}')
    (dataset / "ses-a_pet.json").write_text('{"b": 2}')
    (dataset / "ses-b_pet.json").write_text('{"b": 9}')
    (dataset / "T1w.json").write_text('{"c": 9}')
    (image.parent / "sub-1_ses-a_run-01_pet.json").write_text('{"a": 3}')
    assert inherited(image) == {"Units": "kBq/mL", "a": 3, "b": 2}
    (dataset / "dataset_description.json").unlink()
    assert inherited(image) == {"a": 3}, "outside a dataset a file has its own sidecar only"


def test_a_filter_file_has_long_names(dataset, tmp_path):
    path = tmp_path / "filter.json"
    path.write_text('{"pet": {"session": "b", "run": 2}, "t1w": {"acquisition": ["mprage"], "run": null}}')
    select = filters_in(path)
    assert select == {"session": ("b",), "run": ("2",), "t1w": {"acq": ("mprage",), "run": ("",)}}
    touch(dataset / "sub-1/ses-a/anat/sub-1_ses-a_acq-mprage_T1w.nii")
    settings = settings_of(dataset, tmp_path / "out", Choices({"session": ("a",)}, filter_file=path))
    assert [scan.id for scan in planned(settings)] == ["sub-1_ses-a_run-02"], "an option has precedence"
    path.write_text('{"bold": {}}')
    with pytest.raises(InputError, match="has 'bold'; write"):
        filters_in(path)
    path.write_text('{"t1w": {"datatype": "anat", "suffix": "T1w", "extension": ".nii", "session": "a"}}')
    assert filters_in(path) == {"t1w": {"ses": ("a",)}}, "what selects the images that are read anyway"
    path.write_text('{"t1w": {"acquisition_label": "b"}}')
    with pytest.raises(InputError, match="has 'acquisition_label' for t1w; there can be subject, session"):
        filters_in(path)
    path.write_text('{"pet": {"colour": "b"}}')
    with pytest.raises(InputError, match="has 'colour' for pet; there can be participant"):
        filters_in(path)


def test_a_filter_that_selects_no_mr_is_said(dataset):
    touch(dataset / "sub-2/pet/sub-2_pet.nii.gz")
    touch(dataset / "sub-2/anat/sub-2_acq-x_T1w.nii.gz")
    *_, second = scans(dataset, t1w={"ses": ["a"]})
    assert second.t1w is None
    assert second.notes == (
        "the filter selects none of the participant's T1w images: sub-2_acq-x_T1w.nii.gz",
    )
    with pytest.raises(InputError, match="selects none .* sub-1_ses-a_T1w.nii; correct the filter"):
        scans(dataset, t1w={"acq": ["mprage"]})
    assert {scan.t1w for scan in scans(dataset, t1w={"acq": ["mprage"]}, mr=False)} == {None}


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        ({"participant": ("9",)}, "of those selected, has the participant 9; there: 1"),
        ({"session": ("b",), "run": ("7",)}, "has the run 7; there: 01, 02"),
        ({"tracer": ("DASB",)}, "has the tracer DASB; there: none"),
    ],
)
def test_a_label_that_matches_nothing_is_named_with_those_that_are_there(
    dataset, choices, sentence, tmp_path
):
    with pytest.raises(InputError, match=sentence):
        planned(settings_of(dataset, tmp_path / "out", Choices(choices)))


def test_what_is_no_dataset_or_no_place_for_derivatives(dataset, tmp_path):
    out = tmp_path / "out"
    for inside in (dataset, dataset / "out", dataset / "derivatives", tmp_path):
        with pytest.raises(InputError, match=r"would mix with the dataset .*; name .*derivatives/csrd"):
            settings_of(dataset, inside, Choices())
    settings_of(dataset, dataset / "derivatives" / "csrd", Choices())
    with pytest.raises(InputError, match="nowhere is not a folder"):
        settings_of(tmp_path / "nowhere", out, Choices())
    out.mkdir()
    (out / "dataset_description.json").write_text('{"GeneratedBy": [{"Name": "other"}]}')
    with pytest.raises(InputError, match="a dataset that csrd did not write"):
        settings_of(dataset, out, Choices())
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="it has no dataset_description.json"):
        planned(settings_of(empty, tmp_path / "b", Choices()))
    (empty / "dataset_description.json").write_text("{}")
    with pytest.raises(InputError, match="has no PET image"):
        planned(settings_of(empty, tmp_path / "b", Choices()))


def test_all_images_that_cannot_be_read_are_named_at_once(dataset, tmp_path):
    for run in ("01", "02"):
        (dataset / f"sub-1/ses-b/pet/sub-1_ses-b_run-{run}_pet.nii.gz").write_bytes(b"")
    with pytest.raises(InputError) as caught:
        planned(settings_of(dataset, tmp_path / "out", Choices()))
    assert str(caught.value).count("is not a readable NIfTI image") == 2


def test_images_that_were_not_fetched_are_named(dataset, tmp_path):
    """As datalad leaves them: links to content that is elsewhere."""
    pet = dataset / "sub-1/ses-b/pet/sub-1_ses-b_run-01_pet.nii.gz"
    t1w = dataset / "sub-1/ses-b/anat/sub-1_ses-b_T1w.nii.gz"
    t1w.parent.mkdir()
    pet.unlink()
    for path in (pet, t1w):
        path.symlink_to("../../.git/annex/objects/content")
    with pytest.raises(InputError) as caught:
        planned(settings_of(dataset, tmp_path / "out", Choices({"session": ("b",)})))
    for path in (pet, t1w):
        assert f"{path} is a link to a file that is not there; fetch it" in str(caught.value)


def test_a_model_that_needs_an_mr_is_not_used_without(dataset, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.json").write_text('{"method": "csrd"}')
    choices = Choices({"session": ("a",)}, model=tmp_path / "model")
    assert len(planned(settings_of(dataset, tmp_path / "out", choices))) == 2
    (dataset / "sub-1/ses-a/anat/sub-1_ses-a_T1w.nii").unlink()
    with pytest.raises(InputError, match="without a T1w image, which csrd needs"):
        planned(settings_of(dataset, tmp_path / "out", choices))
    with pytest.raises(InputError, match="needs an MR; leave --no-mr out"):
        settings_of(dataset, tmp_path / "out", Choices(no_mr=True, model=tmp_path / "model"))


def test_an_mr_that_the_model_does_not_use_is_no_source(dataset, tmp_path):
    (tmp_path / "model.json").write_text('{"method": "csrdnomr"}')
    found = planned(settings_of(dataset, tmp_path / "out", Choices(model=tmp_path)))
    assert {scan.t1w for scan in found} == {None}
    with_mr = scans(dataset)[0]
    assert len(with_mr.known(str(dataset), wants_mr=True)["Sources"]) == 2
    assert len(with_mr.known(str(dataset), wants_mr=False)["Sources"]) == 1


def test_a_dataset_of_denoised_images_is_refused(dataset, tmp_path):
    touch(dataset / "sub-2/pet/sub-2_desc-csrd_pet.nii.gz", Denoising="CSRD w MR")
    with pytest.raises(InputError, match="sub-2_desc-csrd_pet.nii.gz was denoised before, by CSRD w MR"):
        planned(settings_of(dataset, tmp_path / "out", Choices()))


def test_a_folder_that_is_no_profile_is_refused(dataset, tmp_path):
    settings = settings_of(dataset, tmp_path / "out", Choices())
    with pytest.raises(InputError, match="is not a profile of snakemake"):
        bids_app.run(settings, "participant", 1, profile=dataset)


def test_the_level_group_needs_a_denoised_scan(dataset, tmp_path):
    settings = settings_of(dataset, tmp_path / "out", Choices())
    with pytest.raises(InputError, match="has no denoised scan; run the level participant first"):
        bids_app.run(settings, "group", 1)


def test_several_labels_follow_one_option():
    words = ["in", "out", "participant", "--participant-label", "01", "02", "--cores", "2", "--rec=all", "-n"]
    assert repeated(words) == [*words[:5], "--participant-label", *words[5:]]
    assert repeated(["--run", "1", "in", "out", "group"]) == ["--run", "1", "in", "out", "group"]


def test_the_methods_paragraph_is_about_former_runs_too(tmp_path):
    for label, more in (("1", {}), ("2", {"RegistrationMatrix": [], "FrameDuration": [1, 1]})):
        said = {
            "Denoising": "CSRD w MR",
            "ModelSha256": "a" * 64,
            "Sources": ["x"],
            "Versions": {"csrd": label},
        }
        touch(tmp_path / f"sub-{label}/pet/sub-{label}_desc-csrd_pet.nii.gz", **said | more)
    own = [tmp_path / "sub-2/pet/sub-2_desc-csrd_pet.json"]
    describe_methods(own, tmp_path / "one.md")
    assert "1 PET image was denoised with csrd 2 (" in (tmp_path / "one.md").read_text()
    describe_methods(own, tmp_path / "all.md", former=True)
    text = (tmp_path / "all.md").read_text()
    assert "2 PET images were denoised with csrd 1, 2 (" in text and "1 image was dynamic" in text


def test_an_image_of_another_model_is_made_again(dataset, tmp_path):
    settings = settings_of(dataset, tmp_path / "out", Choices({"session": ("b",)}, no_mr=True))
    found = planned(settings)
    assert outdated(settings, found) == []
    wanted = read_json(packaged("csrdnomr") / "model.json")["weights_sha256"]
    images = [touch(tmp_path / f"out/sub-1/ses-b/pet/sub-1_ses-b_run-{run}_desc-csrdnomr_pet.nii.gz",
                    WeightsSha256=weights) for run, weights in (("01", wanted), ("02", "other"))]  # fmt: skip
    assert outdated(settings, found) == [str(images[1])]


def test_runs_of_different_selections_do_not_share_a_folder(dataset, tmp_path):
    def folder(**select):
        return settings_of(dataset, tmp_path / "out", Choices(select))["results_dir"].rpartition("/")[2]

    assert (folder(), folder(participant=("01",))) == ("all", "01")
    names = {folder(), folder(session=("a",)), folder(session=("b",)), folder(participant=("01", "02"))}
    assert len(names) == 4

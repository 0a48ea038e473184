"""The user's sheet: what it may leave out, and that all its mistakes are told at once."""

import json

import nibabel as nib
import numpy as np
import pytest

from csrd.cohort import in_suv, read_sheet
from csrd.cohort.rows import COLUMNS
from csrd.config import load
from csrd.errors import InputError
from csrd.io.volume import Volume
from tests.cohort.conftest import ALONE, IMAGES

TEST = {"participant_id": "sub-B2", "split": "test", "listmode": "b.l64"}
TEST_IMAGES = {
    **IMAGES,
    "participant_id": "sub-B2",
    "split": "test",
    "pet": "pet2.nii.gz",
    "pet_drf4": "low2.nii.gz",
}
EMBEDDED = load({})
COMMAND = load(
    {
        "recon": {
            "engine": "command",
            "command": {"run": "x {listmode} {output}", "scales_dose": "csrd", "unit": "Bq/mL"},
        }
    }
)
FOUR = {"drfs": [4], "train_drfs": [4], "methods": ["lowdose", "tv", "csrdnomr"]}
IN_BQ = load({**FOUR, "cohort": {"units": "Bq/mL"}})
WITH_LOW = (*COLUMNS, "pet_drf4")


def test_good_sheet(write_sheet, study):
    first, second = read_sheet(write_sheet({}, TEST | {"weight_kg": "n/a"}), EMBEDDED)
    assert (first.id, first.split, first.tracer, first.suffix) == ("sub-A1", "train", "DASB", "l64")
    assert first.listmode == study / "a.l64" and first.header == study / "a.l64.hdr"
    assert first.facts == {"tracer": "DASB", "weight_kg": 70.0, "injected_MBq": None}
    assert second.weight_kg is None and second.normalisation is None


def test_absolute_paths_stay(write_sheet, study, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    subjects = read_sheet(write_sheet({"t1w": str(study / "t1w.nii.gz")}, TEST), EMBEDDED)
    assert subjects[0].t1w == study / "t1w.nii.gz"


def test_all_mistakes_at_once(write_sheet):
    rows = (
        {"participant_id": "A1; rm", "split": "training", "t1w": "no.nii", "mumap": "n/a"},
        {"listmode": "b.txt", "weight_kg": "-3", "injected_MBq": "much", "tracer": "C-11"},
        {"listmode": "n/a", "header": "no.hdr"},
        {"participant_id": "sub-C3"},
    )
    with pytest.raises(InputError) as caught:
        read_sheet(write_sheet(*rows), EMBEDDED)
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("subjects.tsv has mistakes:")
    for expected in (
        "line 3: participant_id is 'A1; rm'",
        "line 3: split is 'training'; write train, validation, test",
        "line 3: t1w is",
        "line 3: mumap is n/a; the reconstruction needs one",
        "line 4: listmode is b.txt; its name must end in .l64, .l, .petsird",
        "line 4: weight_kg is '-3'",
        "line 4: injected_MBq is 'much'",
        "line 4: tracer is 'C-11'",
        "line 5: listmode and pet are both n/a",
        "line 5: header is",
        "participant_id sub-A1 is in 2 lines",
        "listmode a.l64 is in 2 lines",
        "no subject has split test",
        "the subjects' tracers are C-11, DASB",
    ):
        assert any(expected in line for line in lines), expected


def test_mumap_may_lack_where_a_command_reconstructs(write_sheet):
    sheet = write_sheet({"mumap": "n/a"}, TEST | {"mumap": "n/a"})
    assert read_sheet(sheet, COMMAND)[0].mumap is None


@pytest.mark.parametrize("config", [EMBEDDED, COMMAND])
def test_either_engine_takes_sinogram_bins(write_sheet, study, config):
    for name in ("a.l", "a.l.hdr"):
        (study / name).touch()
    first, _ = read_sheet(write_sheet({"listmode": "a.l"}, TEST), config)
    assert first.suffix == "l" and first.header == study / "a.l.hdr"


def test_petsird_needs_no_header(write_sheet, study):
    (study / "a.petsird").touch()
    first, _ = read_sheet(write_sheet({"listmode": "a.petsird"}, TEST), EMBEDDED)
    assert first.suffix == "petsird" and first.header is None
    sheet = write_sheet({"listmode": "a.petsird", "header": "b.l64.hdr"}, TEST)
    with pytest.raises(
        InputError, match=r"line 3: header is b.l64.hdr, but PETSIRD carries its own; write n/a"
    ):
        read_sheet(sheet, EMBEDDED)


def test_header_elsewhere_must_be_named(write_sheet, study):
    (study / "a.l64.hdr").rename(study / "other.hdr")
    with pytest.raises(InputError, match=r"line 3: header is n/a, and .*a.l64.hdr does not exist"):
        read_sheet(write_sheet({}, TEST), EMBEDDED)
    assert read_sheet(write_sheet({"header": "other.hdr"}, TEST), EMBEDDED)[0].header == study / "other.hdr"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("# only a comment\n", "is empty"),
        ("participant_id\tsplit\n", "has columns but no row"),
        ("split\tpet\ntest\tx\n", "add participant_id"),
        ("participant_id\tsplit\tsplit\nsub-1\ta\tb\n", "keep one split"),
        ("participant_id\tsplit\nsub-1\n", "more or fewer cells in line 2"),
        ("participant_id,split\nsub-1,test\n", "separate them by tabs"),
    ],
)
def test_no_table(tmp_path, text, sentence):
    sheet = tmp_path / "subjects.tsv"
    sheet.write_text(text)
    with pytest.raises(InputError, match=sentence):
        read_sheet(sheet, EMBEDDED)


def test_unknown_column_and_no_rows(write_sheet, tmp_path):
    with pytest.raises(InputError, match="remove sex"):
        read_sheet(write_sheet({}, columns=(*COLUMNS, "sex")), EMBEDDED)
    with pytest.raises(InputError, match="has columns but no row"):
        read_sheet(write_sheet(), EMBEDDED)
    with pytest.raises(InputError, match="not a readable table"):
        read_sheet(tmp_path / "missing.tsv", EMBEDDED)


def test_few_columns_are_enough(write_sheet, study):
    columns = ("participant_id", "split", "listmode", "t1w", "mumap")
    first, second = read_sheet(write_sheet({}, TEST, columns=columns), EMBEDDED)
    assert first.tracer is None and first.weight_kg is None and second.listmode == study / "b.l64"


def test_images_instead_of_list_mode(write_sheet, study):
    subjects = read_sheet(write_sheet(IMAGES, TEST_IMAGES, columns=WITH_LOW), IN_BQ)
    assert [subject.pet for subject in subjects] == [study / "pet.nii.gz", study / "pet2.nii.gz"]
    assert subjects[1].lows == {4: study / "low2.nii.gz"}
    assert all(subject.is_compared and subject.unit == "Bq/mL" for subject in subjects)
    assert not in_suv(subjects)


def test_a_low_dose_alone_is_of_no_split(write_sheet):
    rows = IMAGES, TEST_IMAGES, {**ALONE, "participant_id": "sub-C3", "t1w": "n/a"}
    *_, alone = read_sheet(write_sheet(*rows, columns=WITH_LOW), IN_BQ)
    assert alone.split == "" and not alone.is_compared and alone.t1w is None
    fitted = load({**FOUR, "cohort": {"models": "packaged"}})
    only = read_sheet(write_sheet(ALONE, columns=WITH_LOW), fitted)
    assert [subject.unit for subject in only] == [None], "it takes none to be denoised"
    with pytest.raises(
        InputError, match="no subject has split train; name at least one, or .* cohort.models"
    ):
        read_sheet(write_sheet(ALONE, columns=WITH_LOW), load(FOUR))
    with pytest.raises(
        InputError, match=r"t1w is n/a, and no method in use \(csrd\) does without; add csrdnomr"
    ):
        needs = load({**FOUR, "methods": ["csrd"], "cohort": {"models": "packaged"}})
        read_sheet(write_sheet({**ALONE, "t1w": "n/a"}, columns=WITH_LOW), needs)


def test_all_mistakes_of_images_at_once(write_sheet, study):
    pet = Volume.load(study / "pet.nii.gz")
    Volume(pet.array, np.diag([2.0, 2, 2, 1])).save(study / "elsewhere.nii.gz")
    Volume(pet.array[:4], np.eye(4)).save(study / "short.nii.gz")
    (study / "broken.nii.gz").write_bytes((study / "pet.nii.gz").read_bytes()[:60])
    (study / "counts.nii.gz").write_bytes((study / "pet.nii.gz").read_bytes())
    (study / "counts.json").write_text(json.dumps({"Units": "counts"}))
    (study / "suv.nii.gz").write_bytes((study / "pet.nii.gz").read_bytes())
    (study / "suv.json").write_text(json.dumps({"Units": "g/ml", "DoseReductionFactor": 4}))
    rows = (
        {**IMAGES, "pet_drf4": "n/a", "t1w": "n/a"},
        {**IMAGES, "listmode": "a.l64"},
        {**IMAGES, "pet": "elsewhere.nii.gz", "t1w": "broken.nii.gz"},
        {**IMAGES, "pet": "counts.nii.gz", "pet_drf4": "short.nii.gz"},
        {**ALONE, "split": "train", "pet_drf8": "low2.nii.gz"},
        {"listmode": "n/a"},
        {**IMAGES, "participant_id": "sub-S1", "pet": "suv.nii.gz", "pet_drf4": "low.nii.gz"},
    )
    with pytest.raises(InputError) as caught:
        read_sheet(write_sheet(*rows, columns=(*WITH_LOW, "pet_drf8")), IN_BQ)
    lines = str(caught.value).splitlines()
    for expected in (
        "line 3: pet_drf4 n/a, but drfs has this dose; add the image, or remove the dose from drfs",
        "line 3: t1w is n/a; it is needed",
        "line 4: both listmode and images are given",
        "line 5: pet_drf4 is not on the grid of pet",
        "line 5: t1w: ",
        "line 6: pet: the unit 'counts' is not Bq/mL, kBq/mL or SUV",
        "line 6: pet_drf4 is not on the grid of pet",
        "line 7: pet_drf4, pet_drf8 are given without pet",
        "line 7: split is 'train', but there is no normal dose",
        "line 8: listmode and pet are both n/a",
        "line 9: the images' units differ (pet in SUV, pet_drf4 in Bq/mL)",
        "line 9: pet has DoseReductionFactor 4 in its sidecar; correct the one that is wrong",
        "sub-A1 is not in SUV as others are; add weight_kg and injected_MBq",
    ):
        assert any(expected in line for line in lines), (expected, lines)
    with pytest.raises(
        InputError, match="line 3: the unit of pet, pet_drf4 is not known; .* or set cohort.units"
    ):
        read_sheet(write_sheet(IMAGES, TEST_IMAGES, columns=WITH_LOW), load(FOUR))


def test_suv_needs_weight_and_activity_or_images_in_it(write_sheet, study):
    known = {"weight_kg": "70", "injected_MBq": "500"}
    rows = {**IMAGES, **known}, {**TEST_IMAGES, **known}
    assert in_suv(read_sheet(write_sheet(*rows, columns=WITH_LOW), IN_BQ))
    in_it = load({**FOUR, "cohort": {"units": "SUV"}})
    assert in_suv(read_sheet(write_sheet(IMAGES, TEST_IMAGES, columns=WITH_LOW), in_it))
    assert in_suv(
        read_sheet(
            write_sheet(
                {**TEST_IMAGES, **known},
                {**IMAGES, **known},
                {**ALONE, "participant_id": "sub-C"},
                columns=WITH_LOW,
            ),
            IN_BQ,
        )
    )


def test_a_participants_sessions_and_runs_are_scans_in_one_split(write_sheet, study):
    for name in ("c.l64", "c.l64.hdr"):
        (study / name).write_bytes((study / name.replace("c", "b", 1)).read_bytes())
    again = {"session": "2", "run": "1", "listmode": "c.l64"}
    first, second, other = read_sheet(write_sheet({"session": "1"}, again, TEST), EMBEDDED)
    assert (first.id, second.id, other.id) == ("sub-A1_ses-1", "sub-A1_ses-2_run-1", "sub-B2")
    assert second.participant == "sub-A1" and second.folder == "sub-A1/ses-2" and second.run == "1"
    with pytest.raises(InputError, match=r"the scans of sub-A1 are in several splits \(test, train\)"):
        read_sheet(write_sheet({"session": "1"}, again | {"split": "test"}, TEST), EMBEDDED)
    with pytest.raises(InputError, match="participant_id sub-A1_ses-1 is in 2 lines; keep one"):
        read_sheet(write_sheet({"session": "1"}, {"session": "1", "listmode": "c.l64"}, TEST), EMBEDDED)
    with pytest.raises(InputError, match="session is 'a b'; write letters or digits"):
        read_sheet(write_sheet({"session": "a b"}, TEST), EMBEDDED)


def test_one_image_without_split_is_denoised_as_it_is(write_sheet, study):
    nib.save(nib.Nifti1Image(np.ones((8, 8, 8, 3), np.float32), np.eye(4)), study / "dynamic.nii.gz")
    fitted = load({**FOUR, "cohort": {"units": "Bq/mL", "models": "packaged"}})
    plain = {"participant_id": "sub-P", "listmode": "n/a", "pet": "dynamic.nii.gz", "split": "n/a"}
    (found,) = read_sheet(write_sheet(plain), fitted)
    assert found.is_plain and not found.is_compared and found.t1w is not None
    compared = plain | {"split": "test"}
    alone = plain | {"pet": "n/a", "pet_drf4": "dynamic.nii.gz"}
    for row, column in ((compared, "pet"), (alone, "pet_drf4")):
        with pytest.raises(InputError, match=f"{column}: .* has 3 frames; give one 3D image, or, to denoise"):
            read_sheet(write_sheet(row, columns=WITH_LOW), fitted)
    with_mr = load({**FOUR, "methods": ["csrd"], "cohort": {"models": "packaged"}})
    with pytest.raises(InputError, match="t1w is n/a, and no method in use .* add csrdnomr"):
        read_sheet(write_sheet(plain | {"t1w": "n/a"}), with_mr)

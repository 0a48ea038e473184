"""The user's sheet: what it may leave out, and that all its mistakes are told at once."""

import pytest

from csrd.cohort import read_sheet
from csrd.errors import InputError

TEST = {"participant_id": "sub-B2", "split": "test", "listmode": "b.l64"}


def test_good_sheet(write_sheet, study):
    first, second = read_sheet(write_sheet({}, TEST | {"weight_kg": "n/a"}))
    assert (first.id, first.split, first.tracer, first.suffix) == ("sub-A1", "train", "DASB", "l64")
    assert first.listmode == study / "a.l64" and first.header == study / "a.l64.hdr"
    assert first.facts == {"tracer": "DASB", "weight_kg": 70.0, "injected_MBq": None}
    assert second.weight_kg is None and second.normalisation is None


def test_absolute_paths_stay(write_sheet, study, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    subjects = read_sheet(write_sheet({"t1w": str(study / "t1w.nii.gz")}, TEST))
    assert subjects[0].t1w == study / "t1w.nii.gz"


def test_all_mistakes_at_once(write_sheet):
    rows = (
        {"participant_id": "A1; rm", "split": "training", "t1w": "no.nii", "mumap": "n/a"},
        {"listmode": "b.txt", "weight_kg": "-3", "injected_MBq": "much", "tracer": "C-11"},
        {"listmode": "n/a", "header": "no.hdr"},
        {"participant_id": "sub-C3"},
    )
    with pytest.raises(InputError) as caught:
        read_sheet(write_sheet(*rows))
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("subjects.tsv has mistakes:")
    for expected in (
        "line 3: participant_id is 'A1; rm'",
        "line 3: split is 'training'; write train, validation, test",
        "line 3: t1w is",
        "line 3: mumap is n/a; the embedded reconstruction needs one",
        "line 4: listmode is b.txt; its name must end in .l64 or .l",
        "line 4: weight_kg is '-3'",
        "line 4: injected_MBq is 'much'",
        "line 4: tracer is 'C-11'",
        "line 5: listmode is n/a; it is needed",
        "line 5: header is",
        "participant_id sub-A1 stands in 2 lines",
        "listmode a.l64 stands in 2 lines",
        "no subject has split test",
        "the subjects' tracers are C-11, DASB",
    ):
        assert any(expected in line for line in lines), expected


def test_mumap_may_lack_where_a_command_reconstructs(write_sheet):
    sheet = write_sheet({"mumap": "n/a"}, TEST | {"mumap": "n/a"})
    assert read_sheet(sheet, embedded=False)[0].mumap is None


def test_sinogram_bins_need_a_command(write_sheet, study):
    for name in ("a.l", "a.l.hdr"):
        (study / name).touch()
    sheet = write_sheet({"listmode": "a.l"}, TEST)
    with pytest.raises(InputError, match=r"line 3: listmode is a.l; the embedded reconstruction reads .l64"):
        read_sheet(sheet)
    assert read_sheet(sheet, embedded=False)[0].suffix == "l"


def test_header_elsewhere_must_be_named(write_sheet, study):
    (study / "a.l64.hdr").rename(study / "other.hdr")
    with pytest.raises(InputError, match=r"line 3: header is n/a, and .*a.l64.hdr does not exist"):
        read_sheet(write_sheet({}, TEST))
    assert read_sheet(write_sheet({"header": "other.hdr"}, TEST))[0].header == study / "other.hdr"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("# only a comment\n", "is empty"),
        ("participant_id\tsplit\n", "add tracer, listmode, header"),
        ("participant_id,split\n", "separate them by tabs"),
    ],
)
def test_no_table(tmp_path, text, sentence):
    sheet = tmp_path / "subjects.tsv"
    sheet.write_text(text)
    with pytest.raises(InputError, match=sentence):
        read_sheet(sheet)


def test_unknown_column_and_no_rows(write_sheet, tmp_path):
    from csrd.cohort.sheet import COLUMNS

    with pytest.raises(InputError, match="remove sex"):
        read_sheet(write_sheet({}, columns=(*COLUMNS, "sex")))
    with pytest.raises(InputError, match="names no subject"):
        read_sheet(write_sheet())
    with pytest.raises(InputError, match="not a readable table"):
        read_sheet(tmp_path / "missing.tsv")

"""Durations, intervals, nuclides and sizes in header and data: equal, assumed with a warning, or refused."""

import codecs
import math
import struct
from pathlib import Path

import numpy as np
import petsird
import pytest
from listmode_samples import PETLINK_HEADER, random_events

from csrd.errors import InputError
from csrd.listmode import InterfileHeader, open_listmode, thin, write_hrrt
from csrd.listmode.timing import Timing, duration_of
from tests.petsird_files import cylinder, header_of, time_blocks, write

DECAY = {"isotope gamma halflife (sec)": "6586.2", "isotope branching factor": "0.97"}


@pytest.fixture
def scan(tmp_path):
    """Return a function that writes a PETLINK file of 2 s, its header changed, and opens it."""

    def make(header=None, tags_ms=None):
        tags = np.arange(2000) if tags_ms is None else np.asarray(tags_ms)
        content = np.full((len(tags), 4), 1 << 30, "<u4")
        content[:, 0] = (1 << 31) + tags
        path = tmp_path / "scan.l"
        content.tofile(path)
        lines = {"image duration (sec)": "2", "total listmode word counts": 4 * len(tags), **DECAY} | (
            header or {}
        )
        text = InterfileHeader(PETLINK_HEADER).replace({k: v for k, v in lines.items() if v is not None}).text
        Path(f"{path}.hdr").write_text(text)
        return open_listmode(path)

    return make


def timed(listmode) -> Timing:
    return Timing.of(listmode).over(listmode.survey(), listmode)


def noted(timing) -> list[str]:
    """Return the notes but for that on dead time, which Siemens' headers have no factor for."""
    return [note for note in timing.notes if "dead time" not in note]


def test_header_and_data_that_agree_need_no_note(scan):
    timing = timed(scan())
    assert timing.duration_s == 2 and not noted(timing) and "notes" not in scan().info()
    assert timed(scan({"image duration (sec)": "1.99"})).duration_s == 1.99, "a tag more is no difference"


@pytest.mark.parametrize("said", ["0.5", "900"])
def test_the_time_tags_hold_where_the_header_says_another_duration(scan, caplog, said):
    timing = timed(scan({"image duration (sec)": said}))
    decay = math.log(2) / 6586.2
    assert timing.effective_s == pytest.approx(0.97 * -math.expm1(-2 * decay) / decay)
    sentence = f"says {said} s, but its time tags cover 2 s: the tags are used"
    assert sentence in noted(timing)[0] and sentence in caplog.text
    assert sentence in scan({"image duration (sec)": said}).info()["notes"][0]


@pytest.mark.parametrize(("said", "held"), [(0.25, 0.5), (0.5, 0.5), (3600, 0.5)])
def test_the_same_of_hrrt(tmp_path, said, held):
    path = tmp_path / "scan.l64"
    timing = {"isotope halflife": 1224, "branching factor": 0.9976, "Dead time correction factor": 1.25}
    write_hrrt(path, [random_events(2000, 500)], timing, duration_ms=500)
    header = InterfileHeader.read(f"{path}.hdr")
    Path(f"{path}.hdr").write_bytes(header.replace({"image duration": said}).encode())
    found = timed(open_listmode(path))
    assert found.duration_s == held and found.live == 0.8
    assert len(found.notes) == (said != held)


def test_a_duration_that_is_not_said_or_said_by_frame(scan):
    timing = timed(scan({"image duration (sec)": None}))
    assert timing.duration_s == 2 and "has no duration: the 2 s of its time tags" in noted(timing)[0]
    frames = {
        "image duration (sec)": None,
        "image duration (sec)[1]": "0.5",
        "image duration (sec)[2]": "1.5",
    }
    timing = timed(scan(frames))
    assert timing.duration_s == 2 and not noted(timing)


def test_no_time_tags(scan):
    listmode = scan()
    words = np.fromfile(listmode.path, "<u4")
    words[words >> 31 == 0].tofile(listmode.path)
    timing = timed(listmode)
    assert timing.duration_s == 2 and "has no time tags: the 2 s of its header" in timing.notes[1]


def test_an_interval_that_the_tags_own_clock_contradicts_is_refused(scan):
    listmode = scan({"timing tagwords interval (msec)": "4", "image duration (sec)": "8"})
    with pytest.raises(InputError, match="are 1 ms apart by their own clock, but 4 ms by its header"):
        timed(listmode)
    assert "1 ms apart by their own clock" in listmode.info()["notes"][0]


def test_an_hrrt_clock_of_another_interval_is_refused(hrrt):
    words = np.fromfile(hrrt, "<u4")
    tags = np.flatnonzero((words[:-1] >> 30 == 1) & (words[1:] >> 31 == 1))
    words[tags] = (words[tags] & ~np.uint32(0xFFFF)) | (words[tags] & 0xFFFF) * 4
    words.tofile(hrrt)
    with pytest.raises(InputError, match="are 4 ms apart by their own clock, but 1 ms"):
        duration_of(open_listmode(hrrt), open_listmode(hrrt).survey())


@pytest.mark.parametrize(
    ("tags", "sentence"),
    [
        (np.r_[:1000, 5000:6000], "runs over 5.999 s, of which 2 s have tags: only these count"),
        (np.r_[1000:2000, :1000], "goes back: each tag counts as its interval"),
    ],
)
def test_a_clock_with_a_gap_or_that_goes_back(scan, tags, sentence):
    timing = timed(scan(tags_ms=tags))
    assert timing.duration_s == 2 and sentence in noted(timing)[0]


def test_a_clock_may_begin_anywhere(scan):
    timing = timed(scan(tags_ms=np.arange(2000) + 6_664_894))
    assert timing.duration_s == 2 and not noted(timing)


def test_fewer_words_than_the_header_counts(scan, tmp_path):
    listmode = scan({"total listmode word counts": "331257106"})
    assert "has 8000 words, but its header says 331257106" in noted(timed(listmode))[0]
    thin(listmode.path, tmp_path / "low.l", 2, seed=1)
    assert not noted(timed(open_listmode(tmp_path / "low.l"))), "a thinned file's header counts its own"


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        (
            {"isotope name": "F-18", "isotope gamma halflife (sec)": "1224"},
            "says F18 and a half-life of 1224 s",
        ),
        ({"isotope name": "C-11"}, "says C11 and a half-life of 6586.2 s, but C11 has 1224 s"),
        ({"isotope gamma halflife (sec)": "6586,2"}, "halflife .* := '6586,2'; give a positive number"),
        ({"image duration (sec)": "0"}, "give a positive number"),
        ({"Dead time correction factor": "0.8"}, "0.8; give a factor of 1 or more"),
    ],
)
def test_numbers_that_cannot_be(scan, header, sentence):
    with pytest.raises(InputError, match=sentence):
        timed(scan(header))


def test_a_branching_that_is_not_the_nuclides_is_said(scan):
    assert not noted(timed(scan({"isotope name": "F-18"})))
    timing = timed(scan({"isotope name": "F-18", "isotope branching factor": "1"}))
    assert timing.branching == 1 and "a branching of 1, not 0.9686: the header's is used" in noted(timing)[0]
    assert "no dead time correction factor: 1 is used" in timing.notes[-1]


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: codecs.BOM_UTF8 + text.encode("latin-1"),
        lambda text: text.encode("utf-16"),
        lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    ],
)
def test_a_header_with_a_mark_of_unicode(scan, tmp_path, encode):
    listmode = scan()
    header = Path(f"{listmode.path}.hdr")
    header.write_bytes(encode(header.read_text()))
    assert timed(open_listmode(listmode.path)).duration_s == 2
    thin(listmode.path, tmp_path / "low.l", 2, seed=1)
    assert (tmp_path / "low.l.hdr").read_bytes().startswith(b"!INTERFILE"), "other tools read it then"


@pytest.mark.parametrize("path", [".", "/", ".."])
def test_a_folder_is_no_list_mode(path):
    with pytest.raises(InputError, match=f"^{path} is not a file; give the list-mode file or its header"):
        open_listmode(path)


@pytest.fixture
def petsird_scan(tmp_path):
    scanner = cylinder()
    blocks = [block for block in time_blocks(scanner) if isinstance(block, petsird.TimeBlock.EventTimeBlock)]
    return lambda chosen: write(tmp_path / "a.petsird", header_of(scanner), chosen(blocks))


def test_time_blocks_that_overlap_count_their_time_once(petsird_scan):
    whole = timed(open_listmode(petsird_scan(lambda blocks: blocks)))
    assert whole.duration_s == 0.05 and not noted(whole)
    twice = timed(open_listmode(petsird_scan(lambda blocks: [b for block in blocks for b in (block, block)])))
    assert twice.duration_s == 0.05 and "overlap: time that two blocks cover counts once" in noted(twice)[0]


def test_a_petsird_file_that_ends_early_says_so(petsird_scan):
    path = petsird_scan(lambda blocks: blocks)
    path.write_bytes(path.read_bytes()[:-200])
    timing = timed(open_listmode(path))
    assert timing.duration_s < 0.05 and "of an incomplete block: they are left out" in noted(timing)[0]


def test_another_schema_names_what_is_supported_and_the_way(petsird_scan):
    path = petsird_scan(lambda blocks: blocks)
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"modelName"', b'"modelNome"', 1))
    with pytest.raises(InputError) as caught:
        open_listmode(path)
    said = str(caught.value)
    assert "another version than PETSIRD 0.12" in said and "they differ in ScannerInformation)" in said
    assert "convert it as docs/formats.md shows" in said
    path.write_bytes(b"yardl" + struct.pack("<i", 1) + b"\x04{}[]")
    with pytest.raises(InputError, match="another version than PETSIRD .*, which csrd reads; convert"):
        open_listmode(path)

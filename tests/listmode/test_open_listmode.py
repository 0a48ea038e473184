import numpy as np
import pytest
from listmode_samples import PETLINK_HEADER

from csrd.errors import InputError
from csrd.listmode import HrrtListMode, PetlinkListMode, open_listmode, words
from csrd.listmode.words import word_chunks


def header_of(path):
    return path.with_name(path.name + ".hdr")


def test_the_data_or_its_header_opens_it(hrrt, petlink):
    for path, kind in ((hrrt, HrrtListMode), (petlink, PetlinkListMode)):
        for given in (path, str(path), header_of(path)):
            listmode = open_listmode(given)
            assert type(listmode) is kind and listmode.path == path


def test_a_header_may_stand_under_the_bare_name(hrrt):
    header_of(hrrt).rename(hrrt.with_suffix(".hdr"))
    assert open_listmode(hrrt).path == hrrt
    assert open_listmode(hrrt.with_suffix(".hdr")).path == hrrt


def test_a_renamed_pair_and_a_scanner_path_are_found(petlink, tmp_path):
    header = header_of(petlink)
    header.write_text(header.read_text().replace(":= scan.l", r":= E:\raw\scan.l"))
    assert open_listmode(header).path == petlink
    petlink.rename(tmp_path / "new.l")
    assert open_listmode(header.rename(tmp_path / "new.l.hdr")).path == tmp_path / "new.l"


def edit(path, old, new):
    header = header_of(path)
    text = header.read_text()
    assert old in text
    header.write_text(text.replace(old, new))


def spoil(name, hrrt, petlink):
    """Spoil a file in the way of that name; return the path to open."""
    match name:
        case "missing":
            return hrrt.with_name("none.l64")
        case "folder":
            return hrrt.parent
        case "empty":
            hrrt.write_bytes(b"")
        case "cut within a word":
            hrrt.write_bytes(hrrt.read_bytes()[:-3])
        case "bytes shifted":
            hrrt.write_bytes(b"\0" + hrrt.read_bytes()[:-1])
        case "text":
            hrrt.write_text("not list-mode, " * 1000)
        case "petlink data":
            hrrt.write_bytes(petlink.read_bytes())
        case "no header":
            header_of(hrrt).unlink()
        case "header is data":
            header_of(hrrt).write_bytes(hrrt.read_bytes())
        case "other system":
            edit(hrrt, "HRRT", "GE Advance")
        case "no system":
            edit(hrrt, "!originating system := HRRT\n", "")
        case "histogram":
            edit(hrrt, "listmode", "sinogram")
        case "hrrt data":
            petlink.write_bytes(hrrt.read_bytes())
            return petlink
        case "64 bits":
            edit(petlink, "(bits):=32", "(bits):=64")
            return petlink
        case "offset":
            edit(petlink, "PET data", "!data offset in bytes:=512\nPET data")
            return petlink
        case "lone header":
            petlink.unlink()
            return header_of(petlink)
    return hrrt


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "none.l64 does not exist; check the path"),
        ("folder", "is not a file; give the list-mode file or its header"),
        ("empty", "scan.l64 is empty; copy it again"),
        (
            "cut within a word",
            "has 163997 bytes and so ends within a 4-byte word; .*truncate -s 163996 .*scan.l64",
        ),
        ("bytes shifted", "is not HRRT list-mode: .*% of its first 41000 words form packets"),
        ("text", "is not HRRT list-mode: 0% of its first"),
        ("petlink data", "is not HRRT list-mode: .* check that it belongs to .*scan.l64.hdr"),
        ("no header", "has no header beside it; list-mode has its Interfile header at .*scan.l64.hdr"),
        ("header is data", "scan.l64.hdr does not begin with !INTERFILE"),
        ("other system", "says originating system 'GE Advance'; csrd reads HRRT"),
        ("no system", "says originating system ''; csrd reads HRRT"),
        ("histogram", "says data format 'sinogram'; give list-mode, not its histogram"),
        ("hrrt data", "scan.l holds HRRT packets, but .*scan.l.hdr says PETLINK"),
        ("64 bits", "says event and tag words of 64 bits; csrd reads HRRT"),
        ("offset", "says data offset in bytes 512; remove these bytes"),
        ("lone header", "scan.l, the data of .*scan.l.hdr, does not exist; put it beside its header"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(hrrt, petlink, name, message):
    path = spoil(name, hrrt, petlink)
    with pytest.raises(InputError, match=message) as caught:
        open_listmode(path)
    assert "\n" not in str(caught.value)


def test_a_half_packet_at_the_end_is_skipped(hrrt):
    hrrt.write_bytes(hrrt.read_bytes()[:-4])
    assert open_listmode(hrrt).info()["skipped_words"] == 1


@pytest.mark.parametrize("pairs", [True, False])
@pytest.mark.parametrize("chunk", [1, 2, 3, 64, 1000])
def test_chunks_hold_every_word_once_and_cut_no_packet(tmp_path, chunk, pairs):
    content = np.random.default_rng(1).integers(2**32, size=257, dtype=np.uint32)
    content.astype("<u4").tofile(tmp_path / "a")
    parts = [part.copy() for part in word_chunks(tmp_path / "a", pairs, chunk)]
    assert (np.concatenate(parts) == content).all()
    assert len(parts) == words.chunk_count(257, chunk)
    if pairs:
        ends = zip(parts, parts[1:], strict=False)
        assert not any(a.size and b.size and not a[-1] >> 31 and b[0] >> 31 for a, b in ends)


def test_a_file_that_shrinks_while_it_is_read_is_refused(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(bytes(4 << 20))
    chunks = word_chunks(path, pairs=False)
    next(chunks)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="became shorter while it was read"):
        list(chunks)


def test_a_long_file_shows_its_progress(hrrt, monkeypatch):
    shown = []
    monkeypatch.setattr("csrd.listmode.packets.SHOW_PROGRESS_WORDS", 0)
    monkeypatch.setattr("csrd.listmode.packets.progress", lambda items, *rest: shown.append(rest) or items)
    monkeypatch.setattr("csrd.listmode.packets.PacketListMode.chunk_words", 1000)
    open_listmode(hrrt).info()
    assert shown == [("read scan.l64", 41)]


def test_the_petlink_header_of_these_tests_is_like_the_real_one(mmr_sample):
    real = header_of(mmr_sample).read_text()
    kinds = [line.partition(":=")[0].strip() for line in PETLINK_HEADER.splitlines()]
    assert all(kind in real for kind in kinds)

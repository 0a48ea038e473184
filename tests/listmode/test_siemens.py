"""The mMR's raw data as the scanner writes them: a pair .dcm and .bf, or all in the .dcm."""

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest

from csrd.errors import InputError
from csrd.listmode import InterfileHeader, SiemensListMode, open_listmode, thin
from tests import siemens_files
from tests.siemens_files import SOFTWARE, pair_of, raw_dicom


def said(info: dict) -> dict:
    """Return what `info` says about the events."""
    return {
        key: value for key, value in info.items() if key not in ("path", "format", "header", "bytes", "notes")
    }


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("software", SOFTWARE)
def test_a_pair_is_the_listmode_in_it(petlink, tmp_path, software, inside):
    pair = pair_of(petlink, tmp_path / "pair" / "scan.dcm", software, inside)
    plain, found = open_listmode(petlink), open_listmode(pair)
    assert isinstance(found, SiemensListMode) and found.bytes == plain.bytes
    assert said(found.info()) == said(plain.info())
    for ours, theirs in zip(found.blocks(999), plain.blocks(999), strict=True):
        assert (ours.crystals == theirs.crystals).all() and (ours.time_ms == theirs.time_ms).all()
    if not inside:
        assert open_listmode(pair.with_suffix(".bf")).info() == found.info()


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("software", SOFTWARE)
def test_a_thinned_pair_has_the_events_of_the_thinned_words_and_renewed_counts(
    petlink, tmp_path, software, inside
):
    pair = pair_of(petlink, tmp_path / "pair" / "scan.dcm", software, inside)
    thin(petlink, tmp_path / "low.l", drf=4, seed=1)
    summary = thin(pair, tmp_path / "low.dcm", drf=4, seed=1)
    assert (tmp_path / "low.bf").read_bytes() == (tmp_path / "low.l").read_bytes()
    low = open_listmode(tmp_path / "low.bf")
    assert low.info()["prompts"] == summary["prompts_kept"]
    former, content = pydicom.dcmread(pair), pydicom.dcmread(tmp_path / "low.dcm")
    element = SOFTWARE[software][0]
    header = InterfileHeader(content[0x0029, element].value.decode("latin-1"))
    assert int(header["total listmode word counts"]) == (tmp_path / "low.bf").stat().st_size // 4
    assert header["dose reduction factor"] == "4"
    assert content.ImageType == former.ImageType and content.PatientID == former.PatientID
    assert content.SOPInstanceUID != former.SOPInstanceUID == pydicom.dcmread(pair).SOPInstanceUID
    assert content.file_meta.MediaStorageSOPInstanceUID == content.SOPInstanceUID
    if other := SOFTWARE[software][1]:
        assert content[0x0029, 0x1010].value.startswith(other.encode("latin-1")), "Siemens' own stays"
    assert len(content[0x7FE1, 0x1010].value) % 4, "which no tool takes for words"
    once = (tmp_path / "low.dcm").read_bytes()
    thin(pair, tmp_path / "low.dcm", drf=4, seed=1)
    assert (tmp_path / "low.dcm").read_bytes() == once


def test_a_pair_is_extracted_as_words_with_a_header(petlink, tmp_path):
    pair = pair_of(petlink, tmp_path / "pair" / "scan.dcm", inside=True)
    thin(pair, tmp_path / "plain.l", drf=1, seed=1)
    assert (tmp_path / "plain.l").read_bytes() == petlink.read_bytes()
    assert open_listmode(tmp_path / "plain.l").info()["prompts"] == open_listmode(pair).info()["prompts"]


def test_the_real_sample_in_a_pair(mmr_sample, tmp_path):
    info = open_listmode(pair_of(mmr_sample, tmp_path / "scan.dcm")).info()
    assert [info[name] for name in ("prompts", "delayeds", "time_tags")] == [109_457, 17_643, 307]
    assert json.dumps(info), "what `csrd info` prints"


def wrong(tmp_path: Path, petlink: Path) -> dict[str, tuple[Path, str]]:
    """Return pairs with a fault each, and the sentence about it."""
    header = siemens_files.header_path(petlink).read_text()
    faults = {}

    def pair(name: str) -> Path:
        return pair_of(petlink, tmp_path / name / "scan.dcm")

    pair("short").with_suffix(".bf").write_bytes(b"\0" * 400)
    faults["short"] = tmp_path / "short" / "scan.dcm", "has 400 bytes, but its header in scan.dcm says 20000"
    pair("alone").with_suffix(".bf").unlink()
    faults["alone"] = tmp_path / "alone" / "scan.dcm", "scan.bf does not exist; put both into one folder"
    pair("headless").unlink()
    faults["headless"] = tmp_path / "headless" / "scan.bf", "has no scan.dcm beside it"
    for kind, what in (("PET_NORM", "is a normalisation"), ("PET_EM_SINO", "is a sinogram")):
        raw_dicom(tmp_path / kind / "scan.dcm", kind, header)
        faults[kind] = tmp_path / kind / "scan.dcm", f"{what}, not list-mode"
    raw_dicom(tmp_path / "image" / "scan.dcm", "AXIAL", header)
    faults["image"] = tmp_path / "image" / "scan.dcm", "give the DICOM file of raw PET data"
    raw_dicom(tmp_path / "empty" / "scan.dcm", "PET_LISTMODE", " ")
    faults["empty"] = tmp_path / "empty" / "scan.dcm", "has no Interfile header in"
    raw_dicom(tmp_path / "uncounted" / "scan.dcm", "PET_LISTMODE", "!INTERFILE:=\r\n")
    faults["uncounted"] = tmp_path / "uncounted" / "scan.dcm", "has total listmode word counts ''"
    (tmp_path / "text.dcm").write_text("no DICOM")
    faults["text"] = tmp_path / "text.dcm", "is not a readable DICOM file"
    faults["absent"] = tmp_path / "absent.dcm", "does not exist; check the path"
    return faults


def test_a_faulty_pair_is_one_sentence(petlink, tmp_path):
    for name, (path, sentence) in wrong(tmp_path, petlink).items():
        with pytest.raises(InputError, match=sentence) as error:
            open_listmode(path)
        assert "\n" not in str(error.value), name


def test_a_file_without_dicom_cannot_become_a_pair(petlink, tmp_path):
    with pytest.raises(InputError, match="half of a Siemens pair"):
        thin(petlink, tmp_path / "low.dcm", drf=4, seed=1)
    pair = pair_of(petlink, tmp_path / "pair" / "scan.dcm")
    with pytest.raises(InputError, match="is the source itself"):
        thin(pair, pair.with_suffix(".bf"), drf=4, seed=1)


def test_data_beyond_4_gib_are_addressed(petlink, tmp_path):
    """A sparse file of 1.3e9 words: its size is accepted, and its last words are read."""
    pair = pair_of(petlink, tmp_path / "scan.dcm")
    words, data = 1_300_000_000, pair.with_suffix(".bf")
    header = siemens_files.header_path(petlink).read_text() + f"%total listmode word counts:={words}\n"
    raw_dicom(pair, "PET_LISTMODE", header)
    with open(data, "r+b") as stream:
        stream.truncate(4 * words)
        stream.seek(4 * (words - 2))
        stream.write(np.array([1 << 31 | 77, 1 << 30], "<u4").tobytes())
    listmode = open_listmode(pair)
    assert listmode.bytes == 5_200_000_000
    from csrd.listmode.words import word_chunks

    (last,) = word_chunks(data, pairs=False, first_byte=4 * (words - 10), words=10)
    assert last[-2] == 1 << 31 | 77 and last[-1] == 1 << 30


def test_a_damaged_element_beside_the_header_is_one_sentence(petlink, tmp_path):
    """Found by the long run of tests/fuzz: the element is read only when the pair is written again."""
    pair = pair_of(petlink, tmp_path / "scan.dcm")
    content = pair.read_bytes()
    pair.write_bytes(content.replace(b"\x08\x00\x18\x00UI", b"\x08\x00\x18\x00UH"))
    assert open_listmode(pair).info()["prompts"] and pair.read_bytes() != content
    with pytest.raises(InputError, match="scan.dcm cannot be written again .*copy it again"):
        thin(pair, tmp_path / "low.dcm", drf=4, seed=1)
    assert not (tmp_path / "low.dcm").exists() and not (tmp_path / "low.bf").exists()

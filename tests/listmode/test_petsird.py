import tracemalloc

import numpy as np
import petsird
import pytest

from csrd.errors import InputError
from csrd.listmode import open_listmode, thin, write_petsird
from csrd.listmode.draw import Keep, is_kept
from csrd.listmode.petsird.blocks import SCHEMA, encoded_varint
from csrd.listmode.thin import drf_of
from csrd.listmode.timing import Timing
from csrd.seeds import generator
from tests.petsird_files import coincidences, cylinder, header_of, read, time_blocks, write


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    scanner = cylinder(windows=2)
    path = tmp_path_factory.mktemp("petsird") / "scan.petsird"
    return write(path, header_of(scanner), time_blocks(scanner))


@pytest.fixture
def scan(sound, tmp_path):
    path = tmp_path / "scan.petsird"
    path.write_bytes(sound.read_bytes())
    return path


def is_events(block):
    return isinstance(block, petsird.TimeBlock.EventTimeBlock)


def events_of(blocks):
    """Return the package's events, prompts of a block before its delayeds: (bins, tof), prompt, ms."""
    return [
        ((*event.detection_bins, event.tof_idx), prompt, block.value.time_interval.start)
        for block in blocks
        if is_events(block)
        for prompt, matrix in ((True, block.value.prompt_events), (False, block.value.delayed_events))
        for row in matrix
        for events in row
        for event in events
    ]


def test_info_counts_what_the_package_reads(scan):
    info = open_listmode(scan).info()
    events = events_of(read(scan)[1])
    assert (info["prompts"], info["delayeds"]) == (300, 100)
    assert info["prompts"] + info["delayeds"] == len(events)
    assert (info["time_tags"], info["other_tags"], info["duration_s"]) == (5, 9, 0.05)
    assert "unread_bytes" not in info and info["bytes"] == scan.stat().st_size
    assert info["scanner"] == "Test cylinder" and info["header"]["radionuclide"] == "F18"


def test_blocks_are_the_events_of_heads_in_coincidence(scan):
    listmode = open_listmode(scan)
    grid = listmode.grid
    expected = []
    for (a, b, _), prompt, ms in events_of(read(scan)[1]):
        modules = [bin_ // (2 * 24) for bin_ in (a, b)]
        apart = abs(modules[0] - modules[1])
        if min(apart, 12 - apart) >= 3:
            expected.append((*sorted(grid.crystal_of_bin[[a, b]].tolist()), prompt, ms))
    for most in (1 << 18, 7):
        blocks = list(listmode.blocks(most))
        found = [
            (*pair, bool(prompt), int(ms))
            for block in blocks
            for pair, prompt, ms in zip(block.crystals.tolist(), block.prompt, block.time_ms, strict=True)
        ]
        assert found == expected and max(map(len, blocks)) <= most
    assert 100 < len(expected) < 400


@pytest.mark.parametrize("window", [64, 1 << 20])
def test_thinning_keeps_the_drawn_events_and_all_else(scan, tmp_path, monkeypatch, window):
    monkeypatch.setattr("csrd.listmode.petsird.yardl.WINDOW_BYTES", window)
    target = tmp_path / "low.petsird"
    summary = thin(scan, target, drf=4, seed=3)
    (header, blocks), (low_header, low_blocks) = read(scan), read(target)
    events, keep = events_of(blocks), Keep.of(4, 3)
    stays = is_kept.py_func(keep.key, np.arange(len(events)), keep.limit)
    assert events_of(low_blocks) == [event for event, yes in zip(events, stays, strict=True) if yes]
    assert summary["prompts_kept"] + summary["delayeds_kept"] == stays.sum()
    assert low_header.scanner.detection_efficiencies.method_description == (
        "[CSR-D: dose reduction factor := 4; thinning seed := 3; thinning draw := independent]"
    )
    low_header.scanner.detection_efficiencies.method_description = ""
    assert low_header == header
    for block, low in zip(blocks, low_blocks, strict=True):
        if is_events(block):
            for matrix in ("prompt_events", "delayed_events"):
                setattr(low.value, matrix, getattr(block.value, matrix))
        assert low == block, "singles, triples, signals, movements, dead time and histograms stay"


def test_a_factor_of_one_changes_nothing_but_the_note(scan, tmp_path):
    thin(scan, tmp_path / "same.petsird", drf=1, seed=1)
    assert read(tmp_path / "same.petsird")[1] == read(scan)[1]


def test_a_file_thinned_again_states_the_whole_factor(scan, tmp_path):
    thin(scan, tmp_path / "low.petsird", drf=4, seed=1)
    thin(tmp_path / "low.petsird", tmp_path / "lower.petsird", drf=1.5, seed=2, nested=True)
    lower = open_listmode(tmp_path / "lower.petsird")
    assert drf_of(lower) == 6 and lower.header["thinning seed"] == "2"
    description = lower.record.scanner.detection_efficiencies.method_description
    assert description.count("CSR-D") == 1 and "nested" in description


def test_a_target_that_is_the_source_is_refused(scan, tmp_path):
    before = scan.read_bytes()
    for target in (scan, tmp_path):
        with pytest.raises(InputError, match="is the source itself|is a folder"):
            thin(scan, target, 4, seed=1)
    assert scan.read_bytes() == before and list(tmp_path.iterdir()) == [scan]


def test_a_file_that_ends_early_is_its_whole_blocks(scan, tmp_path):
    content, (_, blocks) = scan.read_bytes(), read(scan)
    everything = events_of(blocks)
    starts = open_listmode(scan).places.body
    with open_listmode(scan)._window() as window:
        ends = {block.end for block in open_listmode(scan)._blocks(window)}
    last = -1
    for end in sorted({*range(starts, len(content), 37), *ends}):
        scan.write_bytes(content[:end])
        info = open_listmode(scan).info()
        thin(scan, tmp_path / "cut.petsird", drf=1, seed=1)
        _, whole = read(tmp_path / "cut.petsird")
        assert whole == blocks[: len(whole)] and last <= len(whole) <= len(blocks)
        assert events_of(whole) == everything[: info["prompts"] + info["delayeds"]]
        unread = info.get("unread_bytes", 0)
        assert (unread == 0) == (end in ends) or end == starts
        last = len(whole)
    assert last > 10


def test_bytes_behind_the_end_are_told(scan):
    scan.write_bytes(scan.read_bytes() + b"more")
    assert open_listmode(scan).info()["unread_bytes"] == 4


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: b"", "is empty; copy it again"),
        (lambda c: b"x" + c, "is not PETSIRD, whose files begin with yardl"),
        (lambda c: c[:4], "ends within its header; copy it again"),
        (lambda c: c[:5] + b"\x02" + c[6:], "version 2 of yardl's encoding, but csrd reads version 1"),
        (
            lambda c: c.replace(b"AliveTime", b"AliveDime"),
            r"another version than PETSIRD 0\.12.*docs/formats.md",
        ),
        (lambda c: c[:15_000], "ends within its header; copy it again"),
        (lambda c: c.replace(b"Test cylinder", b"Test \xff\xfelinder"), "has a damaged header .*utf-8"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(scan, spoil, message):
    scan.write_bytes(spoil(scan.read_bytes()))
    with pytest.raises(InputError, match=message) as caught:
        open_listmode(scan)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="none.petsird does not exist"):
        open_listmode(tmp_path / "none.petsird")
    with pytest.raises(InputError, match="is not a file"):
        open_listmode((tmp_path / "folder.petsird").mkdir() or tmp_path / "folder.petsird")


def test_crystals_that_do_not_exist_are_damage(tmp_path):
    scanner = cylinder()
    events = coincidences(scanner, 3, "few")
    events[1].detection_bins = [12 * 24, 0]
    block = petsird.EventTimeBlock(prompt_events=[[events]], delayed_events=[[]])
    blocks = [petsird.TimeBlock.EventTimeBlock(block)]
    path = write(tmp_path / "scan.petsird", header_of(scanner), blocks)
    with pytest.raises(
        InputError, match=r"damaged at byte \d+: an event of crystals that the scanner does not"
    ):
        open_listmode(path).info()


def test_the_first_bytes_tell_it_whatever_its_name(scan):
    assert open_listmode(scan.rename(scan.with_name("scan.bin"))).format == "PETSIRD"


def test_an_exam_without_a_radionuclide_is_told_what_to_do(tmp_path):
    scanner = cylinder()
    path = write(tmp_path / "scan.petsird", header_of(scanner, "unobtainium"), time_blocks(scanner))
    assert open_listmode(path).info()["prompts"] == 300
    with pytest.raises(InputError, match="name a radionuclide of PET in its exam by the package petsird"):
        Timing.of(open_listmode(path))


def test_memory_does_not_grow_with_the_file(tmp_path):
    """Four times the events in one time block, the same peak of memory (numpy's buffers are traced)."""
    header, draw, peaks = header_of(cylinder()), generator(1, "petsird-memory"), []
    for number in (600_000, 2_400_000):
        crystals = draw.integers(24, size=(number, 2)) + draw.integers(6, size=(number, 1)) * 24 + [0, 6 * 24]
        path = tmp_path / "scan.petsird"
        write_petsird(path, [(crystals, draw.random(number) < 0.7, np.zeros(number, np.uint32))], header, 100)
        tracemalloc.start()
        thin(path, tmp_path / "low.petsird", drf=4, seed=1)
        read_back = sum(map(len, open_listmode(path).blocks()))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert read_back == number
    assert peaks[1] < 1.1 * peaks[0]


def test_the_schema_is_the_package_s():
    assert petsird.PETSIRDReaderBase.schema == SCHEMA and encoded_varint(300) == b"\xac\x02"

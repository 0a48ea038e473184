import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from listmode_samples import random_events

from csrd.errors import InputError
from csrd.listmode import EventBlock, HrrtListMode, InterfileHeader, open_listmode, write_hrrt
from csrd.listmode.draw import Keep
from csrd.listmode.events import tally
from csrd.listmode.hrrt_packets import (
    CRYSTALS,
    HEAD_CRYSTALS,
    HEAD_PAIRS,
    RUN,
    decode_event,
    encode_event,
    packet_of,
)

HEADER = InterfileHeader("!INTERFILE\n!originating system := HRRT\n")


def joined(blocks) -> EventBlock:
    parts = list(blocks)
    fields = [(part.crystals, part.prompt, part.time_ms) for part in parts]
    return EventBlock(*(np.concatenate(field) for field in zip(*fields, strict=True)))


# --- one packet ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "heads"), list(enumerate(HEAD_PAIRS, start=1)))
def test_a_pair_of_heads_has_its_code_and_comes_back(code, heads):
    rng = np.random.default_rng(code)
    corners = [(0, HEAD_CRYSTALS - 1), (71, 7488), (72, 7487), (7487, 72), (7488, 71), (HEAD_CRYSTALS - 1, 0)]
    for within_a, within_b in [*corners, *rng.integers(HEAD_CRYSTALS, size=(20, 2))]:
        a, b = heads[0] * HEAD_CRYSTALS + within_a, heads[1] * HEAD_CRYSTALS + within_b
        for prompt in (True, False):
            w1, w2 = encode_event(a, b, prompt)
            assert (w1, w2) == encode_event(b, a, prompt)
            assert (w1 >> 16 & 7) + 8 * (w2 >> 16 & 7) == code
            assert (w1 >> 30, w2 >> 30) == (0, 3 if prompt else 2)
            assert decode_event(packet_of(w1, w2)) == (a, b)


def test_the_fields_lie_where_the_format_says():
    crystal = ((3 * 2 + 0) * 104 + 50) * 72 + 11  # head 3, front, ring 50, x 11
    other = ((5 * 2 + 1) * 104 + 103) * 72 + 71  # head 5, back, ring 103, x 71
    w1, w2 = encode_event(other, crystal, True)
    assert w1 == 1 << 22 | (15 & 7) << 16 | 50 << 8 | 11
    assert w2 == 3 << 30 | 0 << 22 | (15 >> 3) << 16 | 103 << 8 | 71


def test_there_are_119808_crystals():
    assert CRYSTALS == 119_808


# --- streams, against a slow reading of the format's description ----------------------------------------


def reference(words: list[int], key: int = 0, limit: int = 2**64 - 1):
    """Return (counts by name, events (a, b, prompt, ms), thinned words) of a stream, one word at a time."""
    names = ["prompts", "delayeds", "transmission", "time_tags", "other_tags", "skipped_words"]
    counts, events, thinned, clock, i = dict.fromkeys(names, 0), [], [], 0, 0
    while i < len(words):
        w1, w2 = words[i], words[i + 1] if i + 1 < len(words) else 0
        kind, event = reference_packet(w1, w2)
        counts[kind] += 1
        if kind == "skipped_words":
            i += 1
            continue
        if kind == "time_tags":
            clock = (w1 & 0xFFFF | (w2 & 0xFFFF) << 16) & 0x3FFFFFFF
        if not event or reference_word(key, len(events)) <= limit:
            thinned += [w1, w2]
        if event:
            events.append((*event, kind == "prompts", clock))
        i += 2
    counts["tags"] = counts["time_tags"] + counts["other_tags"]
    return counts, events, thinned


def reference_packet(w1: int, w2: int):
    top = w1 >> 30, w2 >> 30
    if top in ((1, 2), (1, 3)):
        tag = w1 & 0xFFFF | (w2 & 0xFFFF) << 16
        return ("time_tags" if tag & 0xE0000000 == 0x80000000 else "other_tags"), None
    if top not in ((0, 3), (0, 2)):
        return "skipped_words", None
    layers = w1 >> 22 & 7, w2 >> 22 & 7
    if 7 in layers:
        return "transmission", None
    code = (w1 >> 16 & 7) + 8 * (w2 >> 16 & 7)
    if not 1 <= code <= 20 or max(layers) > 1:
        return "skipped_words", None
    crystals = []
    for head, layer, word in zip(HEAD_PAIRS[code - 1], layers, (w1, w2), strict=True):
        x, ring = word & 0xFF, word >> 8 & 0xFF
        if x > 71 or ring > 103:
            return "skipped_words", None
        crystals.append(((head * 2 + (0 if layer == 1 else 1)) * 104 + ring) * 72 + x)
    return ("prompts" if top == (0, 3) else "delayeds"), tuple(crystals)


def reference_word(key: int, event: int) -> int:
    mask = 2**64 - 1
    word = (key + event * 0x9E3779B97F4A7C15) & mask
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & mask
    word = (word ^ word >> 27) * 0x94D049BB133111EB & mask
    return word ^ word >> 31


@st.composite
def damaged_streams(draw) -> list[int]:
    """Draw packets of every kind, then lose, insert, overwrite words and flip bits."""
    crystal = st.integers(0, HEAD_CRYSTALS - 1)
    event = st.tuples(st.sampled_from(HEAD_PAIRS), crystal, crystal, st.booleans()).map(
        lambda e: encode_event(e[0][0] * HEAD_CRYSTALS + e[1], e[0][1] * HEAD_CRYSTALS + e[2], e[3])
    )
    tag = st.integers(0, 2**32 - 1).map(lambda t: (1 << 30 | t & 0xFFFF, 1 << 31 | t >> 16))
    source = event.map(lambda words: (words[0] | 7 << 22, words[1]))
    packets = draw(st.lists(st.one_of(event, event, event, tag, source), max_size=40))
    words = [int(word) for packet in packets for word in packet]
    word, place = st.integers(0, 2**32 - 1), st.integers(0, 100)
    damage = st.tuples(st.sampled_from(["lose", "insert", "overwrite", "flip"]), place, word)
    for how, at, value in draw(st.lists(damage, max_size=6)):
        at = min(at, max(len(words) - 1, 0))
        if how == "insert" or not words:
            words.insert(at, value)
        elif how == "lose":
            del words[at]
        else:
            words[at] = value if how == "overwrite" else words[at] ^ 1 << value % 32
    return words


@settings(max_examples=150, deadline=None)
@given(damaged_streams().filter(bool), st.integers(1, 50), st.integers(0, 2**32))
def test_damaged_streams_are_read_as_the_format_defines(tmp_path_factory, words, chunk, seed):
    path = tmp_path_factory.getbasetemp() / "damaged.l64"
    path.write_bytes(struct.pack(f"<{len(words)}I", *words))
    listmode, keep = HrrtListMode(path, HEADER), Keep.of(2.5, seed)
    object.__setattr__(listmode, "chunk_words", chunk)
    counts, events, thinned = reference(words, int(keep.key), int(keep.limit))

    assert tally(listmode.survey().counts) == counts
    read = [
        (int(a), int(b), bool(prompt), int(ms))
        for block in listmode.blocks(events=chunk)
        for (a, b), prompt, ms in zip(block.crystals, block.prompt, block.time_ms, strict=True)
    ]
    assert read == events
    result = path.with_name("damaged-thinned.l64")
    read_counts, _ = listmode.compact_into(result, keep)
    assert tally(read_counts) == counts
    assert result.read_bytes() == struct.pack(f"<{len(thinned)}I", *thinned)


def test_a_long_damaged_stream_is_thinned_as_the_format_defines(hrrt):
    rng = np.random.default_rng(1)
    words = np.fromfile(hrrt, "<u4")
    words = np.delete(words, rng.integers(words.size, size=100))
    words[rng.integers(words.size, size=200)] ^= (1 << rng.integers(32, size=200)).astype("<u4")
    words.tofile(hrrt)
    keep = Keep.of(3, 1)
    counts, _, thinned = reference(words.tolist(), int(keep.key), int(keep.limit))
    read_counts, _ = HrrtListMode(hrrt, HEADER).compact_into(hrrt.with_name("low.l64"), keep)
    assert tally(read_counts) == counts
    assert np.fromfile(hrrt.with_name("low.l64"), "<u4").tolist() == thinned


def test_a_lost_word_costs_its_packet_only(hrrt):
    words = np.fromfile(hrrt, "<u4")
    whole = open_listmode(hrrt).info()
    for place in (2 * RUN - 1, 2 * RUN, 2 * RUN + 1, 10_001):  # around the ends of a run of the kernel
        np.delete(words, place).tofile(hrrt)
        info = open_listmode(hrrt).info()
        packets = sum(whole[kind] - info[kind] for kind in ("prompts", "delayeds", "tags"))
        assert (packets, info["skipped_words"]) == (1, 1)


# --- files --------------------------------------------------------------------------------------------


def test_what_is_written_is_read(tmp_path):
    crystals, prompt, time_ms = random_events(5000, 100)
    cut = 1234
    path = tmp_path / "a.l64"
    segments = [
        (crystals[:cut], prompt[:cut], time_ms[:cut]),
        (crystals[:0], prompt[:0], time_ms[:0]),
        (crystals[cut:], prompt[cut:], time_ms[cut:]),
    ]
    write_hrrt(path, segments, {"image duration": 0.2, "Dosage Strength": "577.6 Mega-Bq"})
    events = joined(open_listmode(path).blocks(events=777))
    assert (events.crystals == np.sort(crystals, axis=1)).all()  # A is the lower head
    assert (events.prompt == prompt).all() and (events.time_ms == time_ms).all()
    assert (events.crystals.dtype, events.prompt.dtype, events.time_ms.dtype) == (np.uint32, bool, np.uint32)
    info = open_listmode(path).info()
    assert info["prompts"] == prompt.sum() and info["delayeds"] == (~prompt).sum()
    assert (info["time_tags"], info["other_tags"], info["skipped_words"]) == (200, 0, 0)
    assert info["duration_s"] == 0.2
    assert info["bytes"] == 8 * (5000 + 200)
    assert info["header"]["Dosage Strength"] == "577.6 Mega-Bq"


def test_the_header_is_what_hrrt_tools_expect(tmp_path):
    write_hrrt(tmp_path / "a.l64", [], {"image duration": 3, "isotope halflife": 1224.0})
    assert (tmp_path / "a.l64.hdr").read_text() == (
        "!INTERFILE\n!originating system := HRRT\n!name of data file := a.l64\n!PET data type := emission\n"
        "data format := listmode\nimage duration := 3\nenergy window lower level[1] := 400\n"
        "energy window upper level[1] := 650\nisotope halflife := 1224.0\n"
    )


def test_every_millisecond_has_its_tag_before_its_events(tmp_path):
    event = np.array([[0, 2 * HEAD_CRYSTALS]], dtype=np.uint32)
    segment = event, np.array([True]), np.array([2], dtype=np.uint32)
    write_hrrt(tmp_path / "a.l64", [segment], {}, duration_ms=70_000)
    words = np.fromfile(tmp_path / "a.l64", "<u4").reshape(-1, 2)
    tags = np.delete(words, 3, axis=0)
    times = (tags[:, 0] & 0xFFFF | (tags[:, 1] & 0xFFFF) << 16) - (1 << 31)
    assert (times == np.arange(70_000)).all()
    assert (words[3] >> 30).tolist() == [0, 3]


def test_the_header_has_every_millisecond_of_a_long_scan(tmp_path):
    write_hrrt(tmp_path / "a.l64", [], {}, duration_ms=1_000_001)
    assert open_listmode(tmp_path / "a.l64").header["image duration"] == "1000.001"


def test_without_a_duration_the_last_event_ends_the_scan(tmp_path):
    write_hrrt(tmp_path / "a.l64", [random_events(100, 50)], {})
    assert open_listmode(tmp_path / "a.l64").info()["time_tags"] == random_events(100, 50)[2][-1] + 1


@pytest.mark.parametrize("wrong", ["same head", "no crystal", "time order", "too late"])
def test_impossible_events_are_not_written(tmp_path, wrong):
    crystals, prompt, time_ms = random_events(100, 50)
    if wrong == "same head":
        crystals[50] = 5, 6
    elif wrong == "no crystal":
        crystals[50, 1] = CRYSTALS
    elif wrong == "time order":
        time_ms[50] = 0
    else:
        time_ms[-1] = 1000
    with pytest.raises(AssertionError):
        write_hrrt(tmp_path / "a.l64", [(crystals, prompt, time_ms)], {}, duration_ms=100)
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_is_an_input_error(tmp_path):
    (tmp_path / "a.l64").mkdir()
    with pytest.raises(InputError, match="cannot write .*a.l64"):
        write_hrrt(tmp_path / "a.l64", [], {}, duration_ms=1)

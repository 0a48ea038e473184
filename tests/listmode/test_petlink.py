import numpy as np
import pytest

from csrd.errors import InputError
from csrd.listmode import InterfileHeader, mmr_bins, open_listmode, thin, write_petlink
from csrd.seeds import generator


def expected(words: np.ndarray) -> dict[str, int]:
    event, top = words >> 31 == 0, words >> 29
    return {
        "prompts": int((event & (words >> 30 == 1)).sum()),
        "delayeds": int((event & (words >> 30 == 0)).sum()),
        "time_tags": int((top == 4).sum()),
        "other_tags": int((top > 4).sum()),
        "skipped_words": 0,
    }


def test_packets_are_counted_by_kind(petlink):
    info = open_listmode(petlink).info()
    counts = expected(np.fromfile(petlink, "<u4"))
    assert {name: info[name] for name in counts} == counts
    assert counts["time_tags"] == 200 and counts["other_tags"] == 1
    assert info["duration_s"] == 0.2
    assert (info["scanner"], info["bytes"]) == ("Siemens Biograph mMR", 20_000)


def test_thinning_keeps_tags_and_updates_the_header(petlink, tmp_path):
    summary = thin(petlink, tmp_path / "low.l", drf=4, seed=1)
    source, low = np.fromfile(petlink, "<u4"), np.fromfile(tmp_path / "low.l", "<u4")
    assert (low[low >> 31 == 1] == source[source >> 31 == 1]).all()
    assert len(low) == summary["prompts_kept"] + summary["delayeds_kept"] + summary["tags"]
    header = InterfileHeader.read(tmp_path / "low.l.hdr")
    assert header["total listmode word counts"] == str(len(low))
    assert header["name of data file"] == "low.l"


def test_the_real_sample(mmr_sample, tmp_path):
    info = open_listmode(mmr_sample).info()
    counts = [info[name] for name in ("prompts", "delayeds", "time_tags", "other_tags")]
    assert counts == [109_457, 17_643, 307, 1]
    assert open_listmode(f"{mmr_sample}.hdr").info() == info
    summary = thin(mmr_sample, tmp_path / "low.l", drf=4, seed=1)
    low = open_listmode(tmp_path / "low.l").info()
    assert low["prompts"] == summary["prompts_kept"] == pytest.approx(109_457 / 4, abs=4 * 143)
    assert low["time_tags"] == 307


def test_events_are_read_as_lines_with_the_clock_of_their_tag(petlink):
    words = np.fromfile(petlink, "<u4").astype(np.int64)
    clock, expected = 0, []
    for word in words.tolist():
        if word >> 29 == 4:
            clock = word & (1 << 29) - 1
        elif word >> 31 == 0:
            a, b = mmr_bins.crystals_of(word & (1 << 30) - 1)
            if a >= 0 and mmr_bins.coincide(a, b):
                expected.append((min(a, b), max(a, b), word >> 30 == 1, clock))
    for size in (7, 1 << 18):
        blocks = list(open_listmode(petlink).blocks(size))
        rows = [(*c, p, t) for x in blocks for c, p, t in zip(x.crystals, x.prompt, x.time_ms, strict=True)]
        assert [tuple(map(int, row)) for row in rows] == [tuple(map(int, row)) for row in expected]
    assert len(expected) > 500


def test_what_is_written_is_read_back(tmp_path):
    draw = generator(1, "write-petlink")
    addresses = draw.integers(mmr_bins.ADDRESSES, size=3000)
    lines = [mmr_bins.crystals_of(address) for address in addresses]
    crystals = np.array(
        [sorted(line) for line in lines if line[0] >= 0 and mmr_bins.coincide(*line)], np.uint32
    )
    time_ms = np.sort(draw.integers(40, size=len(crystals))).astype(np.uint32)
    prompt, half = draw.random(len(crystals)) < 0.7, len(crystals) // 2
    parts = [(crystals[at], prompt[at], time_ms[at]) for at in (slice(0, half), slice(half, None))]
    write_petlink(tmp_path / "a.l", parts, {"image duration (sec)": 0.05})
    listmode = open_listmode(tmp_path / "a.l")
    (block,) = listmode.blocks()
    assert (block.crystals == crystals).all() and (block.prompt == prompt).all()
    assert (block.time_ms == time_ms).all()
    info = listmode.info()
    assert info["duration_s"] == 0.05 and info["prompts"] == prompt.sum()
    assert info["header"]["total listmode word counts"] == str(len(crystals) + 50)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("%number of views:=168", "number of views '168', but the Siemens Biograph mMR's list-mode has 252"),
        ("%axial compression:=11", "axial compression '11'"),
        ("!originating system:=1104", "is from scanner 1104, whose bins are not known"),
    ],
)
def test_bins_of_another_sinogram_are_refused(petlink, line, sentence):
    header = petlink.with_name("scan.l.hdr")
    header.write_text(header.read_text() + line + "\n")
    with pytest.raises(InputError, match=sentence):
        next(open_listmode(petlink).blocks())


def test_no_event_of_the_real_sample_falls_on_a_gap(mmr_sample):
    """Any other phase of the gaps among the places of a ring would put a fifth of the events there."""
    words = np.fromfile(mmr_sample, "<u4").astype(np.int64)
    addresses = words[words >> 31 == 0] & (1 << 30) - 1
    lines = [mmr_bins.crystals_of(address) for address in addresses[:20_000].tolist()]
    assert len(addresses) == 127_100 and all(a >= 0 for a, _ in lines)
    events = sum(map(len, open_listmode(mmr_sample).blocks()))
    assert events == 125_844, "99 %: the rest lies more than 285 mm off the axis"


def test_a_tag_interval_that_is_no_number_is_refused(petlink):
    header = petlink.with_name("scan.l.hdr")
    header.write_text(header.read_text().replace("(msec):=1", "(msec):=fast"))
    with pytest.raises(InputError, match="interval of 'fast'; give milliseconds"):
        open_listmode(petlink).info()

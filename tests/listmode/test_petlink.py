import numpy as np
import pytest

from csrd.errors import InputError
from csrd.listmode import InterfileHeader, open_listmode, thin


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


def test_events_are_no_crystal_pairs(petlink):
    with pytest.raises(InputError, match=r"sinogram bins.*give HRRT list-mode \(.l64\) to reconstruct"):
        open_listmode(petlink).blocks()


def test_a_tag_interval_that_is_no_number_is_refused(petlink):
    header = petlink.with_name("scan.l.hdr")
    header.write_text(header.read_text().replace("(msec):=1", "(msec):=fast"))
    with pytest.raises(InputError, match="interval of 'fast'; give milliseconds"):
        open_listmode(petlink).info()

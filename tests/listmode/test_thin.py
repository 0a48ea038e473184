import hashlib
import tracemalloc

import numpy as np
import pytest
from listmode_samples import random_events

from csrd.errors import InputError
from csrd.listmode import InterfileHeader, open_listmode, thin, write_hrrt
from csrd.listmode.draw import Keep, Part, is_kept


def mask(keep: Keep, events: int) -> np.ndarray:
    """Return which of the first events a draw keeps."""
    return is_kept.py_func(keep.key, np.arange(events), keep.limit)


# --- the draw -----------------------------------------------------------------------------------------


def test_the_words_are_those_of_splitmix64():
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    key = np.uint64(1234567)
    for event, word in enumerate(published, start=1):
        assert is_kept(key, event, np.uint64(word)) and not is_kept(key, event, np.uint64(word - 1))


@pytest.mark.parametrize("drf", [1.5, 4, 6, 8, 10, 1000 / 3])
@pytest.mark.parametrize("seed", [0, 1, 2024])
def test_a_draw_is_bernoulli(drf, seed):
    kept = mask(Keep.of(drf, seed), 1_000_000)
    p = 1 / drf
    sigma = np.sqrt(p * (1 - p))
    assert abs(kept.sum() - kept.size * p) < 4 * sigma * np.sqrt(kept.size)
    groups = kept.reshape(1000, -1).sum(axis=1)  # their variance is binomial: χ² of 1000 degrees of freedom
    chi2 = ((groups - 1000 * p) ** 2).sum() / (1000 * sigma**2)
    assert abs(chi2 - 1000) < 4 * np.sqrt(2000)
    for lag in (1, 2, 7, 64):  # neighbours are uncorrelated
        both = (kept[lag:] & kept[:-lag]).mean()
        assert abs(both - p**2) < 5 * p / np.sqrt(kept.size)


def test_draws_of_different_drfs_and_seeds_are_independent():
    draws = [mask(Keep.of(drf, seed), 1_000_000) for drf, seed in ((4, 1), (6, 1), (8, 1), (10, 1), (4, 2))]
    for i, first in enumerate(draws):
        for second in draws[:i]:
            p = first.mean() * second.mean()
            assert abs((first & second).mean() - p) < 4.5 * np.sqrt(p / first.size)


def test_nested_draws_are_nested():
    masks = [mask(Keep.of(drf, 1, nested=True), 100_000) for drf in (1, 4, 6, 8, 10)]
    for larger, smaller in zip(masks, masks[1:], strict=False):
        assert (smaller <= larger).all() and smaller.sum() < larger.sum()


def test_folds_divide_the_events_at_random():
    whole = Part(7, tuple(range(8)), 8)
    assert whole.holds(0, 1000).all() and whole.fraction == 1
    folds = [Part(7, (fold,), 8).holds(0, 800_000) for fold in range(8)]
    assert (np.sum(folds, 0) == 1).all(), "each event lies in one fold"
    counts = np.sum(folds, 1)
    assert (abs(counts - 1e5) < 4 * np.sqrt(8e5 * 1 / 8 * 7 / 8)).all()
    two = Part(7, (2, 5), 8)
    assert two.fraction == 0.25 and (two.holds(0, 800_000) == folds[2] | folds[5]).all()
    assert (two.holds(1234, 500) == two.holds(0, 2000)[1234:1734]).all(), "blocks of any size hold the same"
    other = Part(8, (2,), 8).holds(0, 800_000)
    assert abs((folds[2] & other).mean() - 1 / 64) < 4.5 * np.sqrt(1 / 64 / 8e5)


def test_whole_numbers_draw_alike_as_int_and_float():
    assert Keep.of(4, 1) == Keep.of(4.0, 1)


@pytest.mark.parametrize("drf", [0, 0.999, -4, float("nan"), float("inf"), 1e30])
def test_a_drf_that_cannot_thin_is_refused(hrrt, drf):
    with pytest.raises(InputError, match="factor of .* cannot thin; give a number of 1 or more"):
        thin(hrrt, hrrt.with_name("low.l64"), drf, seed=1)


# --- files --------------------------------------------------------------------------------------------


def packets(path) -> np.ndarray:
    return np.fromfile(path, "<u4").reshape(-1, 2)


def is_tag(pairs: np.ndarray) -> np.ndarray:
    return pairs[:, 0] >> 30 == 1


@pytest.mark.parametrize("drf", [1, 2.5, 4, 10])
def test_the_drawn_events_and_all_tags_are_kept_in_order(hrrt, tmp_path, drf):
    summary = thin(hrrt, tmp_path / "low.l64", drf, seed=3)
    source = packets(hrrt)
    tags = is_tag(source)
    stays = tags.copy()
    stays[~tags] = mask(Keep.of(drf, 3), (~tags).sum())
    assert (packets(tmp_path / "low.l64") == source[stays]).all()
    info = open_listmode(tmp_path / "low.l64").info()
    assert (info["prompts"], info["delayeds"]) == (summary["prompts_kept"], summary["delayeds_kept"])
    assert (info["time_tags"], info["duration_s"]) == (500, 0.5)
    assert summary["prompts"] + summary["delayeds"] == 20_000


def test_prompts_and_delayeds_are_drawn_alike(hrrt, tmp_path):
    summary = thin(hrrt, tmp_path / "low.l64", drf=4, seed=1)
    for kind in ("prompts", "delayeds"):
        expected = summary[kind] / 4
        assert abs(summary[f"{kind}_kept"] - expected) < 4 * np.sqrt(expected * 3 / 4)


def test_nested_files_are_nested(tmp_path):
    path = tmp_path / "scan.l64"
    crystals, prompt, time_ms = random_events(2000, 2000)
    time_ms[:] = np.arange(2000)  # an event a millisecond, so that its time names it
    write_hrrt(path, [(crystals, prompt, time_ms)], {})
    kept = []
    for drf in (8, 4):
        thin(path, tmp_path / "low.l64", drf, seed=1, nested=True)
        kept.append(
            {int(ms) for block in open_listmode(tmp_path / "low.l64").blocks() for ms in block.time_ms}
        )
    assert kept[0] < kept[1]


def test_one_seed_gives_the_same_bytes_at_every_chunk_size(hrrt, tmp_path, monkeypatch):
    thin(hrrt, tmp_path / "first.l64", 4, seed=1)
    thin(hrrt, tmp_path / "other.l64", 4, seed=2)
    first = (tmp_path / "first.l64").read_bytes()
    assert first != (tmp_path / "other.l64").read_bytes()
    for chunk in (1, 7, 1000):
        monkeypatch.setattr("csrd.listmode.packets.PacketListMode.chunk_words", chunk)
        thin(hrrt, tmp_path / "again.l64", 4, seed=1)
        assert (tmp_path / "again.l64").read_bytes() == first


def test_the_bytes_of_a_seed_are_for_ever(tmp_path):
    pairs = [(head * 14_976, (head + 4) * 14_976) for head in range(4)] * 100
    segment = np.array(pairs, np.uint32), np.arange(400) % 3 > 0, np.arange(400, dtype=np.uint32) // 2
    write_hrrt(tmp_path / "a.l64", [segment], {})
    thin(tmp_path / "a.l64", tmp_path / "b.l64", 4, seed=2024)
    assert hashlib.sha256((tmp_path / "b.l64").read_bytes()).hexdigest()[:16] == "853f62267d7cd441"


def test_a_damaged_file_becomes_clean(hrrt, tmp_path):
    words = np.fromfile(hrrt, "<u4")
    np.insert(np.delete(words, 5001), [0, 9000, 9000, 9000], 1 << 31).tofile(hrrt)
    summary = thin(hrrt, tmp_path / "low.l64", 1, seed=1)
    assert summary["skipped_words"] == 5
    assert open_listmode(tmp_path / "low.l64").info()["skipped_words"] == 0
    assert (tmp_path / "low.l64").stat().st_size == 8 * (20_500 - 1)


def test_the_header_is_the_source_s_with_the_thinning_noted(hrrt, tmp_path):
    thin(hrrt, tmp_path / "low.l64", 4, seed=1)
    source = hrrt.with_name("scan.l64.hdr").read_text()
    assert (tmp_path / "low.l64.hdr").read_text() == source.replace("scan.l64", "low.l64") + (
        "dose reduction factor := 4\nthinning seed := 1\nthinning draw := independent\n"
    )


def test_a_thinned_file_thinned_again_states_the_whole_factor(hrrt, tmp_path):
    thin(hrrt, tmp_path / "low.l64", 4, seed=1)
    thin(tmp_path / "low.l64", tmp_path / "lower.l64", 1.5, seed=2, nested=True)
    header = InterfileHeader.read(tmp_path / "lower.l64.hdr")
    assert header["dose reduction factor"] == "6"
    assert (header["thinning seed"], header["thinning draw"]) == ("2", "nested")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("scan.l64", "is the source itself; give another name"),
        ("link.l64", "is the source itself; give another name"),
        ("low.l64.hdr", "is a header's name; give the data file's"),
        (".", "is a folder; give the name of a file in it"),
        ("folder", "folder.hdr is a folder; give the name of a file in it"),
    ],
)
def test_a_target_that_cannot_be_written_is_refused(hrrt, target, message):
    hrrt.with_name("link.l64").symlink_to(hrrt)
    hrrt.with_name("folder.hdr").mkdir()
    before = hrrt.read_bytes()
    with pytest.raises(InputError, match=message):
        thin(hrrt, hrrt.parent / target, 4, seed=1)
    assert hrrt.read_bytes() == before
    assert sorted(path.name for path in hrrt.parent.iterdir()) == [
        "folder.hdr", "link.l64", "scan.l64", "scan.l64.hdr",
    ]  # fmt: skip


def test_the_sources_header_under_the_bare_name_is_not_overwritten(hrrt):
    header = hrrt.with_name("scan.l64.hdr").rename(hrrt.with_suffix(".hdr"))
    before = header.read_bytes()
    with pytest.raises(InputError, match="scan.hdr is the source itself"):
        thin(hrrt, hrrt.with_suffix(""), 4, seed=1)
    assert header.read_bytes() == before


def test_a_full_disk_leaves_nothing_behind(hrrt, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("csrd.listmode.packets.PacketListMode.compact_into", full)
    with pytest.raises(InputError, match="cannot write .*low.l64: No space left on device; free some space"):
        thin(hrrt, tmp_path / "out" / "low.l64", 4, seed=1)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("factor", ["much", "0", "nan", ""])
def test_a_former_factor_that_is_no_number_is_refused(hrrt, tmp_path, factor):
    header = hrrt.with_name("scan.l64.hdr")
    header.write_text(header.read_text() + f"dose reduction factor := {factor}\n")
    with pytest.raises(
        InputError, match=f"says dose reduction factor '{factor}'; give a number of 1 or more"
    ):
        thin(hrrt, tmp_path / "low.l64", 4, seed=1)
    assert not (tmp_path / "low.l64").exists()


# --- memory -------------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_the_file(tmp_path):
    """Five times the file, the same peak of memory (numpy's buffers are traced)."""
    peaks = []
    for number in (4, 20):
        crystals, prompt, _ = random_events(200_000, 1000)
        segments = [(crystals, prompt, np.full(len(prompt), ms, np.uint32)) for ms in range(number)]
        path = tmp_path / f"scan{number}.l64"
        write_hrrt(path, segments, {})
        tracemalloc.start()
        thin(path, tmp_path / f"thin{number}.l64", drf=4, seed=1)
        for _ in open_listmode(path).blocks():
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
    assert 3 * peaks[1] < path.stat().st_size

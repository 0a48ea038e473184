"""The virtual scanner on a small hot cube, with an isotope so short-lived that its decay shows."""

from dataclasses import replace

import numpy as np
import pytest

from csrd.io.volume import Volume, centred_affine
from csrd.listmode import open_listmode
from csrd.scanner.geometry import hrrt
from csrd.stages.simulate import write_scan
from csrd.virtual.acquire import EFFICIENCY_MEAN, Acquisition, crystal_efficiencies

SHAPE, VOXEL_MM = (6, 6, 6), 4.0
SCAN = Acquisition(duration_s=4.0, half_life_s=2.0, branching=0.9, randoms_fraction=0.25)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Return the paths of two acquisitions, by one thread and by three, and the first one's counts."""
    folder = tmp_path_factory.mktemp("scan")
    counts = {threads: scan(folder / f"{threads}.l64", SCAN, threads) for threads in (1, 3)}
    return folder / "1.l64", folder / "3.l64", counts[1]


def scan(path, acquisition: Acquisition, threads: int = 1) -> dict[str, int]:
    grid = Volume(np.ones(SHAPE, np.float32), centred_affine(SHAPE, VOXEL_MM))
    mumap, efficiencies = grid.like(grid.array * 0.096, "1/cm"), crystal_efficiencies(hrrt(), 1, "sub-01")
    activity = grid.like(grid.array * 1.5e5, "Bq/mL")
    return write_scan(path, activity, mumap, efficiencies, hrrt(), acquisition, 1, "sub-01", threads)


def test_threads_do_not_change_the_file(scans):
    one, three, _ = scans
    assert one.read_bytes() == three.read_bytes()


def test_a_quarter_of_the_prompts_is_random_and_delayeds_are_as_many(scans):
    counts = scans[2]
    assert counts["prompts"] > 50_000
    assert counts["random_prompts"] / counts["prompts"] == pytest.approx(0.25, abs=0.01)
    difference = counts["delayeds"] - counts["random_prompts"]
    assert 0 < abs(difference) < 5 * np.sqrt(2 * counts["delayeds"]), "independent draws of one mean"


def test_the_file_holds_what_is_counted_over_its_whole_length(scans):
    info = open_listmode(scans[0]).info()
    assert (info["prompts"], info["delayeds"]) == (scans[2]["prompts"], scans[2]["delayeds"])
    assert info["duration_s"] == 4.0 and info["skipped_words"] == 0


@pytest.mark.parametrize(("given_s", "whole_s"), [(0.0504, 0.051), (2.007, 2.007), (0.0002, 0.001)])
def test_a_scan_lasts_whole_milliseconds(tmp_path, given_s, whole_s):
    """The clock of list-mode has no others; 2.007 s · 1000 is 2007.0000000000002 in floating point."""
    acquisition = replace(SCAN, duration_s=given_s, half_life_s=2e3)
    counts = scan(tmp_path / "a.l64", acquisition)
    found = open_listmode(tmp_path / "a.l64")
    assert acquisition.duration_s == whole_s and float(found.header["image duration"]) == whole_s
    assert found.info()["prompts"] == counts["prompts"] > 0
    last = max(int(block.time_ms.max()) for block in found.blocks() if len(block.time_ms))
    assert last == round(1000 * whole_s) - 1, "the last millisecond has events too"


def test_randoms_decay_twice_as_fast(scans):
    """Half-lives of 2 s for trues and 1 s for delayeds: shares of the first of two halves of 4 s."""
    early, late = np.zeros(2), np.zeros(2)
    for block in open_listmode(scans[0]).blocks():
        for half, of_it in ((early, block.time_ms < 2000), (late, block.time_ms >= 2000)):
            half += np.count_nonzero(block.prompt & of_it), np.count_nonzero(~block.prompt & of_it)
    assert early[1] / late[1] == pytest.approx(4, rel=0.08)
    trues_early, trues_late = early[0] - early[1], late[0] - late[1]  # randoms as the delayeds tell them
    assert trues_early / trues_late == pytest.approx(2, rel=0.04)


def test_efficiencies_vary_by_crystal_block_and_subject():
    scanner = hrrt()
    efficiencies = crystal_efficiencies(scanner, 1, "sub-01")
    grid = efficiencies.reshape(8, 2, 104, 72)
    assert efficiencies.min() >= 0.05 and efficiencies.max() <= 1.25 * EFFICIENCY_MEAN
    inner = (np.arange(104) % 8 == 4)[:, None] & (np.arange(72) % 8 == 4)
    edge = (np.arange(104) % 8 == 0)[:, None] & (np.arange(72) % 8 == 4)
    assert grid[:, :, edge].mean() / grid[:, :, inner].mean() == pytest.approx(0.88, abs=0.02)
    assert 0.08 < efficiencies.std() / efficiencies.mean() < 0.15
    assert not np.array_equal(efficiencies, crystal_efficiencies(scanner, 1, "sub-02"))

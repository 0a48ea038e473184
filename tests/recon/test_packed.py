"""A long scan: its events in passes and packed, and the image that the same events in memory give."""

import numpy as np
import pytest

from csrd.listmode import open_listmode
from csrd.recon import packed
from csrd.recon.embedded import reconstruct
from csrd.recon.osem import PackedEvents, osem, osem_of
from csrd.recon.packed import Pass, is_long, neighbours_first, prompts_in_parts
from csrd.scanner.geometry import hrrt
from csrd.seeds import generator
from tests.recon.conftest import ACTIVITY, SETTINGS


def test_parts_have_every_prompt_once(cylinder, monkeypatch):
    monkeypatch.setattr(packed, "PART_EVENTS", 30_000)
    listmode = open_listmode(cylinder.path.with_name("drf10.l64"))
    parts = list(neighbours_first(prompts_in_parts(Pass(listmode, "test")), hrrt()))
    everything = np.concatenate([block.crystals[block.prompt] for block in listmode.blocks()])
    assert len(parts) > 2 and sum(map(len, parts)) == len(everything)
    assert (np.unique(np.concatenate(parts), axis=0) == np.unique(everything, axis=0)).all()


def test_one_part_a_subset_is_the_same_image_to_the_last_bit(cylinder):
    draw = generator(1, "packed")
    crystals = draw.integers(14_976, size=(6000, 2)).astype(np.uint32) + np.array([0, 4 * 14_976], np.uint32)
    additive = draw.random(6000).astype(np.float32)
    arguments = cylinder.sensitivity, hrrt(), SETTINGS.psf
    plain = osem(crystals, additive, *arguments, 4, 2, generator(2, "subsets"))
    member = generator(2, "subsets").permutation(np.arange(6000, dtype=np.uint32)) % np.uint32(4)
    parts = [[(crystals[member == n], additive[member == n])] for n in range(4)]
    found = osem_of(PackedEvents(parts), *arguments, 2)
    assert (found == plain).all() and plain.any()


def test_a_long_scan_has_the_image_of_its_events_in_memory(cylinder, monkeypatch):
    """With one subset to rounding; with several, which are drawn otherwise, up to their noise."""
    listmode = open_listmode(cylinder.path.with_name("drf4.l64"))
    monkeypatch.setattr(packed, "PART_EVENTS", 100_000)

    def image(long: bool, subsets: int):
        monkeypatch.setattr(packed, "LONG_BYTES", 0 if long else 1 << 40)
        assert is_long(listmode) is long
        settings = SETTINGS.model_copy(update={"subsets": subsets})
        arguments = cylinder.mumap, cylinder.efficiencies, cylinder.sensitivity, hrrt(), settings, 4
        return reconstruct(listmode, *arguments, seed=1, subject="sub-01")

    (found, sidecar), (plain, expected) = image(long=True, subsets=1), image(long=False, subsets=1)
    np.testing.assert_allclose(found.array, plain.array, rtol=1e-4, atol=1e-4 * ACTIVITY)
    assert sidecar == expected
    found, _ = image(long=True, subsets=SETTINGS.subsets)
    inside = cylinder.radius() < 40
    assert found.array[inside].mean() == pytest.approx(ACTIVITY, rel=0.02)
    assert np.corrcoef(found.array[inside], cylinder.images[4].array[inside])[0, 1] > 0.9

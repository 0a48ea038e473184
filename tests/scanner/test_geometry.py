"""The HRRT's geometry against the figures its users publish."""

import re

import numpy as np
import pytest

from csrd.errors import InputError
from csrd.scanner.geometry import hrrt, mmr, scanner_of


def test_counts_of_crystals_and_lines():
    scanner = hrrt()
    assert scanner.crystals == 119_808
    assert len(scanner.head_pairs) * scanner.crystals_per_head**2 == 20 * (72 * 104 * 2) ** 2


def test_head_pairs_are_those_of_the_format():
    pairs = "02 03 04 05 06, 13 14 15 16 17, 24 25 26 27, 35 36 37, 46 47, 57"
    assert [f"{a}{b}" for a, b in hrrt().head_pairs] == re.findall(r"\d+", pairs)


def test_positions_of_some_crystals():
    """Head 0 faces +y, head 2 faces +x; the layers lie 10 mm apart, behind the front face."""
    scanner = hrrt()
    positions = scanner.crystal_positions
    front, behind = (positions[scanner.crystal_index(0, layer, 0, 0)] for layer in (0, 1))
    assert front[0] == pytest.approx(-35.5 * 2.4375)
    assert front[2] == pytest.approx(-51.5 * 2.4375)
    assert behind[1] - front[1] == pytest.approx(10)
    assert 234.5 < front[1] < 239.5, "in the front half of the layer, where most photons stop"
    turned = positions[scanner.crystal_index(2, 0, 0, 71)]
    np.testing.assert_allclose(turned, [front[1], -35.5 * 2.4375, front[2]], atol=1e-4)


def test_mean_depth_is_the_exponential_law_cut_to_the_layer():
    scanner = hrrt()
    depth = np.linspace(0, 10, 200_001)
    law = np.exp(-0.087 * depth)
    assert scanner.interaction_depths_mm[0] == pytest.approx((depth * law).sum() / law.sum(), rel=1e-4)


def test_layers_and_heads_follow_the_index():
    scanner = hrrt()
    index = scanner.crystal_index(head=5, layer=1, ring=7, column=3)
    assert scanner.crystal_layers[index] == 1
    assert index // scanner.crystals_per_head == 5
    outward = scanner.crystal_positions[index] @ scanner.head_normals[5]
    assert outward == pytest.approx(234.5 + scanner.interaction_depths_mm[1], abs=1e-3)


def test_neighbours_first_puts_lines_of_the_same_heads_together():
    scanner, draw = hrrt(), np.random.default_rng(0)
    crystals = draw.integers(scanner.crystals, size=(5000, 2)).astype(np.uint32)
    order = scanner.neighbours_first(crystals)
    assert sorted(order) == list(range(5000))
    heads = crystals[order] // scanner.crystals_per_head
    changes = (np.diff(heads[:, 0] * 8 + heads[:, 1].astype(int)) != 0).sum()
    assert changes == 63, "each of the 64 ordered pairs of heads once"


def test_unknown_scanner_names_those_known():
    with pytest.raises(InputError, match="'Explorer' is not known; choose one of HRRT, Siemens Biograph mMR"):
        scanner_of("Explorer")


def test_the_mmr_is_a_ring_of_flat_blocks():
    scanner = mmr()
    assert scanner.crystals == 56 * 8 * 64 == 28_672
    assert len(scanner.head_pairs) == 56 * 37 / 2, "each block faces 37"
    positions = scanner.crystal_positions.reshape(56, 64, 8, 3)
    assert np.ptp(positions[0, :, 0, 2]) == pytest.approx(63 * 4.0625)
    depth = (positions * scanner.head_normals[:, None, None]).sum(-1)
    np.testing.assert_allclose(depth, 328 + scanner.interaction_depths_mm[0], rtol=1e-5)
    gaps = np.linalg.norm(positions[1, 0, 0] - positions[0, 0, 7])
    assert 7 < gaps < 10, "a crystal's place is free between two blocks"
    assert scanner_of("siemens biograph MMR") is scanner

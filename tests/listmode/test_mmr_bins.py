"""The mMR's bins and lines: one map both ways, and where the lines lie in the scanner."""

import numpy as np
import pytest

from csrd.listmode import mmr_bins
from csrd.listmode.mmr_bins import ADDRESSES, BINS, CRYSTALS, NO_LINE, PLANES, VIEWS, address_of, crystals_of
from csrd.scanner.geometry import mmr
from csrd.seeds import generator

EDGES = [0, 1, BINS - 1, BINS, BINS * VIEWS - 1, BINS * VIEWS, ADDRESSES - BINS, ADDRESSES - 2, ADDRESSES - 1]


def address(plane: int, view: int, t: int) -> int:
    return (plane * VIEWS + view) * BINS + t + BINS // 2


def test_the_sinogram_has_the_size_that_the_format_says():
    assert PLANES == 4084 and ADDRESSES == 344 * 252 * 4084 < 1 << 30
    sizes = np.diff(np.flatnonzero(np.diff(np.diff(mmr_bins.PLANE_RINGS, axis=1)[:, 0])), prepend=-1)
    assert sizes.tolist() == [64, *[64 - d for d in range(1, 61) for _ in "-+"]][:-1]


def test_lines_and_bins_are_one_map():
    """From bin to line and back, in both orders of the crystals; about two bins in nine end in a gap."""
    draw = generator(1, "mmr-bins")
    addresses = np.concatenate([EDGES, draw.integers(ADDRESSES, size=100_000)]).tolist()
    lines = [crystals_of(address) for address in addresses]
    for address_, (a, b) in zip(addresses, lines, strict=True):
        assert (a == NO_LINE) == (b == NO_LINE)
        if a != NO_LINE:
            assert min(a, b) >= 0 and max(a, b) < CRYSTALS
            assert address_of(a, b) == address_of(b, a) == address_
    assert np.mean([a == NO_LINE for a, _ in lines]) == pytest.approx(1 - (8 / 9) ** 2, abs=0.005)


def test_bins_and_lines_are_one_map():
    """From line to bin and back; without a bin are lines of too near crystals or too distant rings only."""
    draw, scanner = generator(2, "mmr-bins"), mmr()
    pairs = draw.integers(CRYSTALS, size=(50_000, 2))
    for (a, b), in_reach in zip(pairs.tolist(), scanner.in_reach(pairs), strict=True):
        found = address_of(a, b)
        if found != NO_LINE:
            assert sorted(crystals_of(found)) == sorted((a, b))
        else:
            assert not in_reach or not mmr_bins.coincide(a, b)


@pytest.mark.parametrize("wrong", [-1, ADDRESSES, (1 << 30) - 1])
def test_an_address_beyond_the_sinogram_is_no_line(wrong):
    assert crystals_of(wrong) == (NO_LINE, NO_LINE)


def test_every_pair_of_the_scanner_has_a_bin():
    scanner, column = mmr(), np.arange(8)
    a, b = np.meshgrid(column, column)
    for first, second in scanner.head_pairs:
        for i, j in zip(a.ravel().tolist(), b.ravel().tolist(), strict=True):
            assert address_of(first * 512 + i, second * 512 + j) != NO_LINE
    assert all(mmr_bins.coincide(a * 512, b * 512) for a, b in scanner.head_pairs)


def test_where_bins_lie():
    """View 0 runs up and down, bins go across; views turn from there, planes from head to feet."""
    scanner = mmr()

    def ends(*bin_):
        return np.array([scanner.crystal_positions[c] for c in crystals_of(address(*bin_))])

    top, bottom = ends(0, 1, 0)  # t = 0 of view 0 ends in two gaps
    assert top[1] > 330 > -330 > bottom[1], "between the front and the back of a supine patient"
    assert top[0] == pytest.approx(-bottom[0], abs=0.01) and -8 < top[0] < 0, "places run to the left"
    assert top[2] == bottom[2] == pytest.approx(31.5 * 4.0625), "ring 0 is the one nearest to the head"
    middle = ends(0, 127, 0)
    assert abs(middle[:, 1]).max() < 8 and middle[0, 0] < -330, "a quarter of a turn later to the left"
    shifted = ends(0, 1, 41)
    assert (shifted[:, 0] < -60).all(), "larger bins lie further left in the first views"
    first, second = ends(64, 1, 0)
    assert first[2] - second[2] == pytest.approx(-4.0625), "the second segment is ring difference -1"


def test_distance_from_the_axis_grows_with_the_bin():
    """s = R sin(π t / 504) but for the blocks' flatness."""
    scanner = mmr()
    radius = scanner.face_radius_mm + scanner.interaction_depths_mm[0]
    for t in range(-170, 171, 10):
        line = crystals_of(address(0, 77, t))
        if line[0] == NO_LINE:
            continue
        (x1, y1, _), (x2, y2, _) = (scanner.crystal_positions[c].astype(float) for c in line)
        distance = abs(x1 * y2 - x2 * y1) / np.hypot(x2 - x1, y2 - y1)
        assert distance == pytest.approx(abs(radius * np.sin(np.pi * t / 504)), abs=1.5)

"""The Siemens Biograph mMR's sinogram bins, and the two crystals at the ends of each bin's line.

A bin's address counts bins fastest, then views, then planes: (plane · 252 + view) · 344 + bin. Planes are
those of span 1, in segments of ring difference 0, −1, +1, …, −60, +60, and by ring inside a segment.
A ring has 504 places: every ninth, beginning with the first, is a gap between two blocks without a
crystal. With t = bin − 172, view v joins the places v + ⌊t/2⌋ and v + 252 − ⌈t/2⌉, interleaved as in every
sinogram of crystals. Places run from the scanner's top to the left of a patient lying head first and supine,
rings from the head to the feet. Facts: STIR (list-mode ECAT8 32-bit, Scanner), NiftyPET (block geometry);
in a real scan no event falls on a gap, which any other phase of the places would break.

A crystal's index is (block · 64 + ring) · 8 + column, blocks and columns from the top to the patient's
right and rings from feet to head, so that all run with RAS+ axes (`scanner.geometry.mmr`).
"""

import numpy as np
from numba import njit

BLOCKS, RINGS, COLUMNS = 56, 64, 8
CRYSTALS = BLOCKS * RINGS * COLUMNS
PLACES = BLOCKS * (COLUMNS + 1)
BINS, VIEWS = 344, PLACES // 2
MAX_RING_DIFFERENCE = 60
MIN_BLOCKS_APART = 10  # at 9 the sinogram holds only some lines of a pair, more than 285 mm off the axis
NO_LINE = -1


def _planes() -> tuple[np.ndarray, np.ndarray]:
    """Return the rings of each plane (planes, 2), and the plane of each pair of rings (64, 64), else −1."""
    differences = [0] + [sign * size for size in range(1, MAX_RING_DIFFERENCE + 1) for sign in (-1, 1)]
    rings = [(ring, ring + d) for d in differences for ring in range(max(0, -d), min(RINGS, RINGS - d))]
    planes = np.full((RINGS, RINGS), NO_LINE, np.int64)
    planes[tuple(np.transpose(rings))] = np.arange(len(rings))
    return np.array(rings, np.int64), planes


PLANE_RINGS, RING_PLANE = _planes()
PLANES = len(PLANE_RINGS)
ADDRESSES = PLANES * VIEWS * BINS


@njit(cache=True, nogil=True)
def crystal_at(place, ring):
    """Return the crystal at a place of a ring, NO_LINE in a gap."""
    block, column = divmod(place - 1, COLUMNS + 1)
    if column == COLUMNS:
        return NO_LINE
    return ((BLOCKS - 1 - block) * RINGS + RINGS - 1 - ring) * COLUMNS + COLUMNS - 1 - column


@njit(cache=True, nogil=True)
def place_of(crystal):
    """Return the place and the ring of a crystal."""
    column, rest = crystal % COLUMNS, crystal // COLUMNS
    block = BLOCKS - 1 - rest // RINGS
    return (block * (COLUMNS + 1) + COLUMNS - column) % PLACES, RINGS - 1 - rest % RINGS


@njit(cache=True, nogil=True)
def coincide(a, b):
    """Return whether the blocks of two crystals face one another, so that their line is reconstructed."""
    apart = abs(a // (RINGS * COLUMNS) - b // (RINGS * COLUMNS))
    return min(apart, BLOCKS - apart) >= MIN_BLOCKS_APART


@njit(cache=True, nogil=True)
def crystals_of(address):
    """Return the crystals (a, b) of a bin's line, (NO_LINE, NO_LINE) for an address of no line."""
    if address < 0 or address >= ADDRESSES:
        return NO_LINE, NO_LINE
    t = address % BINS - BINS // 2
    view, plane = address // BINS % VIEWS, address // (BINS * VIEWS)
    a = crystal_at((view + (t >> 1)) % PLACES, PLANE_RINGS[plane, 0])
    b = crystal_at((view + VIEWS - ((t + 1) >> 1)) % PLACES, PLANE_RINGS[plane, 1])
    if a == NO_LINE or b == NO_LINE:
        return NO_LINE, NO_LINE
    return a, b


@njit(cache=True, nogil=True)
def address_of(a, b):
    """Return the address of the line between two crystals, in either order; NO_LINE where there is no bin."""
    (first, ring_a), (second, ring_b) = place_of(a), place_of(b)
    # first − second + 252 = t, second − first + 252 = −t: a view below 252 decides which is which
    t = (first - second + VIEWS + VIEWS) % PLACES - VIEWS
    view = (first - (t >> 1)) % PLACES
    if view >= VIEWS:
        t, view, ring_a, ring_b = -t, view - VIEWS, ring_b, ring_a
    plane = RING_PLANE[ring_a, ring_b]
    if plane == NO_LINE or t < -(BINS // 2) or t >= BINS // 2:
        return NO_LINE
    return (plane * VIEWS + view) * BINS + t + BINS // 2

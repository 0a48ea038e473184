"""Selection of the events that a thinning keeps, by a counter-based random generator without state.

Event i of the file is kept iff u_i < 2⁶⁴/drf, where u_i is the i-th word of the generator SplitMix64
(Steele, Lea and Flood, OOPSLA 2014) started at a key: independent Bernoulli trials of probability 1/drf.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numba import njit

from csrd.errors import InputError
from csrd.seeds import key64

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2⁶⁴ divided by the golden ratio
MIX_1, MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
SHIFT_1, SHIFT_2, SHIFT_3 = np.uint64(30), np.uint64(27), np.uint64(31)
HALF = np.uint64(32)  # bits of a word that choose a fold
MAX_DRF = 2**32


@dataclass(frozen=True)
class Keep:
    """A random selection of events: its `key`, and the largest word `limit` that is kept, both of 64 bits."""

    key: np.uint64
    limit: np.uint64

    @classmethod
    def of(cls, drf: float, seed: int, nested: bool = False) -> "Keep":
        """Return the selection that keeps each event with probability 1/drf.

        Selections of two drfs are independent; `nested` leaves the drf out of the key instead, so that the
        events kept at a larger drf are among those kept at a smaller one. Raises InputError for a drf
        that is not a finite number ≥ 1.
        """
        if not (math.isfinite(drf) and 1 <= drf < MAX_DRF):
            raise InputError(
                f"a dose reduction factor of {drf} cannot thin; give a number of 1 or more, e.g. 4"
            )
        key = key64(seed, "thin") if nested else key64(seed, "thin", repr(float(drf)))
        limit = int(2**64 / Fraction(drf)) - 1
        return cls(np.uint64(key), np.uint64(limit))


@dataclass(frozen=True)
class Part:
    """A random part of a file's events: the `folds` among `count` equal ones that a `key` divides them into.

    Each event lies in exactly one fold, at random and independently of others. Parts of one key without a
    common fold are independent Poisson processes.
    """

    key: int
    folds: tuple[int, ...]
    count: int

    @property
    def fraction(self) -> float:
        """Return the expected fraction of the events."""
        return len(self.folds) / self.count

    def holds(self, first: int, number: int) -> np.ndarray:
        """Return for events `first`, `first` + 1, … of the file whether they are in the part, (number,)."""
        words = np.uint64(self.key) + np.arange(first, first + number, dtype=np.uint64) * GOLDEN
        words = (words ^ (words >> SHIFT_1)) * MIX_1
        words = (words ^ (words >> SHIFT_2)) * MIX_2
        fold = ((words ^ (words >> SHIFT_3)) >> HALF) * np.uint64(self.count) >> HALF
        return np.isin(fold, np.array(self.folds, dtype=np.uint64))


# Inlined into each format's kernel: after an edit here, delete the compiled ones (csrd/**/__pycache__/*.nb?),
# because numba's cache watches only the file of the outermost function.
@njit(cache=True, nogil=True)
def is_kept(key: np.uint64, event: int, limit: np.uint64) -> np.bool:
    """Return whether the event of that index is kept."""
    word = key + np.uint64(event) * GOLDEN
    word = (word ^ (word >> SHIFT_1)) * MIX_1
    word = (word ^ (word >> SHIFT_2)) * MIX_2
    return word ^ (word >> SHIFT_3) <= limit

"""The Biograph mMR's normalisation by components, as the efficiency of a line of response.

The efficiency of the line between crystals a and b, relative to those of all other lines, is

    n = ε_a ε_b · geometric(r_a + r_b, bin) · interference(bin, view mod 9) / axial(sinogram of span 11)

with 1 for a line whose rings are in no such sinogram. It includes the solid angle, and so replaces
`scanner.response.line_factors`. The expected counts of a scan are, per decay,

    n / (Q · bin size) · ∫ x dl

where Q is the header's `scanner quantification factor`: an image whose line integrals are in units of the
sinogram's bin size is multiplied by it. That unit is not in the header; it is what NIPET's factor 0.205
and STIR's description amount to.
Facts: order and use of the components NiftyPET/NIPET and STIR. They differ in the axial effects: NIPET
divides by them, as here; STIR multiplies.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numba import njit, prange

from csrd.errors import InputError
from csrd.listmode.mmr_bins import (
    BINS,
    COLUMNS,
    CRYSTALS,
    MAX_RING_DIFFERENCE,
    PLACES,
    RINGS,
    VIEWS,
    place_of,
)
from csrd.scanner.geometry import Scanner
from csrd.scanner.response import line_factors
from csrd.seeds import generator

if TYPE_CHECKING:
    from csrd.config.sections import MmrNorm

PHASES = COLUMNS + 1  # places of a block: its crystals and the gap beside them
BIN_SIZE_MM = 2.0445
SPAN = 11
BLOCKS_OF_SINGLES = 224
PLAUSIBLE = 0.01, 3.0  # counted pairs over those that reach both crystals
SAMPLED_LINES = 100_000
LARGEST = 1e12


def _sinograms() -> np.ndarray:
    """Return the span-11 sinogram of each pair of rings (64, 64), −1 where there is none.

    Segments go 0, −1, +1, … as those of span 1 do, and by the sum of both rings inside a segment.
    """
    found, first = np.full((RINGS, RINGS), -1), 0
    ring = np.arange(RINGS)
    difference, total = ring - ring[:, None], ring + ring[:, None]
    segment = np.sign(difference) * ((abs(difference) + SPAN // 2) // SPAN)
    segment[abs(difference) > MAX_RING_DIFFERENCE] = 99
    for number in [0] + [sign * size for size in range(1, 6) for sign in (-1, 1)]:
        here = segment == number
        found[here] = first + total[here] - total[here].min()
        first = found[here].max() + 1
    return found


SINOGRAMS = _sinograms()
SHAPES = {
    "geometric": (2 * RINGS - 1, BINS),
    "interference": (BINS, PHASES),
    "efficiencies": (RINGS, PLACES),
    "axial": (int(SINOGRAMS.max()) + 1,),
    "ring_paralysing": (RINGS,),
    "ring_non_paralysing": (RINGS,),
    "crystal_dead_time": (PHASES,),
    "axial_2": (int(SINOGRAMS.max()) + 1,),
}
VALUES = sum(int(np.prod(shape)) for shape in SHAPES.values())


@dataclass(frozen=True)
class Norm:
    """The components of a normalisation, arrays of `SHAPES`, and Q in Bq·s per count, if it is known."""

    geometric: np.ndarray
    interference: np.ndarray
    efficiencies: np.ndarray
    axial: np.ndarray
    ring_paralysing: np.ndarray
    ring_non_paralysing: np.ndarray
    crystal_dead_time: np.ndarray
    axial_2: np.ndarray
    quantification: float | None = None

    @classmethod
    def of(cls, values: np.ndarray, quantification: float | None = None) -> "Norm":
        """Return the components among `values` (80,851,), in their order in a file."""
        assert values.shape == (VALUES,), f"{values.shape} values of a normalisation"
        ends = np.cumsum([int(np.prod(shape)) for shape in SHAPES.values()])
        parts = np.split(values, ends[:-1])
        arrays = {key: part.reshape(SHAPES[key]) for key, part in zip(SHAPES, parts, strict=True)}
        return cls(**arrays, quantification=quantification)

    @property
    def values(self) -> np.ndarray:
        """Return all components in their order in a file, (80,851,)."""
        return np.concatenate([getattr(self, key).ravel() for key in SHAPES])

    @property
    def marked_turn(self) -> int | None:
        """Return the turn by which the file's marked gap crystals are the empty places; None: not marked.

        Gaps are marked where one crystal of every nine is 0 or below, or not finite, in all rings and blocks.
        """
        dead = (~(np.nan_to_num(self.efficiencies, nan=0) > 0)).reshape(RINGS, -1, PHASES).all(axis=(0, 1))
        return int(-np.flatnonzero(dead)[0] % PHASES) if dead.sum() == 1 else None

    def crystal_efficiencies(self, turn: int) -> np.ndarray:
        """Return the crystals' efficiencies (C,): place p of a ring has the value in column p − turn."""
        place, ring = _places()
        return np.ascontiguousarray(self.efficiencies[ring, (place - turn) % PLACES], np.float32)

    def live(self, singles_per_s: float) -> np.ndarray:
        """Return each ring's fraction of live time (64,), at a rate of singles of the whole scanner.

        NIPET's model for two blocks of singles a bucket, here with the same rate in all of them.
        """
        half = 0.5 * singles_per_s / BLOCKS_OF_SINGLES
        dead = 1 + half * self.ring_non_paralysing.astype(float)
        return np.exp(half * self.ring_paralysing.astype(float) / dead) / dead

    def factors(self, scale: float, multiply_axial: bool = False) -> Callable[[np.ndarray], np.ndarray]:
        """Return the function from lines (N, 2) to their factors (N,), without the crystals' efficiencies.

        `scale` multiplies each; `multiply_axial` multiplies by the axial effects, as STIR does.
        """
        axial = self.axial.astype(np.float64)
        if not multiply_axial:
            axial = np.divide(1, axial, out=np.zeros_like(axial), where=axial > 0)
        effect = np.append(axial, 1.0)[SINOGRAMS].astype(np.float32)
        arrays = self.geometric.astype(np.float32) * np.float32(scale), self.interference.astype(np.float32)
        return lambda crystals: _factors(np.ascontiguousarray(crystals), *arrays, effect)


def normalised(
    scanner: Scanner, norm: Norm, settings: "MmrNorm", singles_per_s: float | None = None
) -> tuple[Scanner, dict]:
    """Return the scanner with a normalisation's efficiencies and factors, and how it was applied.

    `singles_per_s` is the scanner's rate of singles, with which dead time is corrected for. Where Q is not
    known the factors have the computed ones' mean, so that the image's scale is relative.
    Raises InputError for efficiencies that no crystal has, or a turn that contradicts the marked gaps.
    """
    _check(norm)
    turn, how = _turn(norm, settings.turn)
    efficiencies = norm.crystal_efficiencies(turn)
    if not (np.isfinite(efficiencies).all() and efficiencies.min() >= 0 and 0 < efficiencies.max() < LARGEST):
        raise InputError("the normalisation has crystal efficiencies that are negative or not finite")
    notes = {"NormalisationTurn": how}
    if singles_per_s:
        efficiencies = efficiencies * norm.live(singles_per_s)[_places()[1]].astype(np.float32)
        notes["NormalisationDeadTime"] = f"by rings, at {singles_per_s:g} singles/s"
    else:
        notes["NormalisationDeadTime"] = "none: the header has no rate of singles"
    multiply = settings.axial == "multiply"
    scale = 1e3 / (BIN_SIZE_MM * norm.quantification) if norm.quantification else 1.0
    measured, computed = _sampled(scanner, norm.factors(scale, multiply), efficiencies)
    if not (measured > 0 and np.isfinite(measured)):
        raise InputError("the normalisation gives no line a positive efficiency; check the file")
    counted = measured / computed
    if norm.quantification:
        notes["NormalisationCalibration"] = f"scanner quantification factor {norm.quantification:g}"
        if not PLAUSIBLE[0] < counted < PLAUSIBLE[1]:
            notes["NormalisationCalibration"] += (
                f", by which {counted:.2g} of the photon pairs at two crystals are counted: not plausible"
            )
        efficiencies = efficiencies * np.float32(np.sqrt(counted))
    else:
        notes["NormalisationCalibration"] = "none: the header has no factor, so the scale is relative"
    # The factors have the mean of the computed ones, and the crystals' efficiencies the rest of the scale
    factors = norm.factors(scale / counted, multiply)
    return replace(scanner, efficiencies=efficiencies, measured_factors=factors), notes


def _check(norm: Norm) -> None:
    """Raise InputError for components that no normalisation has."""
    for key in ("geometric", "interference", "axial"):
        values = getattr(norm, key)
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() < LARGEST and values.any()):
            raise InputError(f"the {key} components are negative, not finite or all 0; check the file")


def _turn(norm: Norm, wanted: int | None) -> tuple[int, str]:
    """Return the turn of the crystals, and where it comes from."""
    marked = norm.marked_turn
    if marked is not None and wanted not in (None, marked):
        raise InputError(
            f"recon.mmr_norm.turn is {wanted}, but the normalisation's gap crystals are marked for {marked}; "
            "set it to null"
        )
    if marked is not None:
        return marked, f"{marked}, by the gap crystals that the normalisation marks"
    if wanted is not None:
        return wanted, f"{wanted}, by recon.mmr_norm.turn; not verified: no gap crystals are marked"
    return 1, "1, as STIR and NIPET have it; not verified: no gap crystals are marked"


def _places() -> tuple[np.ndarray, np.ndarray]:
    """Return place and ring of every crystal, (C,) each."""
    return place_of.py_func(np.arange(CRYSTALS))


def _sampled(scanner: Scanner, factors: Callable, efficiencies: np.ndarray) -> tuple[float, float]:
    """Return the mean efficiency of random lines by the normalisation, and by geometry alone."""
    draw = generator(1, "mmr-norm")
    heads = scanner.head_pairs[draw.integers(len(scanner.head_pairs), size=SAMPLED_LINES)]
    lines = heads * scanner.crystals_per_head + draw.integers(scanner.crystals_per_head, size=heads.shape)
    lines = lines[scanner.in_reach(lines)]
    measured = factors(lines) * efficiencies[lines].prod(axis=1)
    return float(measured.mean(dtype=float)), float(line_factors(scanner, lines).mean(dtype=float))


@njit(parallel=True, cache=True)
def _factors(crystals, geometric, interference, effect):
    """Return the factor of each line; lines are numbered as in `mmr_bins.address_of`."""
    found = np.empty(len(crystals), np.float32)
    for i in prange(len(crystals)):
        first, ring_a = place_of(np.int64(crystals[i, 0]))
        second, ring_b = place_of(np.int64(crystals[i, 1]))
        t = (first - second + VIEWS + VIEWS) % PLACES - VIEWS
        view = (first - (t >> 1)) % PLACES
        if view >= VIEWS:
            t, view, ring_a, ring_b = -t, view - VIEWS, ring_b, ring_a
        at = t + BINS // 2
        if at < 0 or at >= BINS:
            found[i] = 0
            continue
        found[i] = geometric[ring_a + ring_b, at] * interference[at, view % PHASES] * effect[ring_a, ring_b]
    return found

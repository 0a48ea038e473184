"""Files for STIR: a Biograph mMR scan as projection data of span 11, with their factors and background.

The target has the prompts, `multiplicative.hs` what a bin of counts is multiplied by to give a line integral
in Bq/mL · voxels, `background.hs` randoms and scatter multiplied by it; the data are float32 in `.s`. STIR
measures lengths in edges of a voxel along x. In a file
the segments run from ring difference −60 to 60; in a segment the order is view, axial position, bin. A bin of
span 11 holds up to six lines: their g · ε and their background are added, and attenuation is that of their
mean line. `initial.hv` is an image to begin with. Facts: STIR's template of this scanner, checked against its
own histogram of a real scan.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numba import njit

from csrd.engines.castor import write_image
from csrd.engines.model import EngineModel
from csrd.errors import InputError
from csrd.io.files import whole_file
from csrd.listmode.mmr_bins import (
    BINS,
    COLUMNS,
    MAX_RING_DIFFERENCE,
    NO_LINE,
    RING_PLANE,
    RINGS,
    VIEWS,
    address_of,
    coincide,
    crystals_of,
)
from csrd.progress import progress
from csrd.recon.corrections import attenuation_factors
from csrd.scanner.geometry import Scanner, mmr
from csrd.scanner.response import line_factors

SPAN = 11
NEVER = np.float32(1e20)  # the factor of bins without a line: STIR divides its model by it
SPACING_MM = 4.0625 / 2  # of STIR's planes
PLANES = 2 * RINGS - 1


@dataclass(frozen=True)
class Segment:
    """Ring differences `first` … `last` (b − a) of the lines that share the bins of a segment."""

    first: int
    last: int

    @property
    def nearest(self) -> int:
        """Return the smallest distance of two rings."""
        return 0 if self.first < 0 < self.last else min(abs(self.first), abs(self.last))

    @property
    def positions(self) -> int:
        """Return the number of axial positions; each is a sum of the two rings."""
        return PLANES - 2 * self.nearest

    def rings(self, position: int) -> list[tuple[int, int]]:
        """Return the pairs of rings (a, b) of an axial position."""
        total = position + self.nearest
        pairs = (((total - d) // 2, (total + d) // 2) for d in range(self.first, self.last + 1))
        return [(a, b) for a, b in pairs if a + b == total and min(a, b) >= 0 and max(a, b) < RINGS]


SEGMENTS = [
    Segment(middle - SPAN // 2, middle + SPAN // 2)
    for middle in range(-MAX_RING_DIFFERENCE + SPAN // 2, MAX_RING_DIFFERENCE, SPAN)
]


def write_stir(target: Path, model: EngineModel) -> dict:
    """Write a scan's projection data for STIR, the prompts as `target` (.hs); return counts.

    Raises InputError for another scanner than the mMR, and for a grid that is not of STIR's planes.
    """
    _check(model)
    bins = _bins(model.listmode.blocks())
    names = [target, target.with_name("multiplicative.hs"), target.with_name("background.hs")]
    lines = Lines.of(model.scanner)
    with ExitStack() as stack:
        parts = [stack.enter_context(whole_file(name.with_suffix(".s"))) for name in names]
        streams = [stack.enter_context(open(part, "wb")) for part in parts]
        for number, segment in enumerate(progress(SEGMENTS, "projection data")):
            arrays = _counts(bins, number), *_factors(segment, lines, model)
            for array, stream in zip(arrays, streams, strict=True):
                array.tofile(stream)
    for name in names:
        with whole_file(name) as part:
            part.write_text(_header(name.with_suffix(".s").name))
    # The same at every place, so that its axes do not matter
    start = model.start(model.counts_per_unit())
    even = start.like(np.full(start.shape, start.array.max(), np.float32))
    write_image(target.with_name("initial.hv"), even, "float")
    return {"prompts": len(bins), "delayeds": model.delayeds, "scanner": model.scanner.name}


def _check(model: EngineModel) -> None:
    if model.scanner.name != mmr().name:
        raise InputError(
            f"STIR's projection data are written for the Siemens Biograph mMR only, not for the "
            f"{model.scanner.name}; use CASToR or YRT-PET, or leave recon.command.export out"
        )
    shape, voxel_mm = model.sensitivity.shape, model.sensitivity.voxel_mm
    if shape[2] != PLANES or abs(voxel_mm[2] - SPACING_MM) > 1e-3:
        raise InputError(
            f"STIR's images of the mMR have {PLANES} planes of {SPACING_MM:g} mm, not {shape[2]} of "
            f"{voxel_mm[2]:g} mm; set recon.matrix and recon.voxel_mm as config/recon/stir.yaml"
        )


@dataclass(frozen=True)
class Lines:
    """The crystals `a`, `b` (VIEWS · BINS,) of ring 0 at the ends of bins, and which bins have a line."""

    a: np.ndarray
    b: np.ndarray
    valid: np.ndarray
    scanner: Scanner

    @classmethod
    def of(cls, scanner: Scanner) -> "Lines":
        """Return the lines within a ring."""
        ends, valid = _ends_within_ring(int(RING_PLANE[0, 0]))
        ends[~valid] = ends[valid][0]  # any crystals; their bins are never used
        return cls(ends[:, 0], ends[:, 1], valid, scanner)

    def crystals(self, ring_a: int, ring_b: int) -> np.ndarray:
        """Return the crystals of each bin's line between two rings, (VIEWS · BINS, 2), the lower one first.

        Tables of scatter are of pairs of heads in that order.
        """
        lines = np.stack([self.a - COLUMNS * ring_a, self.b - COLUMNS * ring_b], axis=1)
        return np.sort(lines, axis=1)

    def ends(self, ring_a: float, ring_b: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the ends in mm of each bin's line between two rings or places between rings."""
        positions, down = self.scanner.crystal_positions, self.scanner.ring_pitch_mm
        drop = np.array([0, 0, down], np.float32)
        return positions[self.a] - drop * np.float32(ring_a), positions[self.b] - drop * np.float32(ring_b)


def _factors(segment: Segment, lines: Lines, model: EngineModel) -> tuple[np.ndarray, np.ndarray]:
    """Return a segment's multiplicative factors, and its background times them, (VIEWS, positions, BINS)."""
    shape = (segment.positions, VIEWS * BINS)
    detected, background = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    attenuated = bool(model.mumap.array.any())
    # Measured factors differ from ring to ring, computed ones with the rings' difference only
    measured, differences = lines.scanner.measured_factors, range(segment.first, segment.last + 1)
    geometry = (
        {} if measured else {difference: _line_factors(lines, difference) for difference in differences}
    )
    for position in range(segment.positions):
        pairs = segment.rings(position)
        for ring_a, ring_b in pairs:
            crystals = lines.crystals(ring_a, ring_b)
            a, b = crystals.T
            factors = measured(crystals) if measured else geometry[ring_b - ring_a]
            detected[position] += factors * model.efficiencies[a] * model.efficiencies[b]
            background[position] += model.background(crystals)
        if attenuated:
            middle = np.mean(pairs, axis=0)
            detected[position] *= attenuation_factors(model.mumap, *lines.ends(*middle))
    seen = lines.valid & (detected > 0)
    per_voxel = np.float32(model.exposure * model.sensitivity.voxel_mm[0])
    factors = np.divide(1 / per_voxel, detected, out=np.full(shape, NEVER), where=seen)
    background = np.multiply(background, factors, out=np.zeros(shape, np.float32), where=seen)
    return _by_view(factors), _by_view(background)


def _line_factors(lines: Lines, difference: int) -> np.ndarray:
    """Return g of each bin's line at a ring difference, the same for all rings."""
    ring_a = max(0, -difference)
    return line_factors(lines.scanner, lines.crystals(ring_a, ring_a + difference))


def _by_view(segment: np.ndarray) -> np.ndarray:
    """Return an array (positions, VIEWS · BINS) in a file's order, (VIEWS, positions, BINS)."""
    return np.ascontiguousarray(segment.reshape(-1, VIEWS, BINS).swapaxes(0, 1))


def _bins(blocks: Iterator) -> np.ndarray:
    """Return for each prompt its segment, view, axial position and bin, (N, 4)."""
    planes = _segment_of_plane()
    found = [np.empty((0, 4), np.int64)]
    for block in blocks:
        crystals = block.crystals[block.prompt].astype(np.int64)
        addresses = _addresses(crystals)
        segment, position = planes[addresses // (VIEWS * BINS)].T
        found.append(np.stack([segment, addresses // BINS % VIEWS, position, addresses % BINS], axis=1))
    return np.concatenate(found)


@njit(cache=True)
def _addresses(crystals):
    """Return the address in the list-mode's sinogram of the lines between crystals (N, 2)."""
    addresses = np.empty(len(crystals), np.int64)
    for i in range(len(crystals)):
        addresses[i] = address_of(crystals[i, 0], crystals[i, 1])
    return addresses


@njit(cache=True)
def _ends_within_ring(plane):
    """Return the crystals (VIEWS · BINS, 2) at the ends of a plane's bins, and which have a line."""
    ends, valid = np.empty((VIEWS * BINS, 2), np.int64), np.empty(VIEWS * BINS, np.bool_)
    for i in range(VIEWS * BINS):
        ends[i, 0], ends[i, 1] = crystals_of(plane * VIEWS * BINS + i)
        valid[i] = ends[i, 0] != NO_LINE and coincide(ends[i, 0], ends[i, 1])
    return ends, valid


def _segment_of_plane() -> np.ndarray:
    """Return segment and axial position of each plane of span 1, (planes, 2)."""
    places = np.zeros((RING_PLANE.max() + 1, 2), np.int64)
    for number, segment in enumerate(SEGMENTS):
        for position in range(segment.positions):
            for rings in segment.rings(position):
                places[RING_PLANE[rings]] = number, position
    return places


def _counts(bins: np.ndarray, number: int) -> np.ndarray:
    """Return the histogram of a segment's prompts, (VIEWS, positions, BINS) float32."""
    shape = (VIEWS, SEGMENTS[number].positions, BINS)
    flat = np.ravel_multi_index(tuple(bins[bins[:, 0] == number, 1:].T), shape)
    counts = np.zeros(np.prod(shape), np.float32)
    where, times = np.unique(flat, return_counts=True)
    counts[where] = times
    return counts.reshape(shape)


def _header(data: str) -> str:
    """Return the header of projection data."""
    sizes = ", ".join(str(segment.positions) for segment in SEGMENTS)
    first = ", ".join(str(segment.first) for segment in SEGMENTS)
    last = ", ".join(str(segment.last) for segment in SEGMENTS)
    return (
        f"!INTERFILE :=\n!imaging modality := PT\nname of data file := {data}\n"
        "originating system := Siemens mMR\n!version of keys := STIR4.0\n"
        "!GENERAL DATA :=\n!GENERAL IMAGE DATA :=\n!type of data := PET\n"
        "imagedata byte order := LITTLEENDIAN\n"
        "!PET STUDY (General) :=\n!PET data type := Emission\napplied corrections := {None}\n"
        "!number format := float\n!number of bytes per pixel := 4\nnumber of dimensions := 4\n"
        f"matrix axis label [4] := segment\n!matrix size [4] := {len(SEGMENTS)}\n"
        f"matrix axis label [3] := view\n!matrix size [3] := {VIEWS}\n"
        f"matrix axis label [2] := axial coordinate\n!matrix size [2] := {{ {sizes} }}\n"
        f"matrix axis label [1] := tangential coordinate\n!matrix size [1] := {BINS}\n"
        f"minimum ring difference per segment := {{ {first} }}\n"
        f"maximum ring difference per segment := {{ {last} }}\n"
        "Scanner parameters :=\nScanner type := Siemens mMR\nend scanner parameters :=\n"
        "effective central bin size (cm) := 0.208815\nnumber of time frames := 1\n!END OF INTERFILE :=\n"
    )

"""Virtual acquisition of an activity image: from decays to events in time order.

Each decay is followed (see `decays`, and `scatter` for photons that scatter in the body). Accidental
coincidences are added as prompts and, independently, as delayeds.
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numba
import numpy as np

from csrd.errors import InputError
from csrd.io.volume import Volume
from csrd.listmode.hrrt import Segment
from csrd.progress import progress
from csrd.scanner.geometry import Scanner
from csrd.seeds import generator, seed_sequence
from csrd.virtual.course import Course
from csrd.virtual.decays import Decays
from csrd.virtual.scatter import ScatteredPairs

EFFICIENCY_MEAN = 0.45  # gaps, light and energy window: makes the centre's sensitivity about 6 %
SEGMENT_EVENTS = 1.5e7  # events held in memory at a time
PILOT_DECAYS = 5e5  # followed to estimate the rate of trues and scattered pairs, which sets that of randoms
TRUE, SCATTERED, RANDOM, DELAYED = range(4)  # kinds of events
KIND_BITS = 2


@dataclass(frozen=True)
class Acquisition:
    """How the virtual scanner is run: duration in s, isotope, randoms as a fraction of the prompts, scatter.

    The duration is rounded up to whole milliseconds, since the clock of list-mode counts no others.
    """

    duration_s: float
    half_life_s: float
    branching: float
    randoms_fraction: float
    scatter: bool = False

    def __post_init__(self) -> None:
        milliseconds = math.ceil(round(1000 * self.duration_s, 6))  # 2007.0000000000002 is 2007
        object.__setattr__(self, "duration_s", milliseconds / 1000)

    @property
    def decay_per_s(self) -> float:
        return math.log(2) / self.half_life_s


def crystal_efficiencies(scanner: Scanner, seed: int, subject: str) -> np.ndarray:
    """Return the crystal efficiencies, (C,) float32 around `EFFICIENCY_MEAN`.

    Crystals vary by 8 %, blocks of 8 × 8 by 5 %, and the crystals at a block's edge are 12 % lower.
    """
    draw = generator(seed, "efficiencies", subject)
    shape = (scanner.heads, scanner.layers, scanner.rings, scanner.columns)
    crystals = draw.normal(1, 0.08, shape)
    blocks = draw.normal(1, 0.05, (*shape[:2], -(-shape[2] // 8), -(-shape[3] // 8)))
    blocks = blocks.repeat(8, axis=2).repeat(8, axis=3)[:, :, : shape[2], : shape[3]]
    ring, column = np.arange(shape[2]) % 8, np.arange(shape[3]) % 8
    edge = np.isin(ring, (0, 7))[:, None] | np.isin(column, (0, 7))[None, :]
    efficiencies = EFFICIENCY_MEAN * crystals * blocks * np.where(edge, 0.88, 1.0)
    # The best crystals set how many decays must be followed: an upper bound keeps that number low
    return np.clip(efficiencies, 0.05, 1.25 * EFFICIENCY_MEAN).astype(np.float32).ravel()


def acquire(
    activity: Volume,
    mumap: Volume,
    efficiencies: np.ndarray,
    scanner: Scanner,
    acquisition: Acquisition,
    seed: int,
    subject: str,
    threads: int,
    counts: Counter[str],
    kinds: list[np.ndarray] | None = None,
    course: Course | None = None,
    device: str = "cpu",
) -> Iterator[Segment]:
    """Yield the events of a scan in time order, the same for any number of threads and on any device.

    `activity` is in Bq/mL at the scan's start, `mumap` in 1/cm, both in scanner coordinates. `counts` takes
    the numbers of trues, scattered, random_prompts and delayeds; `kinds` the events' kinds (N,) uint8 of
    each segment, which no file holds. With a `course` the decays of the scan are those of the same activity
    without one, at the times of their regions; a segment is a step of it. `device` is that of
    `following_on`.
    """
    device = following_on(device)
    decays = Decays.of(activity, mumap, efficiencies, scanner)
    scattering = ScatteredPairs(decays) if acquisition.scatter else None
    rate = _pilot_rate(decays, scattering, acquisition, seed, subject)
    randoms = acquisition.randoms_fraction / (1 - acquisition.randoms_fraction)
    randoms *= rate * _lived(acquisition.decay_per_s, 0, acquisition.duration_s)
    singles = _singles(activity, efficiencies, scanner)
    if course is None:
        static = _even_spans(acquisition, rate, randoms)
        spans, total = iter(static), len(static)
    else:
        spans, total = _steps(course, decays, acquisition, randoms), len(course.fractions)
    for number, span in enumerate(progress(spans, f"{subject} acquisition", total)):
        begin, end = span.begin, span.end
        rng = generator(seed, "acquire", subject, number)
        trues = decays.follow(span.seconds, seed_sequence(seed, "decays", subject, number), threads, device)
        scattered = np.empty((0, 2), np.uint32)
        if scattering is not None:
            stream = seed_sequence(seed, "scattered", subject, number)
            scattered, _ = scattering.follow(span.seconds, stream, threads, device)
        prompts = _random_pairs(rng, rng.poisson(span.randoms), singles, scanner)
        delayeds = _random_pairs(rng, rng.poisson(span.randoms), singles, scanner)
        events_of = trues, scattered, prompts, delayeds
        names = "trues", "scattered", "random_prompts", "delayeds"
        counts.update(dict(zip(names, map(len, events_of), strict=True)))
        packed = _in_time_order(rng, events_of, acquisition.decay_per_s, begin, end, scanner.crystals)
        crystals, kind, times = _unpacked(packed, round(1000 * begin), scanner.crystals)
        if kinds is not None:
            kinds.append(kind)
        yield crystals, kind != DELAYED, times


@dataclass(frozen=True)
class Span:
    """A part of a scan, from `begin` to `end` in s: the seconds of decays at the activity of the scan's start
    in it, one number or those of each voxel (V,), and the expected number of randoms."""

    begin: float
    end: float
    seconds: float | np.ndarray
    randoms: float


def _even_spans(acquisition: Acquisition, rate: float, randoms: float) -> list[Span]:
    """Return the spans of a static scan, of about equal numbers of events."""
    decay, duration = acquisition.decay_per_s, acquisition.duration_s
    edges = _segment_edges(acquisition, rate * _lived(decay, 0, duration) + 2 * randoms)
    spans = []
    for begin, end in zip(edges[:-1], edges[1:], strict=True):
        fraction = _lived(2 * decay, begin, end) / _lived(2 * decay, 0, duration)
        seconds = acquisition.branching * _lived(decay, begin, end)
        spans.append(Span(begin, end, seconds, randoms * fraction))
    return spans


def _steps(course: Course, decays: Decays, acquisition: Acquisition, randoms: float) -> Iterator[Span]:
    """Yield the steps of a dynamic scan: randoms as the square of the rate of all decays.

    Each label's decays over the whole scan are those of a static scan of the same activity.
    """
    labels = course.of_voxels(decays.centres)
    seconds = acquisition.branching * _lived(acquisition.decay_per_s, 0, acquisition.duration_s)
    whole = np.bincount(labels, decays.decays, minlength=course.fractions.shape[1])
    lengths = np.diff(course.edges_s)
    weights = (course.fractions @ whole) ** 2 / lengths
    weights /= weights.sum()
    for number, (begin, length) in enumerate(zip(course.edges_s, lengths, strict=False)):
        of_voxels = seconds * course.fractions[number][labels]
        yield Span(float(begin), float(begin + length), of_voxels, float(randoms * weights[number]))


def following_on(device: str) -> str:
    """Return where decays are followed for "cpu", "cuda" or "auto": CUDA where there is a device.

    Raises InputError where "cuda" is requested and there is none.
    """
    if device == "cpu":
        return device
    from csrd.scanner.projector_cuda import available

    if available():
        return "cuda"
    if device == "cuda":
        raise InputError("acquisition.device is cuda, but no CUDA device was found; set it to auto or cpu")
    return "cpu"


def _lived(decay_per_s: float, begin_s: float, end_s: float) -> float:
    """Return ∫ e^(−λt) dt between two times, in s."""
    return math.exp(-decay_per_s * begin_s) * -math.expm1(-decay_per_s * (end_s - begin_s)) / decay_per_s


def _segment_edges(acquisition: Acquisition, events: float) -> np.ndarray:
    """Return the times in s, whole ms, between segments of about equal numbers of events."""
    parts = max(1, math.ceil(events / SEGMENT_EVENTS))
    decay, duration = acquisition.decay_per_s, acquisition.duration_s
    lived = np.linspace(0, -math.expm1(-decay * duration), parts + 1)
    edges = np.round(-np.log1p(-lived) / decay, 3)
    edges[-1] = duration
    return edges


def _pilot_rate(
    decays: Decays, scattering: ScatteredPairs | None, acquisition: Acquisition, seed: int, subject: str
) -> float:
    """Return the expected trues and scattered pairs per second at the scan's start, from a few decays."""
    seconds = PILOT_DECAYS / decays.decays_per_s
    found = len(decays.follow(seconds, seed_sequence(seed, "pilot", subject), threads=1))
    if scattering is not None:
        found += len(
            scattering.follow(seconds, seed_sequence(seed, "pilot scattered", subject), threads=1)[0]
        )
    return found / seconds * acquisition.branching


def _singles(activity: Volume, efficiencies: np.ndarray, scanner: Scanner) -> np.ndarray:
    """Return each crystal's relative rate of single photons, (C,): solid angle, depth, efficiency.

    Sums the activity in cubes of 40 mm; attenuation, the same for all to first order, is left out.
    """
    inside = np.argwhere(activity.array > 0)
    centres = inside @ activity.affine[:3, :3].T + activity.affine[:3, 3]
    weights = activity.array[tuple(inside.T)]
    cubes = np.floor(centres / 40).astype(np.int64)
    cubes -= cubes.min(axis=0)
    _, member = np.unique(np.ravel_multi_index(tuple(cubes.T), cubes.max(axis=0) + 1), return_inverse=True)
    totals = np.bincount(member, weights)
    sums = np.stack([np.bincount(member, weights * centres[:, i]) for i in range(3)], 1)
    points = sums / totals[:, None]
    normals = scanner.head_normals.repeat(scanner.crystals_per_head, axis=0)
    loss = scanner.mu_per_mm * scanner.layer_mm
    crystals = scanner.crystal_positions, normals, scanner.crystal_layers
    return _single_rates(points, totals, *crystals, loss) * efficiencies


@numba.njit(cache=True)
def _single_rates(points, totals, positions, normals, layers, loss):
    """Return the rates (C,) of crystals that lose e^(−`loss`) of the photons in a layer at right angles."""
    rates = np.zeros(len(positions))
    for crystal in range(len(positions)):
        for point in range(len(points)):
            square = along = 0.0
            for axis in range(3):
                way = positions[crystal, axis] - points[point, axis]
                square += way * way
                along += way * normals[crystal, axis]
            cosine = max(along / math.sqrt(square), 0.05)
            survive = math.exp(-loss / cosine)
            rates[crystal] += totals[point] * cosine / square * survive ** layers[crystal] * (1 - survive)
    return rates


def _random_pairs(
    draw: np.random.Generator, number: int, singles: np.ndarray, scanner: Scanner
) -> np.ndarray:
    """Return pairs of unrelated singles, (N, 2) uint32: chance s_a s_b over the allowed heads.

    N is `number` but for pairs of too large a ring difference, which no scan records.
    """
    per_head = singles.reshape(scanner.heads, -1)
    totals = per_head.sum(1)
    weights = totals[scanner.head_pairs].prod(1)
    heads = scanner.head_pairs[draw.choice(len(weights), size=number, p=weights / weights.sum())]
    cumulative = np.cumsum(per_head, axis=1)
    pairs = np.empty((number, 2), np.uint32)
    for side in (0, 1):
        for head in range(scanner.heads):
            here = heads[:, side] == head
            at = draw.random(np.count_nonzero(here)) * cumulative[head, -1]
            pairs[here, side] = np.searchsorted(cumulative[head], at, side="right")
    pairs = np.minimum(pairs, scanner.crystals_per_head - 1)
    pairs += (heads * scanner.crystals_per_head).astype(np.uint32)
    return pairs[scanner.in_reach(pairs)]


def _in_time_order(
    rng: np.random.Generator,
    events: tuple[np.ndarray, ...],
    decay_per_s: float,
    begin: float,
    end: float,
    crystals: int,
) -> np.ndarray:
    """Return all events in time order, (N,) uint64: milliseconds from `begin`, crystals, kind.

    `events` are the crystals (N, 2) of each kind. Trues and scattered pairs decay with the isotope, randoms
    twice as fast (both photons' rates fall).
    """
    bits = (crystals - 1).bit_length()
    duration = round(1000 * end) - round(1000 * begin)
    assert duration.bit_length() + 2 * bits + KIND_BITS <= 64, f"{crystals} crystals over {duration} ms"
    packed = np.empty(sum(map(len, events)), np.uint64)
    first = 0
    for kind, pairs in enumerate(events):
        rate = decay_per_s * (1 if kind in (TRUE, SCATTERED) else 2)
        part = packed[first : first + len(pairs)]
        first += len(pairs)
        _pack(part, pairs, kind, bits, rng.random(len(pairs)), 1e-3 * rate, duration)
    packed.sort()
    return packed


@numba.njit(cache=True)
def _pack(packed, pairs, kind, bits, draws, rate, duration):
    """Write events of one kind at random times, which a decay of `rate` per millisecond makes rarer."""
    whole = math.expm1(-rate * duration)
    for i in range(len(pairs)):
        time = np.uint64(min(-math.log1p(draws[i] * whole) / rate, duration - 1))
        of_both = np.uint64(pairs[i, 0]) << np.uint64(bits) | np.uint64(pairs[i, 1])
        packed[i] = (time << np.uint64(2 * bits) | of_both) << np.uint64(KIND_BITS) | np.uint64(kind)


def _unpacked(packed: np.ndarray, begin_ms: int, crystals: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return crystals (N, 2) uint32, kinds (N,) uint8 and times (N,) uint32 in ms of packed events."""
    bits = (crystals - 1).bit_length()
    pairs = np.empty((len(packed), 2), np.uint32)
    kinds, times = np.empty(len(packed), np.uint8), np.empty(len(packed), np.uint32)
    _unpack(packed, begin_ms, bits, pairs, kinds, times)
    return pairs, kinds, times


@numba.njit(cache=True)
def _unpack(packed, begin_ms, bits, pairs, kinds, times):
    """Write what packed events hold into arrays."""
    crystal = (np.uint64(1) << np.uint64(bits)) - np.uint64(1)
    for i in range(len(packed)):
        rest = packed[i] >> np.uint64(KIND_BITS)
        kinds[i] = packed[i] & np.uint64((1 << KIND_BITS) - 1)
        pairs[i, 1] = rest & crystal
        pairs[i, 0] = rest >> np.uint64(bits) & crystal
        times[i] = begin_ms + (rest >> np.uint64(2 * bits))

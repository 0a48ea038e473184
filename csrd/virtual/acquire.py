"""Virtual acquisition of an activity image: from decays to events in time order.

Each decay is followed (see `decays`, and `scatter` for photons that scatter in the body). Accidental
coincidences are added as prompts and, independently, as delayeds.
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from csrd.io.volume import Volume
from csrd.listmode.hrrt import Segment
from csrd.progress import progress
from csrd.scanner.geometry import Scanner
from csrd.seeds import generator, seed_sequence
from csrd.virtual.decays import Decays
from csrd.virtual.scatter import ScatteredPairs

EFFICIENCY_MEAN = 0.45  # gaps, light and energy window: makes the centre's sensitivity about 6 %
SEGMENT_EVENTS = 1.5e7  # events held in memory at a time
PILOT_DECAYS = 2e6  # followed to learn the rate of trues and scattered pairs, which sets the randoms'
TRUE, SCATTERED, RANDOM = range(3)  # kinds of prompts; a delayed is RANDOM too


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
    """Return how well each crystal detects, (C,) float32 around `EFFICIENCY_MEAN`.

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
) -> Iterator[Segment]:
    """Yield the events of a scan in time order, the same for any number of threads.

    `activity` is in Bq/mL at the scan's start, `mumap` in 1/cm, both in scanner coordinates. `counts` takes
    the numbers of trues, scattered, random_prompts and delayeds; `kinds` the events' kinds (N,) uint8 of
    each segment, which no file holds.
    """
    decays = Decays.of(activity, mumap, efficiencies, scanner)
    scattering = ScatteredPairs(decays) if acquisition.scatter else None
    rate = _pilot_rate(decays, scattering, acquisition, seed, subject)
    randoms = acquisition.randoms_fraction / (1 - acquisition.randoms_fraction)
    randoms *= rate * _lived(acquisition.decay_per_s, 0, acquisition.duration_s)
    singles = _singles(activity, efficiencies, scanner)
    events = rate * _lived(acquisition.decay_per_s, 0, acquisition.duration_s) + 2 * randoms
    edges = _segment_edges(acquisition, events)
    spans = list(zip(edges[:-1], edges[1:], strict=True))
    for number, (begin, end) in enumerate(progress(spans, f"{subject} acquisition")):
        rng = generator(seed, "acquire", subject, number)
        fraction = _lived(2 * acquisition.decay_per_s, begin, end) / _lived(
            2 * acquisition.decay_per_s, 0, acquisition.duration_s
        )
        seconds = acquisition.branching * _lived(acquisition.decay_per_s, begin, end)
        trues = decays.follow(seconds, seed_sequence(seed, "decays", subject, number), threads)
        scattered = np.empty((0, 2), np.uint32)
        if scattering is not None:
            stream = seed_sequence(seed, "scattered", subject, number)
            scattered, _ = scattering.follow(seconds, stream, threads)
        prompts = _random_pairs(rng, rng.poisson(randoms * fraction), singles, scanner)
        delayeds = _random_pairs(rng, rng.poisson(randoms * fraction), singles, scanner)
        events_of = trues, scattered, prompts, delayeds
        names = "trues", "scattered", "random_prompts", "delayeds"
        counts.update(dict(zip(names, map(len, events_of), strict=True)))
        order, crystals, prompt, times = _in_time_order(rng, events_of, acquisition.decay_per_s, begin, end)
        if kinds is not None:
            kind = np.array([TRUE, SCATTERED, RANDOM, RANDOM], np.uint8)
            kinds.append(np.repeat(kind, [len(part) for part in events_of])[order])
        yield crystals, prompt, times


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
    centres = np.argwhere(activity.array > 0) @ activity.affine[:3, :3].T + activity.affine[:3, 3]
    weights = activity.array[activity.array > 0]
    cubes, member = np.unique(np.floor(centres / 40), axis=0, return_inverse=True)
    totals = np.bincount(member.ravel(), weights)
    sums = np.stack([np.bincount(member.ravel(), weights * centres[:, i]) for i in range(3)], 1)
    points = sums / totals[:, None]
    normals = scanner.head_normals.repeat(scanner.crystals_per_head, axis=0)
    rates = np.zeros(scanner.crystals)
    for point, total in zip(points, totals, strict=True):
        line = scanner.crystal_positions - point
        square = (line**2).sum(1)
        cosine = np.maximum((line * normals).sum(1) / np.sqrt(square), 0.05)
        survive = np.exp(-scanner.mu_per_mm * scanner.layer_mm / cosine)
        rates += total * cosine / square * survive**scanner.crystal_layers * (1 - survive)
    return rates * efficiencies


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
    draw: np.random.Generator,
    events: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    decay_per_s: float,
    begin: float,
    end: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the order in time of all events, and their crystals, prompt and time in ms in that order.

    `events` are trues, scattered, random prompts and delayeds. The first two decay with the isotope,
    randoms twice as fast (both photons' rates fall).
    """
    numbers = [len(part) for part in events]
    rates = np.repeat([1.0, 1.0, 2.0, 2.0], numbers) * decay_per_s
    times = -np.log1p(draw.random(len(rates)) * np.expm1(-rates * (end - begin))) / rates
    milliseconds = np.minimum((begin + times) * 1000, round(end * 1000) - 1).astype(np.uint32)
    order = np.argsort(milliseconds, kind="stable")
    prompt = np.arange(len(rates)) < sum(numbers[:3])
    return order, np.concatenate(events)[order], prompt[order], milliseconds[order]

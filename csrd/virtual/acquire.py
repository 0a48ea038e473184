"""List-mode acquisition of an activity image: from decays to the events of a real file format.

Each decay is followed: position in its voxel, positron range, isotropic direction, two crystal
slabs, depth of interaction, blur, crystal efficiency, attenuation in the body. Accidental
coincidences are added as prompts and, independently, as delayeds. Scatter is not simulated.
"""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numba
import numpy as np
from scipy.special import ndtri

from csrd.listmode.hrrt import write_hrrt
from csrd.progress import progress
from csrd.scanner.geometry import Scanner
from csrd.seeds import generator, seed_sequence
from csrd.volume import Volume

POSITRON_SIGMA_MM = 0.5  # C-11: mean range in water about 1.1 mm, sharply peaked
DETECTOR_SIGMA_MM = 0.7  # scatter between crystals and non-collinearity, at each end
EFFICIENCY_MEAN = 0.45  # gaps, light and energy window: makes the centre's sensitivity about 6 %
PARTS = 64  # independent random streams a segment; fixed, so that threads do not change the result
SEGMENT_EVENTS = 1.5e7  # events held in memory at a time
PILOT_DECAYS = 2e6  # followed to learn the trues' rate, which sets the randoms'
SURVIVAL_STEP_MM = 4.0


@dataclass(frozen=True)
class Acquisition:
    """How the virtual scanner is run: duration in s, isotope, randoms as a fraction of the prompts."""

    duration_s: float
    half_life_s: float
    branching: float
    randoms_fraction: float

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
    path: str | Path,
    seed: int,
    subject: str,
    threads: int = 1,
    header: dict[str, str] | None = None,
) -> dict:
    """Write the list-mode file of a scan and its header; return the numbers of events in it.

    `activity` is in Bq/mL at the scan's start, `mumap` in 1/cm, both in scanner coordinates. The
    file is the same for any number of threads. `header` adds or replaces header keys.
    """
    tracks = _Tracks.of(activity, mumap, efficiencies, scanner)
    trues_rate = _pilot_trues(tracks, acquisition, seed, subject)
    randoms = acquisition.randoms_fraction / (1 - acquisition.randoms_fraction)
    randoms *= trues_rate * _lived(acquisition.decay_per_s, 0, acquisition.duration_s)
    singles = _singles(activity, efficiencies, scanner)
    events = trues_rate * _lived(acquisition.decay_per_s, 0, acquisition.duration_s) + 2 * randoms
    edges = _segment_edges(acquisition, events)
    counts = dict.fromkeys(("trues", "random_prompts", "delayeds"), 0)

    def segments() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        spans = list(zip(edges[:-1], edges[1:], strict=True))
        for number, (begin, end) in enumerate(progress(spans, f"{subject} acquisition")):
            draw = generator(seed, "acquire", subject, number)
            share = _lived(2 * acquisition.decay_per_s, begin, end) / _lived(
                2 * acquisition.decay_per_s, 0, acquisition.duration_s
            )
            trues = tracks.follow(
                acquisition.branching * _lived(acquisition.decay_per_s, begin, end),
                seed_sequence(seed, "decays", subject, number),
                threads,
            )
            prompts = _random_pairs(draw, draw.poisson(randoms * share), singles, scanner)
            delayeds = _random_pairs(draw, draw.poisson(randoms * share), singles, scanner)
            counts["trues"] += len(trues)
            counts["random_prompts"] += len(prompts)
            counts["delayeds"] += len(delayeds)
            yield _in_time_order(draw, trues, prompts, delayeds, acquisition.decay_per_s, begin, end)

    write_hrrt(path, segments(), _header(acquisition) | (header or {}))
    return {**counts, "prompts": counts["trues"] + counts["random_prompts"]}


def _header(acquisition: Acquisition) -> dict[str, str]:
    return {
        "image duration": f"{acquisition.duration_s:.12g}",
        "energy window lower level[1]": "400",
        "energy window upper level[1]": "650",
        "isotope halflife": f"{acquisition.half_life_s:g}",
        "branching factor": f"{acquisition.branching:g}",
        "Dead time correction factor": "1.0",
    }


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


def _pilot_trues(tracks: "_Tracks", acquisition: Acquisition, seed: int, subject: str) -> float:
    """Return the expected trues per second at the scan's start, from following a few decays."""
    seconds = PILOT_DECAYS / tracks.decays_per_s
    found = tracks.follow(seconds, seed_sequence(seed, "pilot", subject), threads=1)
    return len(found) / seconds * acquisition.branching


@dataclass(frozen=True)
class _Tracks:
    """What following decays needs, as plain arrays; `follow` returns crystal pairs."""

    centres: np.ndarray  # (V, 3) mm, voxels with activity
    decays: np.ndarray  # (V,) expected per second inside the cone of `axial_cosine`
    voxel: np.ndarray  # (3,) mm
    axial_cosine: float  # steepest direction that both ends can detect
    mu: np.ndarray  # (X, Y, Z) per mm, coarse
    mu_origin: np.ndarray  # mm, the corner of its voxel [0, 0, 0]
    mu_voxel: np.ndarray
    efficiencies: np.ndarray  # relative to the best crystal
    best: float
    scanner: Scanner

    @classmethod
    def of(cls, activity: Volume, mumap: Volume, efficiencies: np.ndarray, scanner: Scanner) -> "_Tracks":
        inside = np.argwhere(activity.array > 0)
        assert len(inside), "an activity image without activity"
        centres = inside @ activity.affine[:3, :3].T + activity.affine[:3, 3]
        reach = np.hypot(centres[:, 0], centres[:, 1]).max() + activity.voxel_mm.max() + 5
        axial = scanner.rings * scanner.pitch_mm + 8 * DETECTOR_SIGMA_MM
        chord = 2 * math.sqrt(max(scanner.face_radius_mm**2 - reach**2, 1.0))
        cosine = axial / math.hypot(axial, chord)
        millilitres = abs(np.linalg.det(activity.affine[:3, :3])) / 1000
        best = float(efficiencies.max())
        decays = activity.array[tuple(inside.T)] * (millilitres * cosine * best**2)
        mu, corner, voxel = _coarse_mu(mumap)
        return cls(
            centres.astype(np.float32),
            decays.astype(np.float64),
            activity.voxel_mm,
            cosine,
            mu,
            corner,
            voxel,
            (efficiencies / best).astype(np.float32),
            best,
            scanner,
        )

    @property
    def decays_per_s(self) -> float:
        return float(self.decays.sum())

    def follow(self, seconds: float, seeds: np.random.SeedSequence, threads: int) -> np.ndarray:
        """Return the detected pairs of `seconds` of decays, (N, 2) uint32, lower head first."""
        with ThreadPoolExecutor(threads) as pool:
            parts = pool.map(
                lambda part, seed: self._follow_part(part, seed, seconds),
                range(PARTS),
                seeds.spawn(PARTS),
            )
            return np.concatenate(list(parts))

    def _follow_part(self, part: int, seed: np.random.SeedSequence, seconds: float) -> np.ndarray:
        scanner = self.scanner
        allowed = np.zeros((scanner.heads, scanner.heads), np.bool_)
        allowed[tuple(scanner.head_pairs.T)] = allowed[tuple(scanner.head_pairs.T[::-1])] = True
        return _follow(
            seed.generate_state(4, np.uint64),
            _normal_quantiles(),
            self.centres[part::PARTS],
            np.random.default_rng(seed).poisson(self.decays[part::PARTS] * seconds),
            self.voxel,
            self.axial_cosine,
            self.mu,
            self.mu_origin,
            self.mu_voxel,
            self.efficiencies,
            scanner.head_normals,
            scanner.head_tangents,
            allowed,
            (scanner.layers, scanner.rings, scanner.columns),
            (scanner.face_radius_mm, scanner.pitch_mm, scanner.layer_mm, scanner.mu_per_mm),
        )


@cache
def _normal_quantiles(number: int = 8192) -> np.ndarray:
    """Return equally likely values of the standard normal distribution, with unit variance."""
    quantiles = ndtri((np.arange(number) + 0.5) / number)
    return quantiles / quantiles.std()


def _coarse_mu(mumap: Volume) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return μ per mm averaged to voxels of about 2 mm, the grid's corner and its voxel size in mm."""
    factors = np.maximum(1, np.round(2.0 / mumap.voxel_mm)).astype(int)
    shape = mumap.shape // factors
    array = mumap.array[tuple(slice(0, n * f) for n, f in zip(shape, factors, strict=True))] / 10
    split = array.reshape(shape[0], factors[0], shape[1], factors[1], shape[2], factors[2])
    corner = mumap.affine[:3, 3] - mumap.voxel_mm / 2
    return split.mean(axis=(1, 3, 5)).astype(np.float32), corner, mumap.voxel_mm * factors


@numba.njit(cache=True, inline="always")
def _uniform(state):
    """Return the next uniform number in [0, 1) of xoshiro256+ (Blackman and Vigna 2018)."""
    result = state[0] + state[3]
    shifted = state[1] << np.uint64(17)
    state[2] ^= state[0]
    state[3] ^= state[1]
    state[1] ^= state[2]
    state[0] ^= state[3]
    state[2] ^= shifted
    state[3] = (state[3] << np.uint64(45)) | (state[3] >> np.uint64(19))
    return (result >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@numba.njit(cache=True, inline="always")
def _normal(state, quantiles):
    """Return a normal number, one of the distribution's equally likely quantiles."""
    return quantiles[int(_uniform(state) * len(quantiles))]


@numba.njit(cache=True, nogil=True)
def _follow(
    state, quantiles, centres, decays, voxel, steepest, mu, mu_origin, mu_voxel, efficiencies,
    normals, tangents, allowed, counts, lengths
):  # fmt: skip
    """Return the crystal pairs (N, 2) uint32 that `decays` (V,) decays in these voxels make."""
    layers, rings, columns = counts
    face, half_length = lengths[0], rings * lengths[1] / 2
    per_head = layers * rings * columns
    pairs = np.empty((4096, 2), np.uint32)
    found = 0
    for source in range(len(centres)):
        for _ in range(decays[source]):
            x = centres[source, 0] + (_uniform(state) - 0.5) * voxel[0]
            y = centres[source, 1] + (_uniform(state) - 0.5) * voxel[1]
            z = centres[source, 2] + (_uniform(state) - 0.5) * voxel[2]
            uz = (2 * _uniform(state) - 1) * steepest
            angle = 2 * math.pi * _uniform(state)
            across = math.sqrt(1 - uz * uz)
            ux, uy = across * math.cos(angle), across * math.sin(angle)
            if not _within_length(x, y, z, ux, uy, uz, face, half_length):
                continue
            x += _normal(state, quantiles) * POSITRON_SIGMA_MM
            y += _normal(state, quantiles) * POSITRON_SIGMA_MM
            z += _normal(state, quantiles) * POSITRON_SIGMA_MM
            first = _crystal(state, quantiles, x, y, z, ux, uy, uz, normals, tangents, counts, lengths)
            if first < 0:
                continue
            second = _crystal(state, quantiles, x, y, z, -ux, -uy, -uz, normals, tangents, counts, lengths)
            if second < 0 or not allowed[first // per_head, second // per_head]:
                continue
            if _uniform(state) >= efficiencies[first] * efficiencies[second]:
                continue
            if not _survives(state, x, y, z, ux, uy, uz, mu, mu_origin, mu_voxel):
                continue
            if found == len(pairs):
                larger = np.empty((2 * found, 2), np.uint32)
                larger[:found] = pairs
                pairs = larger
            pairs[found, 0], pairs[found, 1] = min(first, second), max(first, second)
            found += 1
    return pairs[:found].copy()


@numba.njit(cache=True)
def _within_length(x, y, z, ux, uy, uz, face, half_length):
    """Return whether both photons are still within the scanner's length where they first can be stopped."""
    square = ux * ux + uy * uy
    middle = -(x * ux + y * uy) / square
    half = math.sqrt(max(middle * middle - (x * x + y * y - face * face) / square, 0.0))
    margin = half_length + 5.0
    return abs(z + (middle + half) * uz) < margin and abs(z + (middle - half) * uz) < margin


@numba.njit(cache=True)
def _crystal(state, quantiles, x, y, z, ux, uy, uz, normals, tangents, counts, lengths):
    """Return the crystal that stops the photon, or -1.

    Each head is an infinite slab when the depth is drawn, so that crystals at its edge are as deep as
    the analytic line factor assumes; the blurred position is cut to the head afterwards.
    """
    layers, rings, columns = counts
    face, pitch, layer_mm, crystal_mu = lengths
    edge = columns * pitch / 2 + 4 * DETECTOR_SIGMA_MM
    for head in range(len(normals)):
        cosine = normals[head, 0] * ux + normals[head, 1] * uy
        if cosine < 0.3:
            continue
        to_face = (face - normals[head, 0] * x - normals[head, 1] * y) / cosine
        slope = tangents[head, 0] * ux + tangents[head, 1] * uy
        side = tangents[head, 0] * x + tangents[head, 1] * y + to_face * slope
        side_behind = side + layers * layer_mm / cosine * slope
        if min(side, side_behind) > edge or max(side, side_behind) < -edge:
            continue
        path = -math.log(1 - _uniform(state)) / crystal_mu
        layer = int(path * cosine / layer_mm)
        if layer >= layers:
            continue
        side += path * slope + _normal(state, quantiles) * DETECTOR_SIGMA_MM
        along = z + (to_face + path) * uz + _normal(state, quantiles) * DETECTOR_SIGMA_MM
        column = math.floor(side / pitch + columns / 2)
        ring = math.floor(along / pitch + rings / 2)
        if 0 <= column < columns and 0 <= ring < rings:
            return ((head * layers + layer) * rings + ring) * columns + column
    return -1


@numba.njit(cache=True)
def _survives(state, x, y, z, ux, uy, uz, mu, origin, voxel):
    """Return whether both photons leave the body: one draw against the whole line, both ways."""
    left = -math.log(1 - _uniform(state)) / SURVIVAL_STEP_MM
    x, y, z = (x - origin[0]) / voxel[0], (y - origin[1]) / voxel[1], (z - origin[2]) / voxel[2]
    dx = SURVIVAL_STEP_MM * ux / voxel[0]
    dy = SURVIVAL_STEP_MM * uy / voxel[1]
    dz = SURVIVAL_STEP_MM * uz / voxel[2]
    # A random first step makes the sampled integral unbiased
    start = _uniform(state)
    for way in range(2):
        if way == 1:
            dx, dy, dz, start = -dx, -dy, -dz, 1 - start
        i, j, k = x + start * dx, y + start * dy, z + start * dz
        while 0 <= i < mu.shape[0] and 0 <= j < mu.shape[1] and 0 <= k < mu.shape[2]:
            left -= mu[int(i), int(j), int(k)]
            if left < 0:
                return False
            i, j, k = i + dx, j + dy, k + dz
    return True


def _singles(activity: Volume, efficiencies: np.ndarray, scanner: Scanner) -> np.ndarray:
    """Return each crystal's relative rate of single photons, (C,): solid angle, depth, efficiency.

    Sums the activity in cubes of 40 mm; attenuation, the same for all to first order, is left out.
    """
    centres = np.argwhere(activity.array > 0) @ activity.affine[:3, :3].T + activity.affine[:3, 3]
    weights = activity.array[activity.array > 0]
    cubes, member = np.unique(np.floor(centres / 40), axis=0, return_inverse=True)
    totals = np.bincount(member.ravel(), weights)
    points = np.stack([np.bincount(member.ravel(), weights * centres[:, i]) for i in range(3)], 1)
    points /= totals[:, None]
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
    """Return pairs of unrelated singles, (number, 2) uint32: chance s_a s_b over the allowed heads."""
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
    return pairs + (heads * scanner.crystals_per_head).astype(np.uint32)


def _in_time_order(
    draw: np.random.Generator,
    trues: np.ndarray,
    prompts: np.ndarray,
    delayeds: np.ndarray,
    decay_per_s: float,
    begin: float,
    end: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return crystals, prompt and time in ms of all events, ordered by time.

    Trues decay with the isotope, randoms twice as fast (both photons' rates fall).
    """
    rates = np.repeat([1.0, 2.0, 2.0], [len(trues), len(prompts), len(delayeds)]) * decay_per_s
    times = -np.log1p(draw.random(len(rates)) * np.expm1(-rates * (end - begin))) / rates
    milliseconds = np.minimum((begin + times) * 1000, math.ceil(end * 1000) - 1).astype(np.uint32)
    order = np.argsort(milliseconds, kind="stable")
    crystals = np.concatenate([trues, prompts, delayeds])[order]
    prompt = np.arange(len(rates)) < len(trues) + len(prompts)
    return crystals, prompt[order], milliseconds[order]

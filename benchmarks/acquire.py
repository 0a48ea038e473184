"""CPU time of a virtual acquisition: directions drawn by their bounds against following every decay.

    python benchmarks/acquire.py [--seconds 60] [--threads 1] [--repeats 2]

A head of the default cohort in the virtual HRRT, by turns: by the former method (every decay inside the
scanner's axial cone is followed; 40 bytes an event while events are sorted; without scatter), by the present
one without scatter, and with it. All write the same format.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import numpy as np

from csrd.io.volume import Volume
from csrd.listmode.hrrt import Segment, write_hrrt
from csrd.scanner.geometry import Scanner, hrrt
from csrd.seeds import generator, seed_sequence
from csrd.stages.simulate import write_scan
from csrd.virtual import tracer as tracers
from csrd.virtual.acquire import Acquisition, _lived, _random_pairs, crystal_efficiencies
from csrd.virtual.anatomy import make_anatomy
from csrd.virtual.decays import (
    DETECTOR_SIGMA_MM,
    PARTS,
    POSITRON_SIGMA_MM,
    SURVIVAL_STEP_MM,
    Decays,
    detector,
    normal_quantiles,
)
from csrd.virtual.tracer import read_tracer

SEED, SUBJECT, VOXEL_MM = 2024, "sub-01", 1.21875
TRACER = Path(__file__).parents[1] / "config" / "tracers" / "DASB.tsv"
INJECTED_MBQ, WEIGHT_KG, START_S = 577.6, 65.0, 2100.0
PILOT_DECAYS = 2e6


def former_events(
    decays: Decays, activity: Volume, efficiencies: np.ndarray, acquisition: Acquisition, threads: int
) -> Iterator[Segment]:
    """Yield all events of a scan as one segment, by the former method; its tables are free of charge."""
    scanner = hrrt()
    cone = former_cone(activity, scanner)
    pilot_s = PILOT_DECAYS / (decays.decays.sum() * cone)
    rate = len(former_pairs(decays, cone, pilot_s, 1)) / pilot_s * acquisition.branching
    lived = _lived(acquisition.decay_per_s, 0, acquisition.duration_s)
    randoms = rate * lived * acquisition.randoms_fraction / (1 - acquisition.randoms_fraction)
    rng, singles = generator(SEED, "former"), former_singles(activity, efficiencies, scanner)
    trues = former_pairs(decays, cone, acquisition.branching * lived, threads)
    prompts, delayeds = (_random_pairs(rng, rng.poisson(randoms), singles, scanner) for _ in range(2))
    numbers = len(trues), len(prompts), len(delayeds)
    rates = np.repeat([1.0, 2.0, 2.0], numbers) * acquisition.decay_per_s
    times = -np.log1p(rng.random(len(rates)) * np.expm1(-rates * acquisition.duration_s)) / rates
    milliseconds = np.minimum(times * 1000, round(acquisition.duration_s * 1000) - 1).astype(np.uint32)
    order = np.argsort(milliseconds, kind="stable")
    prompt = np.arange(len(rates)) < numbers[0] + numbers[1]
    yield np.concatenate((trues, prompts, delayeds))[order], prompt[order], milliseconds[order]


def former_cone(activity: Volume, scanner: Scanner) -> float:
    """Return the cosine of the steepest direction that both ends can detect."""
    places = np.argwhere(activity.array > 0) @ activity.affine[:3, :3].T + activity.affine[:3, 3]
    reach = np.hypot(places[:, 0], places[:, 1]).max() + activity.voxel_mm.max() + 5
    axial = scanner.rings * scanner.ring_pitch_mm + 8 * DETECTOR_SIGMA_MM
    return axial / math.hypot(axial, 2 * math.sqrt(max(scanner.face_radius_mm**2 - reach**2, 1.0)))


def former_singles(activity: Volume, efficiencies: np.ndarray, scanner: Scanner) -> np.ndarray:
    """Return each crystal's relative rate of single photons, (C,), by arrays over all crystals."""
    places = np.argwhere(activity.array > 0) @ activity.affine[:3, :3].T + activity.affine[:3, 3]
    weights = activity.array[activity.array > 0]
    cubes, member = np.unique(np.floor(places / 40), axis=0, return_inverse=True)
    totals = np.bincount(member.ravel(), weights)
    sums = np.stack([np.bincount(member.ravel(), weights * places[:, i]) for i in range(3)], 1)
    normals = scanner.head_normals.repeat(scanner.crystals_per_head, axis=0)
    rates = np.zeros(scanner.crystals)
    for point, total in zip(sums / totals[:, None], totals, strict=True):
        line = scanner.crystal_positions - point
        square = (line**2).sum(1)
        cosine = np.maximum((line * normals).sum(1) / np.sqrt(square), 0.05)
        survive = np.exp(-scanner.mu_per_mm * scanner.layer_mm / cosine)
        rates += total * cosine / square * survive**scanner.crystal_layers * (1 - survive)
    return rates * efficiencies


def former_pairs(decays: Decays, cone: float, seconds: float, threads: int) -> np.ndarray:
    """Return the detected pairs (N, 2) of decays that are all followed."""
    scanner = decays.scanner

    def part(number: int, seed: np.random.SeedSequence) -> np.ndarray:
        expected = decays.decays[number::PARTS] * (seconds * cone)
        found = _former_follow(
            seed.generate_state(4, np.uint64),
            normal_quantiles(),
            decays.centres[number::PARTS],
            np.random.default_rng(seed).poisson(expected),
            decays.voxel,
            cone,
            decays.mu,
            decays.mu_origin,
            decays.mu_voxel,
            decays.efficiencies,
            *detector(scanner),
        )
        return found[scanner.in_reach(found)]

    with ThreadPoolExecutor(threads) as pool:
        return np.concatenate(list(pool.map(part, range(PARTS), seed_sequence(SEED, "former").spawn(PARTS))))


@numba.njit(inline="always")
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


@numba.njit(inline="always")
def _normal(state, quantiles):
    """Return a normal number, one of the distribution's equally likely quantiles."""
    return quantiles[int(_uniform(state) * len(quantiles))]


@numba.njit
def _crystal(state, quantiles, x, y, z, ux, uy, uz, normals, tangents, counts, lengths, depth):
    """Return the crystal that stops the photon, or -1.

    Each head is an infinite slab when the depth is drawn, so that crystals at its edge are as deep as
    the analytic line factor assumes; the blurred position is cut to the head afterwards.
    """
    layers, rings, columns = counts
    face, pitch, ring_pitch = lengths
    layer_mm, crystal_mu = depth
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
        ring = math.floor(along / ring_pitch + rings / 2)
        if 0 <= column < columns and 0 <= ring < rings:
            return ((head * layers + layer) * rings + ring) * columns + column
    return -1


@numba.njit(nogil=True)
def _former_follow(
    state, quantiles, centres, decays, voxel, steepest, mu, mu_origin, mu_voxel, efficiencies,
    normals, tangents, allowed, counts, lengths, depth
):  # fmt: skip
    """Return the crystal pairs (N, 2) uint32 that `decays` (V,) decays in these voxels make."""
    face, half_length = lengths[0], counts[1] * lengths[2] / 2
    per_head = counts[0] * counts[1] * counts[2]
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
            first = _crystal(state, quantiles, x, y, z, ux, uy, uz, normals, tangents, counts, lengths, depth)
            if first < 0:
                continue
            second = _crystal(
                state, quantiles, x, y, z, -ux, -uy, -uz, normals, tangents, counts, lengths, depth
            )
            if second < 0 or not allowed[first // per_head, second // per_head]:
                continue
            if _uniform(state) >= efficiencies[first] * efficiencies[second]:
                continue
            if not _survives(state, x, y, z, ux, uy, uz, mu, mu_origin, mu_voxel):
                continue
            if found == len(pairs):
                pairs = np.concatenate((pairs, np.empty_like(pairs)))
            pairs[found, 0], pairs[found, 1] = min(first, second), max(first, second)
            found += 1
    return pairs[:found].copy()


@numba.njit
def _within_length(x, y, z, ux, uy, uz, face, half_length):
    """Return whether both photons are still within the scanner's length where they first can be stopped."""
    square = ux * ux + uy * uy
    middle = -(x * ux + y * uy) / square
    half = math.sqrt(max(middle * middle - (x * x + y * y - face * face) / square, 0.0))
    margin = half_length + 5.0
    return abs(z + (middle + half) * uz) < margin and abs(z + (middle - half) * uz) < margin


@numba.njit
def _survives(state, x, y, z, ux, uy, uz, mu, origin, voxel):
    """Return whether both photons leave the body: one draw against the whole line, both ways."""
    left = -math.log(1 - _uniform(state)) / SURVIVAL_STEP_MM
    x, y, z = (x - origin[0]) / voxel[0], (y - origin[1]) / voxel[1], (z - origin[2]) / voxel[2]
    dx = SURVIVAL_STEP_MM * ux / voxel[0]
    dy = SURVIVAL_STEP_MM * uy / voxel[1]
    dz = SURVIVAL_STEP_MM * uz / voxel[2]
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=2)
    arguments = parser.parse_args()
    tracer, anatomy = read_tracer(TRACER), make_anatomy(SEED, SUBJECT, VOXEL_MM)
    person = INJECTED_MBQ, WEIGHT_KG, START_S
    activity, _ = tracers.activity(anatomy, tracer, SEED, SUBJECT, *person)
    efficiencies = crystal_efficiencies(hrrt(), SEED, SUBJECT)
    images = activity, anatomy.mumap, efficiencies
    decays = Decays.of(*images, hrrt())

    def scan(path: Path, seconds: float, scatter: bool) -> int:
        acquisition = Acquisition(seconds, tracer.half_life_s, tracer.branching, 0.25, scatter)
        return write_scan(path, *images, hrrt(), acquisition, SEED, SUBJECT, arguments.threads)["prompts"]

    def former(path: Path, seconds: float) -> int:
        acquisition, prompts = Acquisition(seconds, tracer.half_life_s, tracer.branching, 0.25), []

        def counted() -> Iterator[Segment]:
            for segment in former_events(decays, activity, efficiencies, acquisition, arguments.threads):
                prompts.append(int(segment[1].sum()))
                yield segment

        write_hrrt(path, counted(), {"image duration": f"{seconds:g}"})
        return sum(prompts)

    runs = {
        "every decay followed, no scatter": former,
        "directions by bounds, no scatter": lambda path, seconds: scan(path, seconds, False),
        "directions by bounds, scatter": lambda path, seconds: scan(path, seconds, True),
    }
    taken: dict[str, list[float]] = {name: [] for name in runs}
    prompts = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "scan.l64")
        for run in runs.values():
            run(path, 0.1)  # compiles
        for _ in range(arguments.repeats):
            for name, run in runs.items():
                start = time.process_time()
                prompts[name] = run(path, arguments.seconds)
                taken[name].append(time.process_time() - start)
    reference = min(taken["every decay followed, no scatter"])
    print(f"{arguments.seconds:g} s, {arguments.threads} threads, best of {arguments.repeats}")
    print(f"{'':34}{'CPU s':>8}{'ratio':>8}{'prompts':>12}")
    for name, times in taken.items():
        print(f"{name:34}{min(times):8.1f}{min(times) / reference:8.2f}{prompts[name]:12,}")


if __name__ == "__main__":
    main()

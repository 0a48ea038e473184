"""From decays to pairs of crystals: each decay is followed until it is detected or lost.

Position in its voxel, positron range, isotropic direction, two crystal slabs, depth of
interaction, blur, crystal efficiency, attenuation in the body.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import pairwise
from types import SimpleNamespace

import numba
import numpy as np
from scipy.special import ndtri

from csrd.io.volume import Volume
from csrd.scanner.geometry import Scanner
from csrd.virtual.directions import Choice, Directions, compile_aimed
from csrd.virtual.streams import COUNTLESS, QUANTILES, STATE, begin, key_of, streams

POSITRON_SIGMA_MM = 0.5  # C-11: mean range in water about 1.1 mm, sharply peaked
DETECTOR_SIGMA_MM = 0.7  # scatter between crystals and non-collinearity, at each end
PARTS = 64  # of the body; fixed, so that threads do not change the result
TRUE_DECAYS, ONE_SCATTERS, BOTH_SCATTER = range(3)  # kinds of decays, of different streams
SURVIVAL_STEP_MM = 4.0  # of the attenuation's sampled integral, unbiased at any step


@dataclass(frozen=True)
class Decays:
    """Where decays happen and what their photons meet, as plain arrays."""

    centres: np.ndarray  # (V, 3) mm, voxels with activity, those of a cell of `directions` together
    decays: np.ndarray  # (V,) expected per second, times `best` squared
    voxel: np.ndarray  # (3,) mm
    mu: np.ndarray  # (X, Y, Z) per mm, coarse
    mu_origin: np.ndarray  # mm, the corner of its voxel [0, 0, 0]
    mu_voxel: np.ndarray
    efficiencies: np.ndarray  # relative to the best crystal
    best: float
    scanner: Scanner
    directions: Directions

    @classmethod
    def of(cls, activity: Volume, mumap: Volume, efficiencies: np.ndarray, scanner: Scanner) -> "Decays":
        inside = np.argwhere(activity.array > 0)
        assert len(inside), "an activity image without activity"
        centres = inside @ activity.affine[:3, :3].T + activity.affine[:3, 3]
        mu = _coarse_mu(mumap)
        length = scanner.rings * scanner.ring_pitch_mm
        directions = Directions.of(centres, activity.voxel_mm, mu, scanner.face_radius_mm, length)
        order = np.argsort(directions.cells, kind="stable")
        directions = replace(directions, cells=directions.cells[order])
        best = float(efficiencies.max())
        decays = activity.array[tuple(inside[order].T)].astype(np.float64)
        decays *= abs(np.linalg.det(activity.affine[:3, :3])) / 1000 * best**2
        return cls(
            centres[order].astype(np.float32),
            decays,
            activity.voxel_mm,
            *mu,
            (efficiencies / best).astype(np.float32),
            best,
            scanner,
            directions,
        )

    @cached_property
    def choice(self) -> Choice:
        """Return the directions in which pairs may be recorded."""
        return Choice.of(self.directions.pairs())

    @cached_property
    def parts(self) -> list[slice]:
        """Return PARTS groups of neighbouring voxels, in which about equally many decays are followed."""
        followed = np.cumsum(self.decays * self.choice.fraction[self.directions.cells])
        edges = np.searchsorted(followed, np.linspace(0, followed[-1], PARTS + 1)[1:-1])
        return [slice(*edge) for edge in pairwise((0, *edges, len(followed)))]

    @property
    def decays_per_s(self) -> float:
        """Return the decays that `follow` takes a second."""
        return float(self.decays @ self.choice.fraction[self.directions.cells])

    def follow(
        self,
        seconds: float | np.ndarray,
        seeds: np.random.SeedSequence,
        threads: int,
        device: str = "cpu",
    ) -> np.ndarray:
        """Return the detected pairs of `seconds` of decays, (N, 2) uint32, lower head first.

        The seconds are those of all voxels, or of each (V,). The pairs are the same for any number of threads
        and on any device ("cpu", "cuda").
        """
        expected = self.decays * self.choice.fraction[self.directions.cells] * seconds
        thickness = -np.log(np.maximum(self.choice.bounds, 1e-9))
        choice, key = (self.choice.entries, self.choice.first, thickness), key_of(seeds)
        kernel = follower(_follow, TRUE_DECAYS, device)
        with ThreadPoolExecutor(threads if device == "cpu" else 1) as pool:
            parts = pool.map(
                lambda part, seed: self._follow_part(kernel, key, part, seed, expected, choice),
                range(PARTS),
                seeds.spawn(PARTS),
            )
            return np.concatenate(list(parts))

    def _follow_part(
        self,
        kernel: Callable,
        key: np.ndarray,
        part: int,
        seed: np.random.SeedSequence,
        expected: np.ndarray,
        choice: tuple,
    ) -> np.ndarray:
        scanner, some = self.scanner, self.parts[part]
        decays = np.random.default_rng(seed).poisson(expected[some])
        assert decays.sum() < 1 << 32, "a decay's number has 32 bits"
        pairs = kernel(
            key,
            part,
            normal_quantiles(),
            self.centres[some],
            decays,
            self.voxel,
            self.directions.cells[some],
            choice,
            (self.mu, self.mu_origin, 1 / self.mu_voxel),
            self.efficiencies,
            *detector(scanner),
        )
        return pairs[scanner.in_reach(pairs)]


def follower(kernel: Callable, kind: int, device: str) -> Callable:
    """Return the kernel that follows decays of a kind on a device, with the arguments of the CPU's."""
    if device == "cpu":
        return kernel
    from csrd.virtual.decays_cuda import follower_on_device

    return follower_on_device(kind)


def detector(scanner: Scanner) -> tuple:
    """Return what the kernels take of a scanner, their arguments from `normals` to `depth`."""
    return (
        scanner.head_normals,
        scanner.head_tangents,
        coincident_heads(scanner),
        (scanner.layers, scanner.rings, scanner.columns),
        (scanner.face_radius_mm, scanner.pitch_mm, scanner.ring_pitch_mm),
        (scanner.layer_mm, scanner.mu_per_mm),
    )


def coincident_heads(scanner: Scanner) -> np.ndarray:
    """Return which heads coincide with which, (H, H) bool."""
    allowed = np.zeros((scanner.heads, scanner.heads), np.bool_)
    allowed[tuple(scanner.head_pairs.T)] = allowed[tuple(scanner.head_pairs.T[::-1])] = True
    return allowed


@cache
def normal_quantiles(number: int = QUANTILES) -> np.ndarray:
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


def compile_following(jit, streams) -> SimpleNamespace:
    """Return the functions that follow one decay, compiled by `jit` as `streams` are."""
    aimed = compile_aimed(jit)
    uniform, two, two_normal, shifted = streams.uniform, streams.two, streams.two_normal, streams.shifted

    @jit
    def crystal(state, quantiles, x, y, z, ux, uy, uz, normals, tangents, counts, lengths, depth):
        """Return the crystal that stops the photon, or -1.

        Each head is an infinite slab when the depth is drawn, so that crystals at its edge are as deep as
        the analytic line factor assumes; the blurred position is cut to the head afterwards.
        """
        layers, rings, columns = counts
        face, pitch, ring_pitch = lengths
        layer_mm, crystal_mu = depth
        edge = columns * pitch / 2 + 4 * DETECTOR_SIGMA_MM
        for head in range(normals.shape[0]):
            cosine = normals[head, 0] * ux + normals[head, 1] * uy
            if cosine < 0.3:
                continue
            to_face = (face - normals[head, 0] * x - normals[head, 1] * y) / cosine
            slope = tangents[head, 0] * ux + tangents[head, 1] * uy
            side = tangents[head, 0] * x + tangents[head, 1] * y + to_face * slope
            side_behind = side + layers * layer_mm / cosine * slope
            if min(side, side_behind) > edge or max(side, side_behind) < -edge:
                continue
            path = -math.log(1 - uniform(state)) / crystal_mu
            layer = int(path * cosine / layer_mm)
            if layer >= layers:
                continue
            across, upwards = two_normal(state, quantiles)
            side += path * slope + across * DETECTOR_SIGMA_MM
            along = z + (to_face + path) * uz + upwards * DETECTOR_SIGMA_MM
            column = int(math.floor(side / pitch + columns / 2))
            ring = int(math.floor(along / ring_pitch + rings / 2))
            if 0 <= column < columns and 0 <= ring < rings:
                return ((head * layers + layer) * rings + ring) * columns + column
        return -1

    @jit
    def surviving(state, x, y, z, ux, uy, uz, ways, body, thickness):
        """Return how many pairs leave the body for one drawn with the bound e^(−`thickness`): 0, 1, rarely 2.

        One draw against the whole line, in the given direction only (`ways` 1) or also in the other (2).
        Where the bound is too low, the mean number is the ratio nevertheless.
        """
        mu, origin, per_mm = body
        draw = 1 - uniform(state)
        most = (thickness - math.log(draw)) / SURVIVAL_STEP_MM
        path = 0.0
        x, y, z = (x - origin[0]) * per_mm[0], (y - origin[1]) * per_mm[1], (z - origin[2]) * per_mm[2]
        dx = SURVIVAL_STEP_MM * ux * per_mm[0]
        dy = SURVIVAL_STEP_MM * uy * per_mm[1]
        dz = SURVIVAL_STEP_MM * uz * per_mm[2]
        # A random first step makes the sampled integral unbiased
        start = uniform(state)
        for way in range(ways):
            if way == 1:
                dx, dy, dz, start = -dx, -dy, -dz, 1 - start
            i, j, k = x + start * dx, y + start * dy, z + start * dz
            while 0 <= i < mu.shape[0] and 0 <= j < mu.shape[1] and 0 <= k < mu.shape[2]:
                path += mu[int(i), int(j), int(k)]
                if path > most:
                    return 0
                i, j, k = i + dx, j + dy, k + dz
        return 2 if path * SURVIVAL_STEP_MM < thickness - math.log1p(draw) else 1

    @jit
    def place(state, quantiles, source, centres, voxel):
        """Return where the photons of a decay in a voxel begin, in mm."""
        x, by_x = shifted(state, quantiles)
        y, by_y = shifted(state, quantiles)
        z, by_z = shifted(state, quantiles)
        return (
            centres[source, 0] + x * voxel[0] + by_x * POSITRON_SIGMA_MM,
            centres[source, 1] + y * voxel[1] + by_y * POSITRON_SIGMA_MM,
            centres[source, 2] + z * voxel[2] + by_z * POSITRON_SIGMA_MM,
        )

    @jit
    def follow(
        state, quantiles, source, centres, voxel, cells, choice, body, efficiencies,
        normals, tangents, allowed, counts, lengths, depth
    ):  # fmt: skip
        """Return the two crystals of a decay, and how many pairs of them are recorded: mostly 0."""
        entries, first_of, thickness = choice
        per_head = counts[0] * counts[1] * counts[2]
        start = first_of[cells[source]]
        number = first_of[cells[source] + 1] - start
        bin_ = entries[start + int(uniform(state) * number)]
        along, above = two(state)
        ux, uy, uz = aimed(bin_, along, above)
        x, y, z = place(state, quantiles, source, centres, voxel)
        first = crystal(state, quantiles, x, y, z, ux, uy, uz, normals, tangents, counts, lengths, depth)
        if first < 0:
            return 0, 0, 0
        second = crystal(state, quantiles, x, y, z, -ux, -uy, -uz, normals, tangents, counts, lengths, depth)
        if second < 0 or not allowed[first // per_head, second // per_head]:
            return 0, 0, 0
        if uniform(state) >= efficiencies[first] * efficiencies[second]:
            return 0, 0, 0
        copies = surviving(state, x, y, z, ux, uy, uz, 2, body, thickness[cells[source], bin_])
        return min(first, second), max(first, second), copies

    return SimpleNamespace(aimed=aimed, crystal=crystal, surviving=surviving, place=place, follow=follow)


following = compile_following(numba.njit(**COUNTLESS), streams)
_follow_decay = following.follow


@numba.njit(cache=True, nogil=True)
def _follow(
    key, part, quantiles, centres, decays, voxel, cells, choice, body, efficiencies,
    normals, tangents, allowed, counts, lengths, depth
):  # fmt: skip
    """Return the crystal pairs (N, 2) uint32 that `decays` (V,) decays in these voxels make."""
    state = np.zeros(STATE, np.uint64)
    pairs = np.empty((4096, 2), np.uint32)
    found = number = 0
    for source in range(len(centres)):
        for _ in range(decays[source]):
            begin(state, key, TRUE_DECAYS, part, number)
            number += 1
            first, second, copies = _follow_decay(
                state, quantiles, source, centres, voxel, cells, choice, body, efficiencies,
                normals, tangents, allowed, counts, lengths, depth
            )  # fmt: skip
            for _ in range(copies):
                if found == len(pairs):
                    pairs = np.concatenate((pairs, np.empty_like(pairs)))
                pairs[found, 0], pairs[found, 1] = first, second
                found += 1
    return pairs[:found].copy()

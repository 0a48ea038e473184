"""From decays to pairs of crystals: each decay is followed until it is detected or lost.

Position in its voxel, positron range, isotropic direction, two crystal slabs, depth of
interaction, blur, crystal efficiency, attenuation in the body.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import numba
import numpy as np
from scipy.special import ndtri

from csrd.io.volume import Volume
from csrd.scanner.geometry import Scanner

POSITRON_SIGMA_MM = 0.5  # C-11: mean range in water about 1.1 mm, sharply peaked
DETECTOR_SIGMA_MM = 0.7  # scatter between crystals and non-collinearity, at each end
PARTS = 64  # independent random streams; fixed, so that threads do not change the result
SURVIVAL_STEP_MM = 4.0  # of the attenuation's sampled integral, unbiased at any step


@dataclass(frozen=True)
class Decays:
    """Where decays happen and what their photons meet, as plain arrays."""

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
    def of(cls, activity: Volume, mumap: Volume, efficiencies: np.ndarray, scanner: Scanner) -> "Decays":
        inside = np.argwhere(activity.array > 0)
        assert len(inside), "an activity image without activity"
        centres = inside @ activity.affine[:3, :3].T + activity.affine[:3, 3]
        reach = np.hypot(centres[:, 0], centres[:, 1]).max() + activity.voxel_mm.max() + 5
        axial = scanner.rings * scanner.ring_pitch_mm + 8 * DETECTOR_SIGMA_MM
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
        pairs = _follow(
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
            coincident_heads(scanner),
            (scanner.layers, scanner.rings, scanner.columns),
            (scanner.face_radius_mm, scanner.pitch_mm, scanner.ring_pitch_mm),
            (scanner.layer_mm, scanner.mu_per_mm),
        )
        return pairs[scanner.in_reach(pairs)]


def coincident_heads(scanner: Scanner) -> np.ndarray:
    """Return which heads coincide with which, (H, H) bool."""
    allowed = np.zeros((scanner.heads, scanner.heads), np.bool_)
    allowed[tuple(scanner.head_pairs.T)] = allowed[tuple(scanner.head_pairs.T[::-1])] = True
    return allowed


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
    normals, tangents, allowed, counts, lengths, depth
):  # fmt: skip
    """Return the crystal pairs (N, 2) uint32 that `decays` (V,) decays in these voxels make."""
    layers, rings, columns = counts
    face, half_length = lengths[0], rings * lengths[2] / 2
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

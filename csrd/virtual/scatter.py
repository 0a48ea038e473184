"""From decays to pairs of crystals of which at least one photon was scattered in the body.

The counterpart of `decays`, which follows the pairs that reach the crystals without scattering. Both
are independent of one another, as the parts of a Poisson process are: the trues of a scan are the same
with scatter and without.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numba
import numpy as np

from csrd.scanner.compton import attenuation_table, scattering_cosines, window_table
from csrd.virtual.decays import (
    PARTS,
    Decays,
    _crystal,
    _normal_quantiles,
    _uniform,
    coincident_heads,
)


@dataclass(frozen=True)
class ScatteredPairs:
    """The decays of a scan, followed where a photon scatters."""

    decays: Decays

    @property
    def decays_per_s(self) -> float:
        """Return the decays that `follow` takes a second: in all directions."""
        return self.decays.decays_per_s / self.decays.axial_cosine

    def follow(
        self, seconds: float, seeds: np.random.SeedSequence, threads: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the scattered pairs of `seconds` of decays, and how often both photons scattered in all.

        Pairs are (N, 2) uint32, lower head first; numbers (N,) uint8, at least 1. They are the same for any
        number of threads.
        """
        with ThreadPoolExecutor(threads) as pool:
            parts = pool.map(
                lambda part, seed: self._follow_part(part, seed, seconds),
                range(PARTS),
                seeds.spawn(PARTS),
            )
            pairs, times = zip(*parts, strict=True)
            return np.concatenate(pairs), np.concatenate(times)

    def _follow_part(
        self, part: int, seed: np.random.SeedSequence, seconds: float
    ) -> tuple[np.ndarray, np.ndarray]:
        decays, scanner = self.decays, self.decays.scanner
        expected = decays.decays[part::PARTS] * (seconds / decays.axial_cosine)
        densest = max(float(decays.mu.max()), 1e-9)
        pairs, times = _follow(
            seed.generate_state(4, np.uint64),
            _normal_quantiles(),
            (decays.centres[part::PARTS] - decays.mu_origin).astype(np.float32),
            np.random.default_rng(seed).poisson(expected),
            decays.voxel,
            (decays.mu / densest).astype(np.float32),
            (decays.mu.shape, tuple(1 / decays.mu_voxel), 1 / densest),
            scattering_cosines(),
            attenuation_table(),
            window_table(scanner),
            decays.mu_origin,
            decays.efficiencies,
            scanner.head_normals,
            scanner.head_tangents,
            coincident_heads(scanner),
            (scanner.layers, scanner.rings, scanner.columns),
            (scanner.face_radius_mm, scanner.pitch_mm, scanner.ring_pitch_mm),
            (scanner.layer_mm, scanner.mu_per_mm),
        )
        kept = scanner.in_reach(pairs)
        return pairs[kept], times[kept]


# Kernels of `decays` are compiled into these: after an edit there, delete the compiled ones
# (csrd/virtual/__pycache__/*.nb?), because numba's cache watches only the file of the outermost function.
@numba.njit(cache=True, nogil=True)
def _follow(
    state, quantiles, centres, decays, voxel, density, grid, angles, attenuation, window,
    origin, efficiencies, normals, tangents, allowed, counts, lengths, depth
):  # fmt: skip
    """Return the pairs (N, 2) uint32 with a scattered photon, and how often both scattered, (N,) uint8.

    `centres` (V, 3) are relative to `origin`, the corner of the grid of `density`.
    """
    per_head = counts[0] * counts[1] * counts[2]
    pairs, times = np.empty((4096, 2), np.uint32), np.empty(4096, np.uint8)
    found = 0
    for source in range(len(centres)):
        for _ in range(decays[source]):
            x = centres[source, 0] + (_uniform(state) - 0.5) * voxel[0]
            y = centres[source, 1] + (_uniform(state) - 0.5) * voxel[1]
            z = centres[source, 2] + (_uniform(state) - 0.5) * voxel[2]
            uz = 2 * _uniform(state) - 1
            cosine, sine = _azimuth(state)
            across = math.sqrt(1 - uz * uz)
            ux, uy = across * cosine, across * sine
            draw = _uniform(state)  # both photons are accepted with a chance that only falls from here on
            at, way, energy_a, times_a = _leave(
                state, (x, y, z), (ux, uy, uz), density, grid, angles, attenuation, window, draw
            )
            if energy_a == 0:
                continue
            first = _crystal(
                state, quantiles, at[0] + origin[0], at[1] + origin[1], at[2] + origin[2], way[0], way[1],
                way[2], normals, tangents, counts, lengths, depth
            )  # fmt: skip
            if first < 0:
                continue
            seen = efficiencies[first] * window[round(energy_a)]
            if seen <= draw:
                continue
            at, way, energy_b, times_b = _leave(
                state, (x, y, z), (-ux, -uy, -uz), density, grid, angles, attenuation, window, draw
            )
            if energy_b == 0 or times_a + times_b == 0:
                continue
            second = _crystal(
                state, quantiles, at[0] + origin[0], at[1] + origin[1], at[2] + origin[2], way[0], way[1],
                way[2], normals, tangents, counts, lengths, depth
            )  # fmt: skip
            if second < 0 or not allowed[first // per_head, second // per_head]:
                continue
            if seen * efficiencies[second] * window[round(energy_b)] <= draw:
                continue
            if found == len(pairs):
                pairs = np.concatenate((pairs, np.empty_like(pairs)))
                times = np.concatenate((times, np.empty_like(times)))
            pairs[found, 0], pairs[found, 1] = min(first, second), max(first, second)
            times[found] = min(times_a + times_b, 255)
            found += 1
    return pairs[:found].copy(), times[:found].copy()


@numba.njit(cache=True)
def _leave(state, at, way, density, grid, angles, attenuation, window, draw):
    """Return where a photon of 511 keV last scattered, or began; its last direction, energy and scatterings.

    The energy is 0 as soon as it falls below `lowest`. Flights are drawn as if the whole grid were as
    dense as its densest voxel; where a flight ends, the photon interacts with the chance of the true
    density over that (Woodcock 1965), which is exact in any body and passes over all voxels between.
    """
    shape, per_mm, free_path = grid
    energy, times = 511.0, 0
    path = free_path
    x, y, z = at
    ux, uy, uz = way
    last = at
    while True:
        flight = -math.log(1 - _uniform(state)) * path
        x, y, z = x + flight * ux, y + flight * uy, z + flight * uz
        i, j, k = x * per_mm[0], y * per_mm[1], z * per_mm[2]
        if not (0 <= i < shape[0] and 0 <= j < shape[1] and 0 <= k < shape[2]):
            return last, (ux, uy, uz), energy, times
        if _uniform(state) >= density[int(i), int(j), int(k)]:
            continue
        if times == 0:
            cosine = angles[int(_uniform(state) * len(angles))]
            energy = 511.0 / (2 - cosine)
        else:
            cosine, energy = _scattered(state, energy)
        if window[round(energy)] <= draw:
            return last, (ux, uy, uz), 0.0, times
        ux, uy, uz = _turned(ux, uy, uz, cosine, *_azimuth(state))
        last, path = (x, y, z), free_path / attenuation[round(energy)]
        times += 1


@numba.njit(cache=True)
def _scattered(state, energy):
    """Return the cosine of a scattering angle and the energy after it: Klein and Nishina, by rejection."""
    k = energy / 511.0
    while True:
        cosine = 2 * _uniform(state) - 1
        ratio = 1 / (1 + k * (1 - cosine))
        if 2 * _uniform(state) < ratio * ratio * (ratio + 1 / ratio - (1 - cosine * cosine)):
            return cosine, ratio * energy


@numba.njit(cache=True)
def _azimuth(state):
    """Return cosine and sine of an angle between 0 and 2π: of a point drawn in the unit disc."""
    while True:
        x, y = 2 * _uniform(state) - 1, 2 * _uniform(state) - 1
        square = x * x + y * y
        if 1e-12 < square <= 1:
            scale = 1 / math.sqrt(square)
            return x * scale, y * scale


@numba.njit(cache=True)
def _turned(ux, uy, uz, cosine, along, around):
    """Return the direction at an angle of that cosine to the unit vector u; the rest are its azimuth's."""
    sine = math.sqrt(max(0.0, 1 - cosine * cosine))
    along, around = sine * along, sine * around
    across = math.sqrt(ux * ux + uy * uy)
    if across < 1e-6:
        return along, around, math.copysign(cosine, uz)
    return (
        ux * cosine + (ux * uz * along - uy * around) / across,
        uy * cosine + (uy * uz * along + ux * around) / across,
        uz * cosine - across * along,
    )

"""From decays to pairs of crystals of which at least one photon was scattered in the body.

The counterpart of `decays`, which follows the pairs that reach the crystals without scattering. Both
are independent of one another, as the parts of a Poisson process are: the trues of a scan are the same
with scatter and without.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace

import numba
import numpy as np

from csrd.scanner.compton import accepted_cosines, attenuation_table, window_table
from csrd.virtual.decays import (
    BOTH_SCATTER,
    ONE_SCATTERS,
    PARTS,
    SURVIVAL_STEP_MM,
    Decays,
    detector,
    follower,
    following,
    normal_quantiles,
)
from csrd.virtual.directions import CELL_MM, Choice, opposite_bins
from csrd.virtual.streams import COUNTLESS, STATE, begin, key_of, streams

WATER_PER_MM = 0.0096
DEPTH_SLACK = 0.25  # of the bound on ∫μ within which a first scattering is drawn; 2e-4 of them lie beyond


@dataclass(frozen=True)
class ScatteredPairs:
    """The decays of a scan, followed where a photon scatters.

    Pairs of which one photon scatters and pairs of which both do are drawn one after the other. The first
    scattering is certain to happen within a bound on the body's thickness, and its angle is drawn among
    those that the energy window accepts; the number of decays that are followed is lower accordingly.
    """

    decays: Decays

    @cached_property
    def interacting(self) -> np.ndarray:
        """Return bounds on the probability that a photon interacts, (C, BINS) float32."""
        return -np.expm1(-self.decays.directions.most - DEPTH_SLACK).astype(np.float32)

    @cached_property
    def one(self) -> Choice:
        """Return the directions of a photon that does not scatter while the other, opposite one does."""
        table = self.decays.directions
        within = 0.5 * CELL_MM * WATER_PER_MM  # a cell's points differ by that along the direction
        unscattered = table.reaches * np.exp(-np.maximum(table.least - within, 0))
        return Choice.of(unscattered * self.interacting[:, opposite_bins()])

    @cached_property
    def both(self) -> Choice:
        """Return the directions of a photon that scatters while the other does, too."""
        return Choice.of(self.interacting * self.interacting[:, opposite_bins()])

    def follow(
        self,
        seconds: float | np.ndarray,
        seeds: np.random.SeedSequence,
        threads: int,
        device: str = "cpu",
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the scattered pairs of `seconds` of decays, and how often both photons scattered in all.

        The seconds are those of all voxels, or of each (V,).

        Pairs are (N, 2) uint32, lower head first; numbers (N,) uint8, at least 1. They are the same for any
        number of threads and on any device ("cpu", "cuda").
        """
        ones, boths = (
            self._arguments(choice, both, seconds, device)
            for choice, both in ((self.one, False), (self.both, True))
        )
        key = key_of(seeds)
        with ThreadPoolExecutor(threads if device == "cpu" else 1) as pool:
            parts = pool.map(
                lambda part, seed: (
                    self._follow_part(key, part, seed.spawn(1)[0], *ones),
                    self._follow_part(key, part, seed, *boths),
                ),
                range(PARTS),
                seeds.spawn(PARTS),
            )
            pairs, times = zip(*(found for part in parts for found in part), strict=True)
            return np.concatenate(pairs), np.concatenate(times)

    def _arguments(self, choice: Choice, both: bool, seconds: float | np.ndarray, device: str) -> tuple:
        """Return a kernel, the decays (V,) expected that it follows, and its tables."""
        table, scanner = self.decays.directions, self.decays.scanner
        _, accepted = accepted_cosines(scanner)
        followed = self.decays.decays * choice.fraction[table.cells]
        other = self.interacting[:, opposite_bins()]
        bounds = np.maximum(choice.bounds, 1e-9)
        if both:
            followed *= accepted**2
            rest = bounds / np.maximum(self.interacting * other, 1e-9)
            kernel = follower(_follow_both, BOTH_SCATTER, device)
        else:
            followed *= 2 * accepted
            rest = np.log(np.maximum(other, 1e-9) / bounds)
            kernel = follower(_follow_one, ONE_SCATTERS, device)
        opposite = opposite_bins()
        return (
            kernel,
            followed * seconds,
            (choice.entries, choice.first, rest.astype(np.float32), opposite, self.interacting),
        )

    def _follow_part(
        self,
        key: np.ndarray,
        part: int,
        seed: np.random.SeedSequence,
        kernel: Callable,
        followed: np.ndarray,
        choice: tuple,
    ) -> tuple[np.ndarray, np.ndarray]:
        decays, scanner, some = self.decays, self.decays.scanner, self.decays.parts[part]
        densest = max(float(decays.mu.max()), 1e-9)
        cosines, _ = accepted_cosines(scanner)
        pairs, times = kernel(
            key,
            part,
            normal_quantiles(),
            decays.centres[some],
            np.random.default_rng(seed).poisson(followed[some]),
            decays.voxel,
            decays.directions.cells[some],
            choice,
            (decays.mu, decays.mu_origin, 1 / decays.mu_voxel),
            1 / densest,
            (cosines, attenuation_table(), window_table(scanner)),
            decays.efficiencies,
            *detector(scanner),
        )
        kept = scanner.in_reach(pairs)
        return pairs[kept], times[kept]


def compile_scattering(jit, streams, following) -> SimpleNamespace:
    """Return the functions that follow one decay with scattering, compiled by `jit` like the arguments."""
    uniform, two = streams.uniform, streams.two
    aimed, crystal, surviving, place = (
        following.aimed,
        following.crystal,
        following.surviving,
        following.place,
    )

    @jit
    def turned(ux, uy, uz, cosine, along, around):
        """Return the direction at an angle of that cosine to the unit vector u; the rest is its azimuth."""
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

    @jit
    def azimuth(state):
        """Return cosine and sine of an angle between 0 and 2π: of a point drawn in the unit disc."""
        while True:
            x, y = two(state)
            x, y = 2 * x - 1, 2 * y - 1
            square = x * x + y * y
            if 1e-12 < square <= 1:
                scale = 1 / math.sqrt(square)
                return x * scale, y * scale

    @jit
    def scattered(state, energy):
        """Return the cosine of a scattering angle and the energy after it (Klein, Nishina), by rejection."""
        k = energy / 511.0
        while True:
            cosine, chance = two(state)
            cosine = 2 * cosine - 1
            ratio = 1 / (1 + k * (1 - cosine))
            if 2 * chance < ratio * ratio * (ratio + 1 / ratio - (1 - cosine * cosine)):
                return cosine, ratio * energy

    @jit
    def leave(state, at, way, energy, times, body, attenuation, window, lowest):
        """Return where a photon last scattered, or began; its last direction, energy and scatterings.

        The energy is 0 as soon as the window accepts it with a probability of `lowest` or less. Places are
        in voxels. Flights are drawn as if the whole grid were as dense as its densest voxel; where a flight
        ends, the photon interacts with the probability of the true density over that (Woodcock 1965), which
        is exact in any body and passes over all voxels between.
        """
        mu, per_mm, free_path = body
        x, y, z = at
        ux, uy, uz = way
        last = at
        path = free_path / attenuation[round(energy)]
        while True:
            flight = -math.log(1 - uniform(state)) * path
            x, y, z = x + flight * ux * per_mm[0], y + flight * uy * per_mm[1], z + flight * uz * per_mm[2]
            if not (0 <= x < mu.shape[0] and 0 <= y < mu.shape[1] and 0 <= z < mu.shape[2]):
                return last, (ux, uy, uz), energy, times
            if uniform(state) >= mu[int(x), int(y), int(z)] * free_path:
                continue
            cosine, energy = scattered(state, energy)
            if window[round(energy)] <= lowest:
                return last, (ux, uy, uz), 0.0, times
            along, around = azimuth(state)
            ux, uy, uz = turned(ux, uy, uz, cosine, along, around)
            last, path = (x, y, z), free_path / attenuation[round(energy)]
            times += 1

    @jit
    def scatters(state, at, way, within, body, free_path, tables, draw):
        """Return where a photon of 511 keV last scattered, its direction, its share, and its scatterings.

        It scatters for the first time where ∫μ reaches a value of which `within` is the probability to lie
        below the bound. The share is the energy window's probability over that after the first scattering. No
        scatterings: it left before, or its share fell to `draw`.
        """
        mu, origin, per_mm = body
        cosines, attenuation, window = tables
        lost = (at, way, 0.0, 0)
        left = -math.log(1 - uniform(state) * within) / SURVIVAL_STEP_MM
        x, y, z = (
            (at[0] - origin[0]) * per_mm[0],
            (at[1] - origin[1]) * per_mm[1],
            (at[2] - origin[2]) * per_mm[2],
        )
        dx = SURVIVAL_STEP_MM * way[0] * per_mm[0]
        dy = SURVIVAL_STEP_MM * way[1] * per_mm[1]
        dz = SURVIVAL_STEP_MM * way[2] * per_mm[2]
        start = uniform(state)
        x, y, z = x + start * dx, y + start * dy, z + start * dz
        while True:
            if not (0 <= x < mu.shape[0] and 0 <= y < mu.shape[1] and 0 <= z < mu.shape[2]):
                return lost
            left -= mu[int(x), int(y), int(z)]
            if left < 0:
                break
            x, y, z = x + dx, y + dy, z + dz
        cosine = cosines[int(uniform(state) * cosines.shape[0])]
        along, around = azimuth(state)
        ux, uy, uz = turned(way[0], way[1], way[2], cosine, along, around)
        first = 511.0 / (2 - cosine)
        accepted = window[round(first)]
        at, way, energy, times = leave(
            state,
            (x, y, z),
            (ux, uy, uz),
            first,
            1,
            (mu, per_mm, free_path),
            attenuation,
            window,
            draw * accepted,
        )
        if energy == 0:
            return lost
        x, y, z = at[0] / per_mm[0] + origin[0], at[1] / per_mm[1] + origin[1], at[2] / per_mm[2] + origin[2]
        return (x, y, z), way, window[round(energy)] / accepted, times

    @jit
    def follow_one(
        state, quantiles, source, centres, voxel, cells, choice, body, free_path, tables, efficiencies,
        normals, tangents, allowed, counts, lengths, depth
    ):  # fmt: skip
        """Return the crystals of a decay of which one photon scattered, pairs recorded, scatterings."""
        entries, first_of, thickness, opposite, interacting = choice
        per_head = counts[0] * counts[1] * counts[2]
        cell = cells[source]
        start = first_of[cell]
        bin_ = entries[start + int(uniform(state) * (first_of[cell + 1] - start))]
        along, above = two(state)
        ux, uy, uz = aimed(bin_, along, above)
        x, y, z = place(state, quantiles, source, centres, voxel)
        first = crystal(state, quantiles, x, y, z, ux, uy, uz, normals, tangents, counts, lengths, depth)
        if first < 0:
            return 0, 0, 0, 0
        draw = uniform(state) / max(efficiencies[first], 1e-9)
        if draw >= 1:
            return 0, 0, 0, 0
        within = interacting[cell, opposite[bin_]]
        at, way, share, n = scatters(state, (x, y, z), (-ux, -uy, -uz), within, body, free_path, tables, draw)
        if n == 0:
            return 0, 0, 0, 0
        second = crystal(
            state, quantiles, at[0], at[1], at[2], way[0], way[1], way[2],
            normals, tangents, counts, lengths, depth
        )  # fmt: skip
        if second < 0 or not allowed[first // per_head, second // per_head]:
            return 0, 0, 0, 0
        if efficiencies[second] * share <= draw:
            return 0, 0, 0, 0
        copies = surviving(state, x, y, z, ux, uy, uz, 1, body, thickness[cell, bin_])
        return min(first, second), max(first, second), copies, min(n, 255)

    @jit
    def follow_both(
        state, quantiles, source, centres, voxel, cells, choice, body, free_path, tables, efficiencies,
        normals, tangents, allowed, counts, lengths, depth
    ):  # fmt: skip
        """Return the crystals of a decay of which both photons scattered, pairs recorded, scatterings."""
        entries, first_of, bound, opposite, interacting = choice
        per_head = counts[0] * counts[1] * counts[2]
        cell = cells[source]
        start = first_of[cell]
        bin_ = entries[start + int(uniform(state) * (first_of[cell + 1] - start))]
        draw = uniform(state) * bound[cell, bin_]
        if draw >= 1:
            return 0, 0, 0, 0
        along, above = two(state)
        ux, uy, uz = aimed(bin_, along, above)
        x, y, z = place(state, quantiles, source, centres, voxel)
        at, way, share, n = scatters(
            state, (x, y, z), (ux, uy, uz), interacting[cell, bin_], body, free_path, tables, draw
        )
        if n == 0:
            return 0, 0, 0, 0
        first = crystal(
            state, quantiles, at[0], at[1], at[2], way[0], way[1], way[2],
            normals, tangents, counts, lengths, depth
        )  # fmt: skip
        if first < 0:
            return 0, 0, 0, 0
        share *= efficiencies[first]
        if share <= draw:
            return 0, 0, 0, 0
        within = interacting[cell, opposite[bin_]]
        at, way, other, m = scatters(
            state, (x, y, z), (-ux, -uy, -uz), within, body, free_path, tables, draw / share
        )
        if m == 0:
            return 0, 0, 0, 0
        second = crystal(
            state, quantiles, at[0], at[1], at[2], way[0], way[1], way[2],
            normals, tangents, counts, lengths, depth
        )  # fmt: skip
        if second < 0 or not allowed[first // per_head, second // per_head]:
            return 0, 0, 0, 0
        if share * efficiencies[second] * other <= draw:
            return 0, 0, 0, 0
        return min(first, second), max(first, second), 1, min(n + m, 255)

    return SimpleNamespace(
        turned=turned, scattered=scattered, leave=leave, scatters=scatters, one=follow_one, both=follow_both
    )


scattering = compile_scattering(numba.njit(**COUNTLESS), streams, following)
_one, _both = scattering.one, scattering.both


# Kernels of `decays` and `streams` are compiled into these: after an edit there, delete the compiled ones
# (csrd/virtual/__pycache__/*.nb?), because numba's cache watches only the file of the outermost function.
@numba.njit(cache=True, nogil=True)
def _follow_one(
    key, part, quantiles, centres, decays, voxel, cells, choice, body, free_path, tables, efficiencies,
    normals, tangents, allowed, counts, lengths, depth
):  # fmt: skip
    """Return the pairs (N, 2) uint32 of which one photon scattered, and how often, (N,) uint8."""
    state = np.zeros(STATE, np.uint64)
    pairs, times = np.empty((4096, 2), np.uint32), np.empty(4096, np.uint8)
    found = number = 0
    for source in range(len(centres)):
        for _ in range(decays[source]):
            begin(state, key, ONE_SCATTERS, part, number)
            number += 1
            first, second, copies, often = _one(
                state, quantiles, source, centres, voxel, cells, choice, body, free_path, tables,
                efficiencies, normals, tangents, allowed, counts, lengths, depth
            )  # fmt: skip
            for _ in range(copies):
                if found == len(pairs):
                    pairs, times = _longer(pairs, times)
                pairs[found, 0], pairs[found, 1] = first, second
                times[found] = often
                found += 1
    return pairs[:found].copy(), times[:found].copy()


@numba.njit(cache=True, nogil=True)
def _follow_both(
    key, part, quantiles, centres, decays, voxel, cells, choice, body, free_path, tables, efficiencies,
    normals, tangents, allowed, counts, lengths, depth
):  # fmt: skip
    """Return the pairs (N, 2) uint32 of which both photons scattered, and how often in all, (N,) uint8."""
    state = np.zeros(STATE, np.uint64)
    pairs, times = np.empty((4096, 2), np.uint32), np.empty(4096, np.uint8)
    found = number = 0
    for source in range(len(centres)):
        for _ in range(decays[source]):
            begin(state, key, BOTH_SCATTER, part, number)
            number += 1
            first, second, copies, often = _both(
                state, quantiles, source, centres, voxel, cells, choice, body, free_path, tables,
                efficiencies, normals, tangents, allowed, counts, lengths, depth
            )  # fmt: skip
            for _ in range(copies):
                if found == len(pairs):
                    pairs, times = _longer(pairs, times)
                pairs[found, 0], pairs[found, 1] = first, second
                times[found] = often
                found += 1
    return pairs[:found].copy(), times[:found].copy()


@numba.njit(cache=True)
def _longer(pairs, times):
    """Return the arrays with as much room again."""
    return np.concatenate((pairs, np.empty_like(pairs))), np.concatenate((times, np.empty_like(times)))

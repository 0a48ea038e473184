"""Directions from which a decay is likely to be recorded, by cell of the body.

Most decays are lost: a photon misses the detectors, or is attenuated in the body. For cells of the body
and bins of the sphere of directions a table bounds the probability that neither happens. Directions are
drawn in proportion to the bound, and a pair is accepted with the ratio of its exact probability to it, so
that the accepted pairs are the same Poisson process as if every decay were followed.
"""

import math
from dataclasses import dataclass

import numba
import numpy as np

CELL_MM = 16.0
AZIMUTHS, COSINES = 48, 32  # bins of equal solid angle
BINS = AZIMUTHS * COSINES
LEVELS = 32  # of a bound between 0 and 1, which is rounded up
TABLE_STEP_MM = 6.0
MARGIN_MM = 5.0  # beyond the crystals: positron range and blur
MIDDLE_COSINES = np.cos((np.arange(AZIMUTHS) + 0.5) * 2 * np.pi / AZIMUTHS)
MIDDLE_SINES = np.sin((np.arange(AZIMUTHS) + 0.5) * 2 * np.pi / AZIMUTHS)
SLACK = 0.02  # of a bound on ∫μ, besides the sampled lines


@dataclass(frozen=True)
class Choice:
    """Bins to draw directions from; a bin is listed as often as its bound is high."""

    entries: np.ndarray  # (E,) int16, the bins of all cells one after another
    first: np.ndarray  # (C + 1,) int64, where those of a cell begin
    bounds: np.ndarray  # (C, BINS) float32, the bounds as listed

    @classmethod
    def of(cls, bounds: np.ndarray) -> "Choice":
        """Return the choice for bounds (C, BINS) between 0 and 1, rounded up to multiples of 1 / LEVELS."""
        levels = np.ceil(bounds * LEVELS - 1e-6).astype(np.int64)
        entries = np.repeat(np.tile(np.arange(BINS, dtype=np.int16), len(levels)), levels.ravel())
        first = np.append(0, np.cumsum(levels.sum(axis=1)))
        return cls(entries, first, (levels / LEVELS).astype(np.float32))

    @property
    def fraction(self) -> np.ndarray:
        """Return the mean bound over all directions, (C,): the fraction of decays that must be drawn."""
        return np.diff(self.first) / (BINS * LEVELS)


@dataclass(frozen=True)
class Directions:
    """Cells of the body, and bounds on what a photon meets from there in each bin of directions."""

    cells: np.ndarray  # (V,) the cell of each voxel with activity
    least: np.ndarray  # (C, BINS) float32, lower bound on ∫μ from the cell outwards
    most: np.ndarray  # (C, BINS) float32, upper bound on the same
    reaches: np.ndarray  # (C, BINS) whether a photon can reach a crystal

    @classmethod
    def of(
        cls,
        centres: np.ndarray,
        voxel: np.ndarray,
        mu: tuple[np.ndarray, np.ndarray, np.ndarray],
        face_mm: float,
        length_mm: float,
    ) -> "Directions":
        """Return the table for voxels at `centres` (V, 3) in mm; `mu` is a map per mm, its corner and voxel.

        The scanner's crystals lie outside a cylinder of radius `face_mm`, within `length_mm` along the axis.
        """
        places = np.floor(centres / CELL_MM).astype(np.int64)
        low = places.min(axis=0)
        shape = places.max(axis=0) - low + 1
        keys, cells = np.unique(np.ravel_multi_index(tuple((places - low).T), shape), return_inverse=True)
        middle = (np.stack(np.unravel_index(keys, shape), axis=1) + low + 0.5) * CELL_MM
        half = CELL_MM / 2 + float(voxel.max()) / 2
        margin = length_mm / 2 + MARGIN_MM
        reaches = _reaching(middle, half, face_mm, margin)
        bounds = _bounds(middle, half, reaches, opposite_bins(), mu[0], mu[1], 1 / mu[2])
        return cls(cells.ravel(), bounds[0], bounds[1], reaches)

    def pairs(self) -> np.ndarray:
        """Return bounds on the probability that both photons reach crystals, (C, BINS)."""
        there = opposite_bins()
        return self.reaches * self.reaches[:, there] * np.exp(-self.least - self.least[:, there])


def opposite_bins() -> np.ndarray:
    """Return the bin opposite to each, (BINS,)."""
    cosine, azimuth = np.divmod(np.arange(BINS), AZIMUTHS)
    return (COSINES - 1 - cosine) * AZIMUTHS + (azimuth + AZIMUTHS // 2) % AZIMUTHS


def compile_aimed(jit):
    """Return `aimed`, compiled by `jit`: for the CPU here, for CUDA in `decays_cuda`."""

    @jit
    def aimed(bin_, along, above):
        """Return the direction in a bin at fractions of its azimuth and cosine."""
        azimuth = bin_ % AZIMUTHS
        turn = (2 * math.pi / AZIMUTHS) * (along - 0.5)  # from the bin's middle, small enough for a series
        square = turn * turn
        cosine, sine = 1 - square / 2 * (1 - square / 12), turn * (1 - square / 6 * (1 - square / 20))
        uz = (2 / COSINES) * (bin_ // AZIMUTHS + above) - 1
        across = math.sqrt(1 - uz * uz)
        return (
            across * (MIDDLE_COSINES[azimuth] * cosine - MIDDLE_SINES[azimuth] * sine),
            across * (MIDDLE_SINES[azimuth] * cosine + MIDDLE_COSINES[azimuth] * sine),
            uz,
        )

    return aimed


_aimed = compile_aimed(numba.njit(cache=True, inline="always"))


@numba.njit(cache=True, nogil=True)
def _reaching(centres, half, face, margin):
    """Return whether photons from cells at `centres` (C, 3), ±`half` mm, can reach crystals, (C, BINS)."""
    reaches = np.empty((len(centres), BINS), np.bool_)
    for cell in range(len(centres)):
        x, y, z = centres[cell]
        for azimuth in range(AZIMUTHS):
            near, far = 1e9, 0.0  # across the axis to the cylinder of the crystals' faces
            for turn in range(3):
                angle = 2 * math.pi * (azimuth + turn / 2) / AZIMUTHS
                for corner in range(4):
                    to = _to_circle(
                        x + (half if corner & 1 else -half), y + (half if corner & 2 else -half), angle, face
                    )
                    near, far = min(near, to - 1), max(far, to + 1)
            for cosine in range(COSINES):
                low, high = _slope(cosine), _slope(cosine + 1)
                reaches[cell, cosine * AZIMUTHS + azimuth] = (
                    min(near * low, far * low) + z - half < margin
                    and max(near * high, far * high) + z + half > -margin
                )
    return reaches


@numba.njit(cache=True, nogil=True)
def _bounds(centres, half, reaches, opposite, mu, origin, per_mm):
    """Return least and most of `Directions`, from five lines, or one where no photon reaches crystals."""
    least = np.empty(reaches.shape, np.float32)
    most = np.empty_like(least)
    away = 0.6 * half
    for cell in range(len(centres)):
        x, y, z = centres[cell]
        for bin_ in range(BINS):
            low, high = 1e9, 0.0
            for line in range(5 if reaches[cell, bin_] or reaches[cell, opposite[bin_]] else 1):
                along = 0.5 * ((line == 1) - (line == 2))  # from the bin's middle
                above = 0.5 * ((line == 3) - (line == 4))
                ux, uy, uz = _aimed(bin_, 0.5 + along, 0.5 + 0.99 * above)
                across = math.sqrt(1 - uz * uz)
                side, rise = 2 * along * away / across, 2 * above * away
                path = _thickness(
                    x - side * uy - rise * uz * ux / across,
                    y + side * ux - rise * uz * uy / across,
                    z + rise * across, ux, uy, uz, mu, origin, per_mm
                )  # fmt: skip
                low, high = min(low, path), max(high, path)
            least[cell, bin_], most[cell, bin_] = max(low - SLACK, 0.0), high + SLACK
    return least, most


@numba.njit(cache=True)
def _slope(edge):
    """Return the rise along the axis over the way across it, at an edge between bins of the cosine."""
    cosine = 2 * edge / COSINES - 1
    return cosine / math.sqrt(max(1 - cosine * cosine, 1e-6))


@numba.njit(cache=True)
def _to_circle(x, y, angle, radius):
    """Return the way from a point inside a circle to it, in the direction of the angle."""
    along = x * math.cos(angle) + y * math.sin(angle)
    return -along + math.sqrt(max(along * along + radius * radius - x * x - y * y, 0.0))


@numba.njit(cache=True)
def _thickness(x, y, z, ux, uy, uz, mu, origin, per_mm):
    """Return ∫μ from a point outwards."""
    total, step = 0.0, TABLE_STEP_MM
    x, y, z = (x - origin[0]) * per_mm[0], (y - origin[1]) * per_mm[1], (z - origin[2]) * per_mm[2]
    dx, dy, dz = step * ux * per_mm[0], step * uy * per_mm[1], step * uz * per_mm[2]
    i, j, k = x + dx / 2, y + dy / 2, z + dz / 2
    while 0 <= i < mu.shape[0] and 0 <= j < mu.shape[1] and 0 <= k < mu.shape[2]:
        total += mu[int(i), int(j), int(k)]
        i, j, k = i + dx, j + dy, k + dz
    return total * step

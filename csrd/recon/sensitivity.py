"""The sensitivity image: the sum over all lines of the detected decays in a voxel.

The geometric part is exact. All 4.5e9 lines of the HRRT would take hours one by one, but lines that
differ only by a shift along the axis leave the same trace, shifted; so a family of them is projected
at once, as a running sum along z. Sampling lines instead leaves noise or, smoothed, loses the cusps and
lattices that a scanner of flat heads really has, and OSEM turns both into rings and hot axes.
What a subject changes (attenuation, efficiencies) is smooth, and comes from a random sample of lines.
"""

import math
from collections.abc import Iterable

import numba
import numpy as np
from scipy.ndimage import gaussian_filter

from csrd.io.volume import Volume, centred_affine
from csrd.progress import progress
from csrd.recon.corrections import attenuation_factors
from csrd.recon.osem import projector_on
from csrd.scanner import projector
from csrd.scanner.geometry import Scanner
from csrd.scanner.projector import PRIVATE_IMAGES
from csrd.scanner.response import detection_factors, line_factors
from csrd.seeds import generator

UNIT = "mm3"  # Σ over lines of g (mm²) times length in the voxel (mm)
LINES_AT_A_TIME = 1_000_000
PARTS_OF_A_VOXEL = 6  # along z, where the voxel is not a multiple of a part of the pitch
RATIO_SIGMA_VOXELS = 1.0  # wider blurs the head's edge, narrower leaves the sample's noise


def geometric_sensitivity(scanner: Scanner, shape: tuple[int, ...], voxel_mm: float) -> Volume:
    """Return Σ_i g_i A_ij over all lines i, on a grid centred in the scanner, in mm³.

    g is `scanner.response.line_factors`; A is Joseph's. Exact where the voxel divides the pitch of
    the rings or is a multiple of it; otherwise gathered from a finer grid along z, within 2 %.
    """
    finer, slices = _finer_slices(scanner.ring_pitch_mm, voxel_mm, shape[2])
    voxel_z = scanner.ring_pitch_mm / finer
    voxel = np.array([voxel_mm, voxel_mm, voxel_z])
    pairs, multiplicity, flips = _representative_pairs(scanner)
    images = np.zeros((PRIVATE_IMAGES, shape[0], shape[1], slices))
    for pair, times in progress(list(zip(pairs, multiplicity, strict=True)), "geometric sensitivity"):
        _trace_pair(scanner, pair, times, voxel, finer, images)
    half = images.sum(axis=0)
    # Each family was written as +, − at its two ends: running sums along z, `finer` slices apart
    for offset in range(finer):
        half[:, :, offset::finer] = np.cumsum(half[:, :, offset::finer], axis=2)
    # Lines with the opposite ring difference are the mirror images
    total = half + half[:, :, ::-1]
    total = np.mean([np.flip(total, flip) for flip in flips], axis=0)
    return Volume(_gathered(total, voxel_z, shape[2], voxel_mm), centred_affine(shape, voxel_mm), UNIT)


def subject_sensitivity(
    scanner: Scanner,
    geometric: Volume,
    mumap: Volume,
    efficiencies: np.ndarray,
    lines: int,
    seed: int,
    subject: str,
    device: str = "cpu",
) -> Volume:
    """Return Σ_i g_i a_i ε_i A_ij, on the grid of `geometric`, in mm³.

    a is the attenuation by `mumap` (1/cm, on an upright grid), ε the product of both crystals' `efficiencies`
    (C,). `geometric` is multiplied by the smoothed ratio of two sums over the same random lines, in
    which most of the sample's noise cancels. `device` is that of `osem.projector_on`.
    """
    draw = generator(seed, "sensitivity", subject)
    numbers = progress([LINES_AT_A_TIME] * max(1, round(lines / LINES_AT_A_TIME)), f"{subject} sensitivity")
    chunks = (random_lines(draw, number, scanner) for number in numbers)
    if projector_on(device) is projector:
        full, plain = _sums(chunks, scanner, geometric, mumap, efficiencies)
    else:
        from csrd.recon.lines_cuda import DeviceLines, sensitivity_sums

        full, plain = sensitivity_sums(chunks, DeviceLines(scanner, mumap, efficiencies), geometric)
    full, plain = (gaussian_filter(image, RATIO_SIGMA_VOXELS, mode="nearest") for image in (full, plain))
    ratio = np.divide(full, plain, out=np.zeros_like(full), where=plain > 0)
    return geometric.like((geometric.array * ratio).astype(np.float32))


def _sums(
    chunks: Iterable[np.ndarray], scanner: Scanner, grid: Volume, mumap: Volume, efficiencies: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return Σ g a ε A and Σ g A over lines between crystals (N, 2) in chunks, (X, Y, Z) float64."""
    origin, voxel, positions = grid.affine[:3, 3], grid.voxel_mm, scanner.crystal_positions
    full, plain = np.zeros(grid.shape), np.zeros(grid.shape)
    for crystals in chunks:
        crystals = crystals[scanner.neighbours_first(crystals)]
        starts, ends = positions[crystals[:, 0]], positions[crystals[:, 1]]
        weights = attenuation_factors(mumap, starts, ends) * efficiencies[crystals].prod(axis=1)
        weights *= detection_factors(scanner, crystals)
        plain += projector.back(line_factors(scanner, crystals), origin, voxel, starts, ends, grid.shape)
        full += projector.back(weights, origin, voxel, starts, ends, grid.shape)
    return full, plain


def random_lines(draw: np.random.Generator, number: int, scanner: Scanner) -> np.ndarray:
    """Return the crystals of random lines, all lines of the scanner being equally likely, (N, 2).

    N is `number` but for pairs of too large a ring difference, which are left out.
    """
    pairs = scanner.head_pairs[draw.integers(len(scanner.head_pairs), size=number)]
    lines = pairs * scanner.crystals_per_head + draw.integers(scanner.crystals_per_head, size=(number, 2))
    return lines[scanner.in_reach(lines)]


def _finer_slices(pitch_mm: float, voxel_mm: float, slices: int) -> tuple[int, int]:
    """Return into how many parts the pitch of the rings is cut along z, and how many such slices to trace.

    Where the voxel is a multiple of the parts, its slices' centres are among the finer ones'. Elsewhere the
    planes of the rings, and those half way between, are: near the axis all lines cross there, and traces on
    both sides of such planes would leave axial bands of several per cent in place of the true ones.
    """
    finer = max(1, math.ceil(pitch_mm / voxel_mm - 1e-6))
    ratio = voxel_mm * finer / pitch_mm
    if math.isclose(ratio, round(ratio)):
        traced = slices if round(ratio) == 1 else math.ceil((slices + 1) * ratio)
        return finer, traced + (traced - 1 - round((slices - 1) * ratio)) % 2
    finer = 2 * math.ceil(PARTS_OF_A_VOXEL / 2 * pitch_mm / voxel_mm)
    return finer, math.ceil((slices + 1) * voxel_mm * finer / pitch_mm) // 2 * 2 + 1


def _gathered(image: np.ndarray, spacing: float, slices: int, wanted: float) -> np.ndarray:
    """Return the sums over slices of `spacing` mm weighted by the hat functions of slices `wanted` mm apart.

    Joseph's voxel weighs a line by a hat along z. A hat is a sum of narrower hats: exactly where the
    spacings divide, closely otherwise.
    """
    fine = (np.arange(image.shape[2]) - (image.shape[2] - 1) / 2) * spacing
    centres = (np.arange(slices) - (slices - 1) / 2) * wanted
    hats = np.maximum(0, 1 - abs(fine[:, None] - centres) / wanted)
    return (image @ hats).astype(np.float32)


def _representative_pairs(scanner: Scanner) -> tuple[np.ndarray, np.ndarray, list[tuple[int, ...]]]:
    """Return head pairs of which all others are mirror images, the number each represents, and the mirrors.

    Mirrors are flips of the x and y axes under which the heads map onto themselves; without such a
    symmetry every pair represents itself.
    """
    flips = [(), (0,), (1,), (0, 1)]
    maps = []
    for flip in flips:
        mirrored = scanner.head_normals.copy()
        mirrored[:, flip] *= -1
        distance = np.linalg.norm(mirrored[:, None] - scanner.head_normals[None], axis=2)
        if distance.min(axis=1).max() > 1e-6:
            return scanner.head_pairs, np.ones(len(scanner.head_pairs)), [()]
        maps.append(distance.argmin(axis=1))
    orbits = [min(tuple(sorted(to[pair])) for to in maps) for pair in scanner.head_pairs]
    pairs, multiplicity = np.unique(orbits, axis=0, return_counts=True)
    return pairs, multiplicity, flips


def _trace_pair(
    scanner: Scanner, pair: np.ndarray, times: float, voxel: np.ndarray, finer: int, images: np.ndarray
) -> None:
    """Add the traces of `times` g A of the lines of two heads with ring difference ≥ 0 (0 counted half)."""
    per_layer = scanner.rings * scanner.columns
    first = np.arange(scanner.layers * scanner.columns)
    within = first // scanner.columns * per_layer + first % scanner.columns  # ring 0 of each layer
    a, b = (head * scanner.crystals_per_head + within for head in pair)
    lines = np.stack(np.meshgrid(a, b, indexing="ij"), axis=-1).reshape(-1, 2)
    weights = times * _family_weights(scanner, lines)
    positions = scanner.crystal_positions.astype(np.float64)
    origin = -(np.array(images.shape[1:]) - 1) / 2 * voxel
    first_ring = -(scanner.rings - 1) / 2 * scanner.ring_pitch_mm
    ends = positions[lines[:, 0], :2], positions[lines[:, 1], :2]
    _trace_families(*ends, weights, origin, voxel, first_ring, scanner.ring_pitch_mm, finer, images)


def _family_weights(scanner: Scanner, lines: np.ndarray) -> np.ndarray:
    """Return g times 3D length for each transaxial line and ring difference, (N, rings), in mm³."""
    weights = np.zeros((len(lines), scanner.rings))
    positions = scanner.crystal_positions
    for difference in range(min(scanner.rings, scanner.max_ring_difference + 1)):
        tilted = lines + np.array([0, difference * scanner.columns])
        length = np.linalg.norm(positions[tilted[:, 1]] - positions[tilted[:, 0]], axis=1)
        weights[:, difference] = line_factors(scanner, tilted) * length
    weights[:, 0] /= 2
    return weights


@numba.njit(parallel=True, cache=True)
def _trace_families(starts, ends, weights, origin, voxel, first_ring, pitch, finer, images):
    """Write the two ends along z of every family's trace into private images (parts, X, Y, Z).

    Joseph's main axis is the steeper of x and y. Rings r and r + d of a family, r = 0 … rings − 1 − d,
    cross a plane at z(r) = z(0) + r·pitch: `finer` voxels apart, hence equal weights in z.
    """
    parts, lines, rings = len(images), len(starts), weights.shape[1]
    for part in numba.prange(parts):
        image = images[part]
        for i in range(part, lines, parts):
            u = 0 if abs(ends[i, 0] - starts[i, 0]) >= abs(ends[i, 1] - starts[i, 1]) else 1
            v = 1 - u
            du, dv = ends[i, u] - starts[i, u], ends[i, v] - starts[i, v]
            step = voxel[u] / abs(du)
            for k in range(image.shape[u]):
                t = (origin[u] + k * voxel[u] - starts[i, u]) / du
                at = (starts[i, v] + t * dv - origin[v]) / voxel[v]
                if t < 0 or t > 1 or at <= -1 or at >= image.shape[v]:
                    continue
                low = math.floor(at)
                share = at - low
                for corner in range(2):
                    j = low + corner
                    if j < 0 or j >= image.shape[v]:
                        continue
                    row = image[k, j] if u == 0 else image[j, k]
                    here = step * (share if corner == 1 else 1 - share)
                    for d in range(rings):
                        _trace(row, here * weights[i, d], (first_ring + t * d * pitch - origin[2]) / voxel[2],
                               rings - d, finer)  # fmt: skip


@numba.njit(cache=True, inline="always")
def _trace(row, weight, start, number, finer):
    """Add `weight` at z = start, start + finer, … (`number` times), as differences for a running sum."""
    low = math.floor(start)
    share = start - low
    _difference(row, weight * (1 - share), low, number, finer)
    _difference(row, weight * share, low + 1, number, finer)


@numba.njit(cache=True, inline="always")
def _difference(row, weight, first, number, finer):
    end = first + number * finer
    if first < 0:
        first = first % finer  # the first slice of this family inside the image
    if first < len(row) and end > first:
        row[first] += weight
        if end < len(row):
            row[end] -= weight

"""Scatter estimated from activity and μ-map: single-scatter simulation (Watson 2000; Ollinger 1996).

Photon pairs of which one is scattered once are summed over points of a coarse grid in the body, for
pairs of points on a coarse grid over the heads. What lies between is interpolated, since scatter is
smooth. Multiple scatter is a part of what single scatter loses to attenuation: of the photons that
scatter a further time on their way, the energy window accepts a known fraction (`accepted_again`).
"""

import math
from functools import cache
from types import ModuleType

import numpy as np
from scipy.interpolate import make_interp_spline
from scipy.ndimage import binary_dilation, gaussian_filter

from csrd.io.volume import Volume
from csrd.recon import scatter_sums
from csrd.recon.corrections import Prompts
from csrd.recon.osem import osem, projector_on
from csrd.recon.sensitivity import random_lines
from csrd.resample import resample
from csrd.scanner import projector
from csrd.scanner.compton import (
    attenuation_table,
    cross_section,
    klein_nishina,
    scattered_energy,
    window_table,
)
from csrd.scanner.geometry import Scanner
from csrd.scanner.response import detection_factors, line_factors
from csrd.seeds import generator

POINT_MM = 17.0  # edge of the cubes that scatter as a whole
NODE_MM = 36.0  # at most between the coarse grid's points on a head
FINER = 2  # parts into which a spline divides the distance between them
WATER = 0.096  # 1/cm
MARGIN_MM = 4.0  # around the body that images of it are blurred into
COSINES = 2048  # in the table of the scattering law
ROUNDS = 2  # images from which scatter is estimated, each corrected by the estimate before
SUBSETS = 8  # of their single iteration
EVENTS = 1_500_000  # at most, that such an image is made of: line integrals need no more
LINES = 1_000_000  # random ones, behind the total


def estimate(
    prompts: Prompts,
    mumap: Volume,
    efficiencies: np.ndarray,
    sensitivity: Volume,
    scanner: Scanner,
    drf: float,
    seed: int,
    subject: str,
    device: str = "cpu",
) -> tuple[np.ndarray, float]:
    """Return the scatter of a scan, a table (P, L, R, C, L, R, C) for `expected`, and the scatter fraction.

    The table is that of the normal dose, between perfect crystals. Its shape comes from an image of some
    of the prompts, made once without scatter and once with the first estimate, with activity in the body
    only. Its scale makes the trues and the scatter of that image together the prompts less the randoms.
    The μ-map may be wider than the sensitivity, as with coil and table.
    """
    within = resample(mumap, sensitivity).array > WATER / 4
    if not within.any():
        return np.zeros(table_shape(scanner), np.float32), 0.0
    body = binary_dilation(within, iterations=math.ceil(MARGIN_MM / sensitivity.voxel_mm.min()))
    crystals, share = prompts.crystals, sensitivity.like(sensitivity.array * body * prompts.exposure)
    lines = random_lines(generator(seed, "scatter", subject), LINES, scanner)
    all_lines = len(scanner.head_pairs) * scanner.crystals_per_head**2 / LINES
    table, fraction, scatter = np.zeros(0), 0.0, None
    for _ in range(ROUNDS):
        draw = generator(seed, "scatter image", subject, drf)
        part = share.like(share.array / prompts.every)
        image = osem(crystals, prompts.additive(scatter), part, scanner, None, SUBSETS, 1, draw, device)
        activity = resample(sensitivity.like(image * (prompts.exposure * drf)), mumap)
        table = finer(scatter_table(activity, mumap, scanner, device=device))
        trues = float((share.array * image).sum(dtype=np.float64))
        scattered = (
            expected(table, lines, efficiencies, scanner, device).sum(dtype=np.float64) * all_lines / drf
        )
        if trues + scattered == 0:
            return np.zeros_like(table), 0.0
        fraction = scattered / (trues + scattered)
        table *= np.float32(prompts.emitted / (trues + scattered))
        scatter = expected(table, crystals, efficiencies, scanner, device) / np.float32(drf)
    return table, float(fraction)


def expected(
    table: np.ndarray, crystals: np.ndarray, efficiencies: np.ndarray, scanner: Scanner, device: str = "cpu"
) -> np.ndarray:
    """Return the scatter on lines between `crystals` (N, 2) in the normal dose's scan, (N,) float32.

    Of each line the lower crystal is the first, as in every list-mode file.
    """
    values = at_lines(table, crystals, scanner, device)
    values *= efficiencies[crystals[:, 0]] * efficiencies[crystals[:, 1]]
    if scanner.measured_factors is not None:
        values *= detection_factors(scanner, crystals) / line_factors(scanner, crystals)
    return values


def scatter_table(
    activity: Volume, mumap: Volume, scanner: Scanner, multiple: bool = True, device: str = "cpu"
) -> np.ndarray:
    """Return the scattered pairs on lines between perfect crystals, (P, L, R, C, L, R, C) float32.

    The axes are the pair of heads, then layer, ring and column of either end on the coarse grid
    (`node_grid`). `activity` is in decays/mm³, `mumap` in 1/cm, on one grid. For points S of volume V:

        Σ_S μ V p(θ) w(θ)/2π · G_a G_b · [e^(−m_a − m_b r) ∫λ dl_a + e^(−m_a r − m_b) ∫λ dl_b]

    with p the law of Klein and Nishina over its integral, w(θ) the chance that the energy window accepts
    the scattered photon, G = A cosα P / R² a crystal's solid angle times its chance of stopping the photon,
    m the integrals of μ from S, and r(θ) the ratio of attenuation at the scattered energy. That is single
    scatter. With `multiple` the scattered photon's m r is lowered by the fraction of its further scatterings
    that are recorded, and the other photon's m by half of its (the pair is counted from both ends); what
    that adds is spread as far as photons are turned.
    """
    single = _table(activity, mumap, scanner, 0.0, 0.0, device)
    if not multiple:
        return single
    again, other, turn = accepted_again(scanner)
    more = _table(activity, mumap, scanner, again, other, device) - single
    sigma = turn * scanner.face_radius_mm / math.sqrt(2)  # one end is turned; here both are, by less
    pitches = scanner.ring_pitch_mm, scanner.pitch_mm
    width = [
        sigma / max((nodes[1] - nodes[0]) * pitch, 1e-3)
        for nodes, pitch in zip(node_grid(scanner), pitches, strict=True)
    ]
    return single + gaussian_filter(more, (0, 0, *width, 0, *width), mode="reflect")


def _table(
    activity: Volume, mumap: Volume, scanner: Scanner, again: float, other: float, device: str
) -> np.ndarray:
    """Return what `scatter_table` does, with fractions of further scatterings that are recorded."""
    points, weights = scatter_points(mumap)
    rings, columns = node_grid(scanner)
    nodes = _nodes(scanner, rings, columns)  # (H, L, nodes, 3)
    middle = nodes.mean(axis=1).reshape(-1, 3)
    geometry = _solid_angles(scanner, nodes, points)
    path = np.repeat(points, len(middle), axis=0), np.tile(middle, (len(points), 1))
    shape = len(points), len(middle)
    grid = mumap.affine[:3, 3], mumap.voxel_mm
    forward = projector_on(device).forward
    depth = forward(mumap.array / 10, *grid, *path).reshape(shape).T
    source = forward(activity.array, *grid, *path).reshape(shape).T
    way = middle[:, None] - points
    way /= np.linalg.norm(way, axis=2, keepdims=True)
    found = sums_on(device).pair_sums(
        scanner.head_pairs,
        len(rings) * len(columns),
        np.ascontiguousarray(way.transpose(2, 0, 1), np.float32),
        np.ascontiguousarray(geometry * np.exp(-depth), np.float32),
        np.ascontiguousarray(depth),
        np.ascontiguousarray(source * np.exp(other / 2 * depth)),
        (weights / (2 * math.pi)).astype(np.float32),
        *_law(scanner, again),
    )
    end = scanner.layers, len(rings), len(columns)
    return found.reshape(len(scanner.head_pairs), *end, *end)


def scatter_points(mumap: Volume) -> tuple[np.ndarray, np.ndarray]:
    """Return the centres (N, 3) in mm of cubes of the body, and their μ times volume (N,) in mm²."""
    inside = np.argwhere(mumap.array > WATER / 4)
    centres = inside @ mumap.affine[:3, :3].T + mumap.affine[:3, 3]
    weights = mumap.array[tuple(inside.T)] / 10 * mumap.voxel_mm.prod()
    _, member = np.unique(np.floor(centres / POINT_MM), axis=0, return_inverse=True)
    totals = np.bincount(member.ravel(), weights)
    sums = [np.bincount(member.ravel(), weights * centres[:, axis]) for axis in range(3)]
    return np.stack(sums, axis=1) / totals[:, None], totals


def node_grid(scanner: Scanner) -> tuple[np.ndarray, np.ndarray]:
    """Return the rings and the columns of the coarse grid on a head, in crystals, first and last included."""
    extents = (scanner.rings, scanner.ring_pitch_mm), (scanner.columns, scanner.pitch_mm)
    rings, columns = (
        np.linspace(0, number - 1, 1 + math.ceil((number - 1) * pitch / NODE_MM)) for number, pitch in extents
    )
    return rings, columns


def table_shape(scanner: Scanner) -> tuple[int, ...]:
    """Return the shape of a table that `estimate` returns."""
    end = scanner.layers, *(FINER * (len(nodes) - 1) + 1 for nodes in node_grid(scanner))
    return len(scanner.head_pairs), *end, *end


def _nodes(scanner: Scanner, rings: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the coarse grid's places in mm, (H, L, nodes, 3)."""
    along = (rings - (scanner.rings - 1) / 2) * scanner.ring_pitch_mm
    across = (columns - (scanner.columns - 1) / 2) * scanner.pitch_mm
    radii = scanner.face_radius_mm + scanner.interaction_depths_mm
    nodes = np.zeros((scanner.heads, scanner.layers, len(rings), len(columns), 3))
    nodes += radii[None, :, None, None, None] * scanner.head_normals[:, None, None, None, :]
    nodes += across[:, None] * scanner.head_tangents[:, None, None, None, :]
    nodes[..., 2] += along[:, None]
    return nodes.reshape(scanner.heads, scanner.layers, -1, 3)


def _solid_angles(scanner: Scanner, nodes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the solid angle of a crystal at a node times its chance of stopping, (L, H · nodes, N)."""
    way = nodes[:, :, :, None] - points
    distance = np.linalg.norm(way, axis=4)
    cosine = np.abs((way * scanner.head_normals[:, None, None, None]).sum(axis=4)) / distance
    survive = np.exp(-scanner.mu_per_mm * scanner.layer_mm / np.maximum(cosine, 1e-3))
    stop = survive ** np.arange(scanner.layers)[:, None, None] * (1 - survive)
    angles = scanner.pitch_mm * scanner.ring_pitch_mm * cosine / distance**2 * stop
    return angles.swapaxes(0, 1).reshape(scanner.layers, -1, len(points))


@cache
def accepted_again(scanner: Scanner) -> tuple[float, float, float]:
    """Return the fractions of further scatterings after which a photon is still recorded, and its turn.

    The first is of photons that scattered once and would have been recorded then; the second of photons
    that had not scattered. The turn is the tangent's root mean square across the first direction, per axis.
    Recorded means accepted by the energy window and still heading for a crystal,
    which is worked out for photons from the scanner's centre.
    """
    cosines = np.linspace(-1, 1, 401)
    once, energies = _chances(cosines, 511.0), scattered_energy(cosines)
    twice = _chances(cosines, energies[:, None]) * _accepted(
        scattered_energy(cosines, energies[:, None]), scanner
    )
    once_accepted, kept = once * _accepted(energies, scanner), _kept_within(cosines, scanner)
    second = (once[:, None] * twice).sum(axis=0) * kept
    ahead = cosines > 0.2  # farther photons are turned no further than the head is wide
    tangents = (1 / cosines[ahead] ** 2 - 1) / 2
    turn = math.sqrt((second[ahead] * tangents).sum() / second[ahead].sum())
    return float(second.sum() / once_accepted.sum()), float((once_accepted * kept).sum()), turn


def _kept_within(cosines: np.ndarray, scanner: Scanner) -> np.ndarray:
    """Return the chances that a photon that heads for a crystal still does after a turn, by its cosine."""
    half = scanner.rings * scanner.ring_pitch_mm / 2
    steepest = half / math.hypot(half, scanner.face_radius_mm)
    before = np.linspace(-steepest, steepest, 101)[:, None]
    azimuths = np.cos((np.arange(90) + 0.5) * np.pi / 90)
    turn = np.sqrt(1 - before**2) * azimuths
    kept = [abs(before * c + turn * math.sqrt(1 - c * c)) < steepest for c in cosines.tolist()]
    side = 2 * math.tan(math.pi / scanner.heads) * scanner.face_radius_mm  # of the polygon of heads
    return np.mean(kept, axis=(1, 2)) * min(1.0, scanner.columns * scanner.pitch_mm / side)


def _chances(cosines: np.ndarray, energy) -> np.ndarray:
    """Return the chances of equidistant cosines when a photon of an energy is scattered; their sum is 1."""
    chances = klein_nishina(cosines, energy)
    return chances / chances.sum(axis=-1, keepdims=True)


def _accepted(energies: np.ndarray, scanner: Scanner) -> np.ndarray:
    """Return the energy window's chances at the energies (see `window_table`)."""
    return np.interp(energies, np.arange(512), window_table(scanner))


def _law(scanner: Scanner, again: float) -> tuple[np.ndarray, np.ndarray]:
    """Return, by cosine from -1 to 1, p(θ) w(θ) per sr, and r(θ) (1 − `again`) − 1."""
    cosines = np.linspace(-1, 1, COSINES)
    energies = scattered_energy(cosines)
    ratio = np.interp(energies, np.arange(512), attenuation_table())
    chance = klein_nishina(cosines) / cross_section(511.0) * _accepted(energies, scanner)
    return chance.astype(np.float32), (ratio * (1 - again) - 1).astype(np.float32)


def at_lines(table: np.ndarray, crystals: np.ndarray, scanner: Scanner, device: str = "cpu") -> np.ndarray:
    """Return the value of a table (P, L, R, C, L, R, C) on lines between `crystals` (N, 2), (N,) float32.

    Linear between its points. Lines of heads that are not in coincidence have 0.
    """
    pair_of = np.full((scanner.heads, scanner.heads), -1, np.int64)
    pair_of[tuple(scanner.head_pairs.T)] = np.arange(len(scanner.head_pairs))
    counts = scanner.layers, scanner.rings, scanner.columns
    return sums_on(device).at_lines(table, np.ascontiguousarray(crystals), pair_of, *counts)


def sums_on(device: str) -> ModuleType:
    """Return the sums for a device of `projector_on`."""
    if projector_on(device) is projector:
        return scatter_sums
    from csrd.recon import scatter_cuda

    return scatter_cuda


def finer(table: np.ndarray) -> np.ndarray:
    """Return the table with FINER times the points along rings and columns, by cubic splines.

    A spline is a sum of the points' values with weights, which are rounded, and added one by one: a
    library's product of matrices has other last bits on another processor, and so would every image.
    """
    for axis in (2, 3, 5, 6):
        values = np.moveaxis(table, axis, 0).astype(np.float64)
        rows = _spline_weights(len(values))
        table = np.stack([sum(w * value for w, value in zip(row, values, strict=True)) for row in rows], axis)
    return np.maximum(table, 0).astype(np.float32)


def _spline_weights(points: int) -> np.ndarray:
    """Return the weights of `points` values in those of the finer grid, (finer, points)."""
    degree = min(3, points - 1)
    if degree == 0:
        return np.ones((1, 1))
    between = np.linspace(0, points - 1, FINER * (points - 1) + 1)
    spline = make_interp_spline(np.arange(points), np.eye(points), degree - 1 + degree % 2)
    return spline(between).round(12)

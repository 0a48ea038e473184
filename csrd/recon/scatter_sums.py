"""Sums of the scatter estimate: over points for a pair of nodes, and between nodes for a line.

One inner loop each, compiled for the CPU here and for CUDA in `scatter_cuda`. Every compiled loop is in
this file, because numba's cache on disk notices changes of a kernel's own file only.
"""

from types import SimpleNamespace

import numba
import numpy as np


def compile_scatter_loops(jit):
    """Return `add_points` and `at_line`, compiled by `jit`."""

    @jit
    def exponential(x):
        """Return eˣ for |x| < 1, within 1 %; within 1e-4 for |x| < 0.4."""
        one = np.float32(1)
        return one + x * (one + x * (np.float32(0.5) + x * (np.float32(1 / 6) + x * np.float32(1 / 24))))

    @jit
    def add_points(sums, pair, first, second, a, b, way, weight, depth, source, scatter, chance, extra):
        """Add all points' scatter between nodes a and b to sums[pair, :, first, :, second]."""
        layers, points = weight.shape[0], scatter.shape[0]
        half, one = np.float32((chance.shape[0] - 1) / 2), np.float32(1)
        for s in range(points):
            # Photons leave s towards a and, unless scattered, away from a: the angle is that of −a and b
            cosine = -(
                way[0, a, s] * way[0, b, s] + way[1, a, s] * way[1, b, s] + way[2, a, s] * way[2, b, s]
            )
            at = np.int32((cosine + one) * half + np.float32(0.5))
            law = chance[at] * scatter[s]
            if law == 0:
                continue
            more = extra[at]
            both = law * (
                source[a, s] * exponential(-depth[b, s] * more)
                + source[b, s] * exponential(-depth[a, s] * more)
            )
            for i in range(layers):
                for j in range(layers):
                    sums[pair, i, first, j, second] += both * weight[i, a, s] * weight[j, b, s]

    @jit
    def place(crystal, rings, columns, rows, places):
        """Return a crystal's layer, the table's row and place before it, and how far it lies behind them."""
        ring, column = crystal // columns % rings, crystal % columns
        at_row, at_place = ring * (rows - 1) / max(rings - 1, 1), column * (places - 1) / max(columns - 1, 1)
        row, at = min(int(at_row), rows - 2), min(int(at_place), places - 2)
        return crystal // (rings * columns), row, np.float32(at_row - row), at, np.float32(at_place - at)

    @jit
    def at_line(table, first, second, pair_of, layers, rings, columns):
        """Return the table's value on the line between two crystals, linear between its points."""
        per_head = layers * rings * columns
        pair = pair_of[first // per_head, second // per_head]
        total = np.float32(0)
        if pair < 0:
            return total
        rows, places = table.shape[2], table.shape[3]
        la, ra, fra, ca, fca = place(first % per_head, rings, columns, rows, places)
        lb, rb, frb, cb, fcb = place(second % per_head, rings, columns, rows, places)
        one = np.float32(1)
        for corner in range(4):
            j, k = corner // 2, corner % 2
            share = (fra if j else one - fra) * (fca if k else one - fca)
            row, at = ra + j, ca + k
            value = table[pair, la, row, at, lb, rb, cb]
            near = value + fcb * (table[pair, la, row, at, lb, rb, cb + 1] - value)
            value = table[pair, la, row, at, lb, rb + 1, cb]
            far = value + fcb * (table[pair, la, row, at, lb, rb + 1, cb + 1] - value)
            total += share * (near + frb * (far - near))
        return total

    return SimpleNamespace(add_points=add_points, at_line=at_line)


_loops = compile_scatter_loops(numba.njit(cache=True, fastmath={"contract", "nsz"}))
_add_points, _at_line = _loops.add_points, _loops.at_line


@numba.njit(parallel=True, cache=True)
def _pair_sums(sums, pairs, nodes, way, weight, depth, source, scatter, chance, extra):
    for job in numba.prange(len(pairs) * nodes):
        pair, first = job // nodes, job % nodes
        a = pairs[pair, 0] * nodes + first
        for second in range(nodes):
            b = pairs[pair, 1] * nodes + second
            _add_points(sums, pair, first, second, a, b, way, weight, depth, source, scatter, chance, extra)


@numba.njit(parallel=True, cache=True)
def _at_lines(table, crystals, pair_of, layers, rings, columns, values):
    for i in numba.prange(len(crystals)):
        values[i] = _at_line(table, crystals[i, 0], crystals[i, 1], pair_of, layers, rings, columns)


def pair_sums(pairs, nodes, way, weight, depth, source, scatter, chance, extra) -> np.ndarray:
    """Return the sums over points for every pair of nodes, (P, L, nodes, L, nodes) float32.

    `pairs` (P, 2) are heads, each with `nodes` nodes; `way` (3, H · nodes, S) the directions from points to
    nodes, `weight` (L, H · nodes, S) a node's solid angle and attenuation, `depth` and `source`
    (H · nodes, S) the integrals of μ and activity, `scatter` (S,) the points' weight; `chance` and `extra`
    are functions of the cosine, tabulated from -1 to 1. All float32.
    """
    layers = weight.shape[0]
    sums = np.zeros((len(pairs), layers, nodes, layers, nodes), np.float32)
    _pair_sums(sums, pairs, nodes, way, weight, depth, source, scatter, chance, extra)
    return sums


def at_lines(table, crystals, pair_of, layers: int, rings: int, columns: int) -> np.ndarray:
    """Return the values of a table (P, L, R, C, L, R, C) on lines between `crystals` (N, 2), (N,) float32.

    `pair_of` (H, H) is the number of a pair of heads, or -1, where the value is 0.
    """
    values = np.zeros(len(crystals), np.float32)
    _at_lines(table, crystals, pair_of, layers, rings, columns, values)
    return values

"""Sums of the scatter estimate on a CUDA device: the loops of `scatter_sums`, compiled for it.

A thread takes a pair of nodes, or a line, so that the sums are added in the CPU's order.
"""

import numpy as np
from numba import cuda

from csrd.recon.scatter_sums import compile_scatter_loops
from csrd.scanner.projector_cuda import launch

_loops = compile_scatter_loops(cuda.jit(device=True))
_add_points, _at_line = _loops.add_points, _loops.at_line


@cuda.jit
def pair_sums_kernel(sums, pairs, nodes, way, weight, depth, source, scatter, chance, extra):
    job = cuda.grid(1)
    if job < pairs.shape[0] * nodes * nodes:
        pair, first, second = job // (nodes * nodes), job // nodes % nodes, job % nodes
        a, b = pairs[pair, 0] * nodes + first, pairs[pair, 1] * nodes + second
        _add_points(sums, pair, first, second, a, b, way, weight, depth, source, scatter, chance, extra)


@cuda.jit
def at_lines_kernel(table, crystals, pair_of, layers, rings, columns, values):
    i = cuda.grid(1)
    if i < values.shape[0]:
        values[i] = _at_line(table, crystals[i, 0], crystals[i, 1], pair_of, layers, rings, columns)


def pair_sums(pairs, nodes, way, weight, depth, source, scatter, chance, extra) -> np.ndarray:
    """Return what `scatter_sums.pair_sums` returns."""
    layers = weight.shape[0]
    sums = cuda.to_device(np.zeros((len(pairs), layers, nodes, layers, nodes), np.float32))
    arrays = [cuda.to_device(array) for array in (way, weight, depth, source, scatter, chance, extra)]
    pair_sums_kernel[launch(len(pairs) * nodes**2)](sums, cuda.to_device(pairs), nodes, *arrays)
    return sums.copy_to_host()


def at_lines(table, crystals, pair_of, layers: int, rings: int, columns: int) -> np.ndarray:
    """Return what `scatter_sums.at_lines` returns."""
    values = cuda.to_device(np.zeros(len(crystals), np.float32))
    arrays = [cuda.to_device(array) for array in (table, crystals, pair_of)]
    at_lines_kernel[launch(len(crystals))](*arrays, layers, rings, columns, values)
    return values.copy_to_host()

"""The projector's inner loop on a CUDA device, through numba.

The loops over one line are the CPU's, compiled for the device; a thread takes a line. Back projection
adds atomically, so its sums differ from the CPU's, and between runs, in the last digits only.
"""

import numpy as np
from numba import cuda

from csrd.scanner.projector import compile_line_loops, padded, private_images, unpadded_sum

THREADS = 128


def available() -> bool:
    """Return whether there is a CUDA device that numba can use."""
    return bool(cuda.is_available())


def _atomic_add(image, index, value):
    cuda.atomic.add(image, index, value)


_line = compile_line_loops(cuda.jit(device=True), cuda.jit(device=True)(_atomic_add))
_plan, _integrate, _spread = _line.plan, _line.integrate, _line.spread


@cuda.jit
def _forward(image, starts, ends, origin, voxel, shape, values):
    i = cuda.grid(1)
    if i < len(values):
        values[i] = _integrate(image, _plan(starts, i, ends, i, origin, voxel, shape))


@cuda.jit
def _back(values, starts, ends, origin, voxel, shape, image):
    i = cuda.grid(1)
    if i < len(values) and values[i] != 0:
        _spread(values[i], image, _plan(starts, i, ends, i, origin, voxel, shape))


@cuda.jit
def _em_back(image, crystals, positions, additive, origin, voxel, shape, target):
    i = cuda.grid(1)
    if i < len(crystals):
        line = _plan(positions, crystals[i, 0], positions, crystals[i, 1], origin, voxel, shape)
        expected = _integrate(image, line) + additive[i]
        if expected > 0:
            _spread(np.float32(1) / expected, target, line)


def forward(image, origin, voxel_size, starts, ends) -> np.ndarray:
    """Return what `projector.forward` returns."""
    values = np.empty(len(starts), np.float32)
    lines = np.asarray(starts, np.float32), np.asarray(ends, np.float32)
    _forward[_blocks(len(values)), THREADS](
        padded(image), *lines, *_grid(origin, voxel_size), image.shape, values
    )
    return values


def back(values, origin, voxel_size, starts, ends, shape) -> np.ndarray:
    """Return what `projector.back` returns, but for the order of summation."""
    images = private_images(shape)[:1]
    lines = np.asarray(starts, np.float32), np.asarray(ends, np.float32)
    values = np.asarray(values, np.float32)
    _back[_blocks(len(values)), THREADS](values, *lines, *_grid(origin, voxel_size), tuple(shape), images[0])
    return unpadded_sum(images, shape)


def em_back(image, crystals, positions, additive, origin, voxel_size, images) -> np.ndarray:
    """Return what `projector.em_back` returns, but for the order of summation."""
    images[:1] = 0
    grid = _grid(origin, voxel_size)
    _em_back[_blocks(len(crystals)), THREADS](
        padded(image), crystals, positions, additive, *grid, image.shape, images[0]
    )
    return unpadded_sum(images[:1], image.shape)


def _grid(origin, voxel_size) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(origin, np.float64), np.asarray(voxel_size, np.float64)


def _blocks(number: int) -> int:
    return max(1, -(-number // THREADS))

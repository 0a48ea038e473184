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


@cuda.jit(device=True)
def atomic_add(image, index, value):
    cuda.atomic.add(image, index, value)


_line = compile_line_loops(cuda.jit(device=True), atomic_add)
_plan, _integrate, _spread = _line.plan, _line.integrate, _line.spread


@cuda.jit
def forward_kernel(image, starts, ends, origin, voxel, shape, values):
    i = cuda.grid(1)
    if i < len(values):
        values[i] = _integrate(image, _plan(starts, i, ends, i, origin, voxel, shape))


@cuda.jit
def back_kernel(values, starts, ends, origin, voxel, shape, image):
    i = cuda.grid(1)
    if i < len(values) and values[i] != 0:
        _spread(values[i], image, _plan(starts, i, ends, i, origin, voxel, shape))


@cuda.jit
def em_back_kernel(image, crystals, positions, additive, origin, voxel, shape, target):
    i = cuda.grid(1)
    if i < len(crystals):
        a, b = np.uint32(crystals[i, 0]), np.uint32(crystals[i, 1])
        line = _plan(positions, a, positions, b, origin, voxel, shape)
        expected = _integrate(image, line) + additive[i]
        if expected > 0:
            _spread(np.float32(1) / expected, target, line)


def forward(image, origin, voxel_size, starts, ends) -> np.ndarray:
    """Return what `projector.forward` returns."""
    values = cuda.device_array(len(starts), np.float32)
    flat, starts, ends = _on_device(padded(image), starts, ends)
    forward_kernel[launch(len(values))](flat, starts, ends, *_grid(origin, voxel_size), image.shape, values)
    return values.copy_to_host()


def back(values, origin, voxel_size, starts, ends, shape) -> np.ndarray:
    """Return what `projector.back` returns, but for the order of summation."""
    target = cuda.to_device(private_images(shape)[0])
    values, starts, ends = _on_device(values, starts, ends)
    grid = _grid(origin, voxel_size)
    back_kernel[launch(len(values))](values, starts, ends, *grid, tuple(shape), target)
    return unpadded_sum(target.copy_to_host()[None], shape)


def em_back(image, crystals, positions, additive, origin, voxel_size, images) -> np.ndarray:
    """Return what `projector.em_back` returns, but for the order of summation."""
    target = cuda.to_device(np.zeros_like(images[0]))
    flat, positions, additive = _on_device(padded(image), positions, additive)
    em_back_on_device(
        flat, cuda.to_device(crystals), positions, additive, origin, voxel_size, image.shape, target
    )
    return unpadded_sum(target.copy_to_host()[None], image.shape)


def em_back_on_device(image, crystals, positions, additive, origin, voxel_size, shape, target) -> None:
    """Add to `target` the back projection of 1 / (forward projection + additive) of each event.

    All arrays are the device's, `origin` and `voxel_size` may be the host's: `image` and `target` flat with a
    border of one zero voxel (`projector.padded`), `crystals` (N, 2), `positions` (C, 3) mm, `additive` (N,).
    """
    grid = _grid(origin, voxel_size)
    em_back_kernel[launch(len(crystals))](image, crystals, positions, additive, *grid, tuple(shape), target)


def _on_device(*arrays) -> list:
    return [cuda.to_device(np.ascontiguousarray(array, np.float32)) for array in arrays]


def _grid(origin, voxel_size) -> tuple:
    return tuple(
        axis if hasattr(axis, "copy_to_host") else cuda.to_device(np.array(axis, np.float64))
        for axis in (origin, voxel_size)
    )


def launch(lines: int) -> tuple[int, int]:
    """Return blocks and threads a block for a kernel with a thread a line."""
    return max(1, -(-lines // THREADS)), THREADS

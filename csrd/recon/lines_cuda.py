"""Factors, randoms and scatter of lines on a CUDA device: what is known of a line without an image.

A thread takes a line. Its geometry, its integral through the μ-map and its place in the table of scatter are
computed by the CPU's loops, compiled for the device. Under numba's simulator of CUDA, torch's tensors are the
CPU's.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from numba import config, cuda
from torch import Tensor

from csrd.io.volume import Volume
from csrd.recon.scatter_sums import compile_scatter_loops
from csrd.scanner.geometry import Scanner
from csrd.scanner.projector import compile_line_loops, padded
from csrd.scanner.projector_cuda import atomic_add, launch
from csrd.scanner.response import compile_line_factor, line_geometry


def device() -> torch.device:
    """Return the device that numba and torch share; in the simulator the CPU."""
    return torch.device("cpu" if config.ENABLE_CUDASIM else "cuda")


def shared(tensor: Tensor):
    """Return a tensor's memory as an array of numba."""
    return tensor.numpy() if config.ENABLE_CUDASIM else cuda.as_cuda_array(tensor)


_jit = cuda.jit(device=True)
_line_factor = compile_line_factor(_jit)
_line = compile_line_loops(_jit, atomic_add)
_plan, _integrate, _spread = _line.plan, _line.integrate, _line.spread
_at_line = compile_scatter_loops(_jit).at_line


@cuda.jit(device=True)
def _detected(
    i, a, b, computed, own, measured, positions, efficiencies, mumap, origin, voxel, shape
):  # fmt: skip
    """Return g · a · ε of line i between crystals a and b, whose g is measured where `own` is set."""
    factor = measured[i] if own else np.float32(computed)
    factor *= efficiencies[a] * efficiencies[b]
    return factor * math.exp(-_integrate(mumap, _plan(positions, a, positions, b, origin, voxel, shape)))


@cuda.jit
def factors_kernel(
    crystals, own, measured, efficiencies, positions, normals, per_head, layers, area, layer_mm, mu,
    mumap, origin, voxel, shape, factors
):  # fmt: skip
    i = cuda.grid(1)
    if i < factors.shape[0]:
        a, b = np.uint32(crystals[i, 0]), np.uint32(crystals[i, 1])
        computed = _line_factor(a, b, positions, normals, per_head, layers, area, layer_mm, mu)
        factors[i] = _detected(
            i, a, b, computed, own, measured, positions, efficiencies, mumap, origin, voxel, shape
        )


@cuda.jit
def additive_kernel(
    crystals, own, measured, efficiencies, positions, normals, per_head, layers, area, layer_mm, mu,
    rates, table, pair_of, counts, drf, exposure, factors
):  # fmt: skip
    """Write c in the place of each line's factor."""
    i = cuda.grid(1)
    if i < factors.shape[0]:
        a, b = np.uint32(crystals[i, 0]), np.uint32(crystals[i, 1])
        expected = rates[a] * rates[b]
        scattered = _at_line(table, a, b, pair_of, counts[0], counts[1], counts[2])
        scattered *= efficiencies[a] * efficiencies[b]
        if own:
            computed = _line_factor(a, b, positions, normals, per_head, layers, area, layer_mm, mu)
            scattered *= measured[i] / np.float32(computed)
        expected += scattered / drf
        factors[i] = expected / (exposure * factors[i])


@cuda.jit
def sensitivity_kernel(
    crystals, own, measured, efficiencies, positions, normals, per_head, layers, area, layer_mm, mu,
    mumap, mu_origin, mu_voxel, mu_shape, origin, voxel, shape, full, plain
):  # fmt: skip
    """Add each line's g · a · ε to `full`, its computed g to `plain`, along the line."""
    i = cuda.grid(1)
    if i < crystals.shape[0]:
        a, b = np.uint32(crystals[i, 0]), np.uint32(crystals[i, 1])
        computed = np.float32(_line_factor(a, b, positions, normals, per_head, layers, area, layer_mm, mu))
        factor = _detected(
            i, a, b, computed, own, measured, positions, efficiencies, mumap, mu_origin, mu_voxel, mu_shape
        )
        line = _plan(positions, a, positions, b, origin, voxel, shape)
        _spread(computed, plain, line)
        if factor != 0:
            _spread(factor, full, line)


class Accidental:
    """Randoms and scatter of a scan thinned by `drf`, on the device.

    `rates` (C,) are the crystals', `table` is that of `scatter.estimate` or None, `exposure` as in
    `corrections.Prompts`.
    """

    def __init__(
        self, scanner: Scanner, rates: np.ndarray, table: np.ndarray | None, drf: float, exposure: float
    ) -> None:
        pair_of = np.full((scanner.heads, scanner.heads), -1, np.int64)  # -1: no scatter
        if table is None:
            table = np.zeros((1,) * 7, np.float32)
        else:
            pair_of[tuple(scanner.head_pairs.T)] = np.arange(len(scanner.head_pairs))
        arrays = (cuda.to_device(x) for x in (rates, table, pair_of))
        counts = scanner.layers, scanner.rings, scanner.columns
        self.arguments = *arrays, counts, np.float32(drf), exposure


@dataclass
class DeviceLines:
    """The lines of a scan; positions, efficiencies (C,) and the μ-map (1/cm) are on the device."""

    scanner: Scanner
    mumap: Volume
    efficiencies: np.ndarray
    geometry: tuple = field(init=False)  # arguments of the kernels from `efficiencies` to `mu`
    body: tuple = field(init=False)  # and from `mumap` to `shape`

    def __post_init__(self) -> None:
        given = np.ascontiguousarray(self.efficiencies, np.float32), *line_geometry(self.scanner)
        self.geometry = tuple(
            cuda.to_device(np.ascontiguousarray(one)) if isinstance(one, np.ndarray) else one for one in given
        )
        flat = cuda.to_device(padded(self.mumap.array / 10))
        self.body = flat, *on_grid(self.mumap), tuple(self.mumap.shape)

    def uploaded(self, crystals: np.ndarray) -> Tensor:
        """Return events' crystals (N, 2) on the device, int32, in the order of `Scanner.neighbours_first`."""
        here = torch.from_numpy(np.ascontiguousarray(crystals, np.int32)).to(device())
        a, b = here.long().unbind(1)
        each, number = self.scanner.crystals_per_head, self.scanner.crystals
        heads = a // each * self.scanner.heads + b // each
        return here[torch.argsort((heads * number + a) * number + b)]

    def factors(self, crystals: Tensor) -> Tensor:
        """Return g · a · ε of lines between `crystals` (N, 2), (N,) float32 in mm²."""
        factors = torch.empty(len(crystals), device=crystals.device)
        arguments = shared(crystals), *self._measured(crystals), *self.geometry, *self.body
        factors_kernel[launch(len(crystals))](*arguments, shared(factors))
        return factors

    def additive(self, crystals: Tensor, factors: Tensor, accidental: Accidental) -> Tensor:
        """Return c of living lines, (N,) float32 in Bq/mL · mm, in the memory of their `factors`."""
        arguments = shared(crystals), *self._measured(crystals), *self.geometry, *accidental.arguments
        additive_kernel[launch(len(crystals))](*arguments, shared(factors))
        return factors

    def add_sensitivities(self, crystals: Tensor, grid: Volume, full: Tensor, plain: Tensor) -> None:
        """Add Σ g a ε A and Σ g A over lines to flat images with a border of one zero voxel."""
        arguments = shared(crystals), *self._measured(crystals), *self.geometry, *self.body
        images = shared(full), shared(plain)
        sensitivity_kernel[launch(len(crystals))](*arguments, *on_grid(grid), tuple(grid.shape), *images)

    def _measured(self, crystals: Tensor) -> tuple:
        """Return whether the scan's file has measured factors, and those of the lines on the device."""
        if self.scanner.measured_factors is None:
            return False, cuda.to_device(np.zeros(1, np.float32))
        lines = crystals.cpu().numpy().astype(np.uint32)
        return True, cuda.to_device(np.asarray(self.scanner.measured_factors(lines), np.float32))


def on_grid(grid: Volume) -> tuple:
    """Return origin and voxel of a grid on the device, as the projector takes them."""
    axes = grid.affine[:3, 3], grid.voxel_mm
    return tuple(cuda.to_device(np.array(axis, np.float64)) for axis in axes)


def sensitivity_sums(
    chunks: Iterable[np.ndarray], lines: DeviceLines, grid: Volume
) -> tuple[np.ndarray, np.ndarray]:
    """Return Σ g a ε A and Σ g A over lines between crystals (N, 2) in chunks, (X, Y, Z) float64.

    A chunk is summed in float32, the sums of chunks in float64.
    """
    shape, here = tuple(n + 2 for n in grid.shape), device()
    totals = torch.zeros(2, math.prod(shape), dtype=torch.float64, device=here)
    for crystals in chunks:
        full, plain = torch.zeros(2, math.prod(shape), device=here)
        lines.add_sensitivities(lines.uploaded(crystals), grid, full, plain)
        totals[0] += full
        totals[1] += plain
    full, plain = totals.reshape(2, *shape)[:, 1:-1, 1:-1, 1:-1].cpu().numpy()
    return full, plain

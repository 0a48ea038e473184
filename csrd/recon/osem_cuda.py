"""The update of OP-OSEM on a CUDA device: events, image and sensitivity stay there from pass to pass.

numba projects and torch does the rest, on the same memory. Under numba's simulator of CUDA, torch's tensors
are the CPU's.
"""

import math
from collections.abc import Callable
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import torch
from numba import cuda
from scipy.ndimage import gaussian_filter1d
from torch import Tensor, nn

from csrd.io.volume import Volume
from csrd.recon.lines_cuda import device, on_grid, shared
from csrd.scanner.geometry import Scanner
from csrd.scanner.projector_cuda import em_back_on_device

if TYPE_CHECKING:
    from csrd.config.sections import Psf
    from csrd.recon.osem import Events, PackedEvents


def cuda_update(
    events: "Events | PackedEvents",
    scanner: Scanner,
    grid: Volume,
    share: np.ndarray,
    seen: np.ndarray,
    psf: "Psf | None",
) -> tuple[Callable, Callable]:
    """Return the function (image, subset) to the next image, and the one to the finished image.

    Arguments as in `osem_of`; `share` (X, Y, Z) is the blurred sensitivity of a subset, `seen` where it
    counts. The first image may be an array; those that come back are tensors on the device. 12 bytes of
    the device's memory an event; events that are there already (`events_cuda`) are taken as they are.
    """
    here = device()
    on_device = [[tuple(map(_held, part)) for part in events.of(subset)] for subset in range(events.subsets)]
    positions = cuda.to_device(scanner.crystal_positions)
    (origin, voxel), shape = on_grid(grid), grid.shape
    blurred = Blur(shape, grid.voxel_mm, psf, here)
    # The reciprocal, 0 where nothing is seen
    weight = np.divide(1, share, out=np.zeros_like(share), where=seen)
    weight = torch.as_tensor(weight, dtype=torch.float32, device=here)

    @torch.no_grad()
    def update(image: np.ndarray | Tensor, number: int) -> Tensor:
        image = torch.as_tensor(image, device=here)
        target = torch.zeros(math.prod(n + 2 for n in shape), device=here)
        flat = nn.functional.pad(blurred(image), (1,) * 6).flatten()
        for crystals, additive in on_device[number]:
            em_back_on_device(
                shared(flat), crystals, positions, additive, origin, voxel, shape, shared(target)
            )
        found = target.reshape([n + 2 for n in shape])[1:-1, 1:-1, 1:-1]
        return image * blurred(found) * weight

    return update, lambda image: torch.as_tensor(image).cpu().numpy()


class Blur:
    """What `scanner.response.blur` does, on a device: along each axis a matrix times the image."""

    def __init__(
        self, shape: tuple[int, int, int], voxel_mm: np.ndarray, psf: "Psf | None", device: torch.device
    ) -> None:
        self.parts: list[tuple[float, list[Tensor]]] = []
        if psf is not None and (psf.sigma_mm or psf.tail_fraction):
            for weight, sigma in (
                (1 - psf.tail_fraction, psf.sigma_mm),
                (psf.tail_fraction, psf.tail_sigma_mm),
            ):
                if weight:
                    axes = [_gaussian(n, sigma / mm) for n, mm in zip(shape, voxel_mm, strict=True)]
                    self.parts.append((weight, [torch.from_numpy(axis).to(device) for axis in axes]))

    def __call__(self, image: Tensor) -> Tensor:
        """Return the image (X, Y, Z) blurred."""
        if not self.parts:
            return image
        return reduce(torch.add, (weight * self._gaussian_of(image, axes) for weight, axes in self.parts))

    @staticmethod
    def _gaussian_of(image: Tensor, axes: list[Tensor]) -> Tensor:
        for axis, matrix in enumerate(axes):
            image = torch.tensordot(matrix, image, dims=([1], [axis])).movedim(0, axis)
        return image


def _gaussian(n: int, sigma: float) -> np.ndarray:
    """Return the Gaussian filter of `sigma` voxels along an axis of n voxels, as a matrix (n, n) float32."""
    return gaussian_filter1d(np.eye(n), sigma, axis=0, mode="constant", truncate=4.0).astype(np.float32)


def _held(array: np.ndarray | Tensor):
    """Return an array of the device, which a tensor is already."""
    return shared(array) if isinstance(array, Tensor) else cuda.to_device(array)

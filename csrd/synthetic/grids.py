"""Filters, smooth random fields and resampling as matrix products along each axis, fast on any device."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Generator, Tensor, nn

REACH = 4.0  # sigmas at which a Gaussian kernel ends
FIELD_STEP = 1.0  # sigmas between the random numbers that a smooth field is made of


def separable(x: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Return x (…, X, Y, Z) with each matrix (n_out, n_in) applied along its axis of space."""
    for axis, matrix in zip((-3, -2, -1), matrices, strict=True):
        x = (x.movedim(axis, -1) @ matrix.T).movedim(-1, axis)
    return x.contiguous()


def gaussian(x: Tensor, sigma: float | Sequence[float]) -> Tensor:
    """Return x (…, X, Y, Z) filtered by a Gaussian of `sigma` voxels, mirrored at the borders as by scipy."""
    sigmas = (sigma,) * 3 if isinstance(sigma, float | int) else sigma
    if max(sigmas) < 0.05:
        return x
    return separable(x, [_gaussian_matrix(n, s, x.device) for n, s in zip(x.shape[-3:], sigmas, strict=True)])


def _gaussian_matrix(n: int, sigma: float, device: torch.device) -> Tensor:
    """Return the (n, n) matrix of a Gaussian filter, mirrored about the outer faces of the end voxels."""
    radius = int(REACH * sigma + 0.5)
    offset = torch.arange(-radius, radius + 1, device=device)
    weights = torch.exp(-0.5 * (offset / max(sigma, 1e-6)) ** 2)
    source = mirrored_index(torch.arange(n, device=device)[:, None] + offset, n)
    matrix = torch.zeros(n, n, device=device)
    return matrix.scatter_add_(1, source, (weights / weights.sum()).expand(n, -1).contiguous())


def mirrored_index(index: Tensor, n: int) -> Tensor:
    """Return indices into n voxels that are mirrored, over and over, beyond both ends."""
    index = index.remainder(2 * n)
    return torch.where(index < n, index, 2 * n - 1 - index)


def random_field(
    shape: Sequence[int],
    sigma: float | Sequence[float],
    generator: Generator,
    channels: int = 1,
) -> Tensor:
    """Return Gaussian random fields (channels, X, Y, Z) of unit variance everywhere.

    White noise smoothed by a Gaussian of `sigma` voxels, without the cost of white noise on the full grid.
    """
    sigmas = (sigma,) * 3 if isinstance(sigma, float | int) else sigma
    device = generator.device
    matrices = [_field_matrix(n, s, device) for n, s in zip(shape, sigmas, strict=True)]
    white = torch.randn((channels, *(m.shape[1] for m in matrices)), generator=generator, device=device)
    return separable(white, matrices)


def _field_matrix(n: int, sigma: float, device: torch.device) -> Tensor:
    """Return a matrix (n, m) of Gaussian rows of length 1, from m coarse places to n voxels."""
    step = max(FIELD_STEP * sigma, 1.0)
    half = REACH * sigma
    coarse = torch.arange(math.ceil((n + 2 * half) / step) + 1, device=device) * step - half
    distance = (torch.arange(n, device=device)[:, None] - coarse) / max(sigma, 1e-3)
    rows = torch.exp(-0.5 * distance**2)
    return rows / rows.norm(dim=1, keepdim=True)


def resampled(x: Tensor, shape: Sequence[int], step: Sequence[float], start: Sequence[float]) -> Tensor:
    """Return x (X, Y, Z) at voxels start + step · (0, 1, …) of each axis, linear, mirrored at its ends."""
    matrices = []
    for n, count, by, first in zip(x.shape, shape, step, start, strict=True):
        at = first + by * torch.arange(count, device=x.device, dtype=torch.float32)
        low = at.floor()
        weight = at - low
        index = low.long()[:, None] + torch.arange(2, device=x.device)
        matrix = torch.zeros(count, n, device=x.device)
        weights = torch.stack([1 - weight, weight], dim=1)
        matrices.append(matrix.scatter_add_(1, mirrored_index(index, n), weights))
    return separable(x, matrices)


def sampling_grid(
    shape: Sequence[int], source: Sequence[int], to_source: np.ndarray, device: torch.device
) -> Tensor:
    """Return the places (1, X, Y, Z, 3), as `grid_sample` counts them, of a grid's voxels in a source array.

    `to_source` (4, 4) leads from voxel indices of the grid to voxel indices of the source (X, Y, Z).
    """
    # normalised source = (2 i + 1) / n - 1; theta acts on normalised output coordinates, last axis first
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = np.diag(np.array(shape) / 2), (np.array(shape) - 1) / 2
    back = np.eye(4)
    back[:3, :3], back[:3, 3] = np.diag(2 / np.array(source)), 1 / np.array(source) - 1
    matrix = (back @ to_source @ out)[:3]
    flipped = np.concatenate([matrix[::-1, 2::-1], matrix[::-1, 3:]], axis=1)
    theta = torch.from_numpy(np.ascontiguousarray(flipped, dtype=np.float32)).to(device, non_blocking=True)
    return nn.functional.affine_grid(theta[None], [1, 1, *shape], align_corners=False)


def sampled(x: Tensor, grid: Tensor, mode: str = "bilinear") -> Tensor:
    """Return x (C, X, Y, Z) at the places of a `sampling_grid`; 0 outside."""
    return nn.functional.grid_sample(x[None], grid, mode=mode, align_corners=False)[0]

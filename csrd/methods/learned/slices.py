"""Base class of the 2D methods: a network from an axial slice of low-dose PET and MR to its residual.

The residual, low dose minus normal dose, is subtracted from the input in full precision.
The loss is the mean absolute error of the residual, which is that of the image.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from csrd.errors import InputError
from csrd.methods.learned import Learned
from csrd.methods.learned.scaling import Head

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from csrd.io.volume import Volume
    from csrd.methods.base import LoadedPair
    from csrd.train.patches import Batch, Patches, Scan

AXIAL_SLICE = (None, None, 1)  # voxels of a training patch, of an upright volume
APPLY_BATCH = 16  # slices at a time, as in the paper's training, so that the memory of a training suffices


class SliceMethod(Learned):
    """A 2D network. A subclass builds it, and gives in `factor` the sizes of slices that it takes.

    Slices of any size are padded to multiples of `factor` by repeating their border, and cropped back.
    Volumes are reoriented first, so that all heads have the same orientation.
    """

    factor: ClassVar[int]

    @abstractmethod
    def of_slices(self) -> nn.Module:
        """Return the network, (B, 2, x, y) to (B, 1, x, y), with its initial weights."""

    def build(self) -> nn.Module:
        import torch

        # channels last is 1.5 times as fast on a CPU's matrix units, and faster on a GPU too
        return self.of_slices().to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch declares less

    def residual_unit(self, low: Volume, head: Head, drf: float | None) -> float:
        return head.scale

    def losses(self, batch: Batch) -> Tensor:
        predicted = residual_of(self.network, batch.inputs[..., 0], self.factor)
        return (predicted - batch.target[..., 0]).abs().mean((1, 2, 3))

    def patches(self, scans: list[Scan]) -> Patches:
        """Return the source of training slices.

        Raises InputError where they are not all of one size.
        """
        sizes = {tuple(scan.target.shape[1:3]): scan.subject for scan in scans}
        if len(sizes) > 1:
            listed = " and ".join(f"{x}×{y} in {subject}" for (x, y), subject in list(sizes.items())[:2])
            raise InputError(
                f"axial slices have {listed} voxels, and {self.key} trains on one size; crop alike"
            )
        return self.patches_of(scans, AXIAL_SLICE)

    def estimator(self, pair: LoadedPair) -> Callable[[], np.ndarray]:
        slices, scale = self.slices(pair.low, pair.mr)  # once: finding a head takes time
        return lambda: self.denoised(pair.low.array, slices, scale)

    def apply(self, low: Volume, mr: Volume | None, drf: float | None) -> Volume:
        turned = low.canonical()
        slices, scale = self.slices(turned, None if mr is None else mr.canonical())
        return turned.like(self.denoised(turned.array, slices, scale)).with_axes_of(low)

    def slices(self, low: Volume, mr: Volume | None) -> tuple[Tensor, float]:
        """Return the network's input of an upright scan, (Z, C, X, Y), and the PET's scale."""
        import torch

        head = Head.of(low)
        return torch.from_numpy(self.inputs(low, mr, head)).permute(3, 0, 1, 2), head.scale

    def denoised(self, low: np.ndarray, slices: Tensor, scale: float) -> np.ndarray:
        """Return an upright low dose (X, Y, Z) without its residual, nowhere negative, in its unit."""
        import torch

        with torch.no_grad():
            views = [self._residual(slices, by) for by in self.translations]
            if self.settings.mirror:
                views += [self._residual(slices.flip(2), by).flip(0) for by in self.translations]
            residual = torch.stack(views).mean(0)
        return np.maximum(low - residual.cpu().numpy() * np.float32(scale), 0)

    def _residual(self, slices: Tensor, by: int) -> Tensor:
        """Return the residual of all slices (Z, C, X, Y), translated by so many pixels: (X, Y, Z)."""
        import torch

        from csrd.train.device import precision
        from csrd.train.patches import translated

        with precision(self.device):
            parts = [
                residual_of(self.network, translated(part.to(self.device), by), self.factor)
                for part in slices.split(APPLY_BATCH)
            ]
        return torch.cat(parts)[:, 0, by:, by:].permute(1, 2, 0)


def residual_of(network: nn.Module, slices: Tensor, factor: int) -> Tensor:
    """Return the network's residual of slices (B, C, x, y) of any size: (B, 1, x, y), float32."""
    import torch
    from torch import nn

    x, y = slices.shape[-2:]
    # twice the factor at least: a normalisation over a single voxel of the coarsest level is undefined
    right, below = (max(2 * factor, n + -n % factor) - n for n in (x, y))
    padded = nn.functional.pad(slices, (0, below, 0, right), mode="replicate")
    return network(padded.contiguous(memory_format=torch.channels_last))[..., :x, :y].float()

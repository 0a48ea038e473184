"""What the 2D methods share: a network from an axial slice of low-dose PET and MR to the slice's residual.

The network says by how much the low dose exceeds the normal dose, and that is subtracted from the input in
full precision. The mean absolute error is that of the image, which the network would have to copy first.
"""

from abc import abstractmethod
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from csrd.errors import InputError
from csrd.io.volume import Volume
from csrd.methods.base import TrainingPair
from csrd.methods.learned import Learned, validation_errors
from csrd.methods.scaling import Head
from csrd.train.device import precision
from csrd.train.patches import Batch, Patches, Scan, moved_up

AXIAL_SLICE = (None, None, 1)  # voxels of a training patch, of an upright volume
APPLY_BATCH = 16  # slices at a time, the training's number in the paper: what was trained can be applied


class SliceTask:
    """The network with its mean absolute error and, on upright validation subjects, that of the image."""

    def __init__(self, network: nn.Module, method: "SliceMethod", validation: list[TrainingPair]) -> None:
        self.network, self.method, self.validation = network, method, validation
        self.seen = [method.seen(pair.low, pair.mr) for pair in validation]  # once: finding heads takes time

    def losses(self, batch: Batch) -> Tensor:
        predicted = residual_of(self.network, batch.inputs[..., 0], self.method.factor)
        return (predicted - batch.target[..., 0]).abs().mean((1, 2, 3))

    def validate(self) -> dict[str, float]:
        pairs = zip(self.validation, self.seen, strict=True)
        images = (self.method.denoised(pair.low.array, *seen) for pair, seen in pairs)
        return validation_errors(self.validation, images)


class SliceMethod(Learned):
    """A 2D network. A subclass builds it, and says by `factor` which slices it can take.

    Slices of any size are grown to multiples of `factor` by repeating their border, and cut back. Volumes are
    turned upright first, so that a network sees every head from the same side whatever the file's axes are.
    """

    factor: ClassVar[int]

    @classmethod
    @abstractmethod
    def network(cls, settings: dict) -> nn.Module:
        """Return the network, (B, 2, x, y) to (B, 1, x, y), with its initial weights."""

    @classmethod
    def build(cls, settings: dict) -> nn.Module:
        # a CPU's matrix units want a voxel's channels side by side: 1.5 times as fast, and a GPU's do too
        return cls.network(settings).to(memory_format=torch.channels_last)

    @classmethod
    def learn(cls, pairs: list[TrainingPair], settings: dict) -> dict:
        return {}

    @classmethod
    def residual_unit(cls, low: Volume, head: Head, drf: float, settings: dict, learned: dict) -> float:
        return head.scale

    @classmethod
    def task(
        cls, network: nn.Module, settings: dict, learned: dict, validation: list[TrainingPair]
    ) -> SliceTask:
        return SliceTask(network, cls(network, {"settings": settings, "learned": learned}), validation)

    @classmethod
    def patches(cls, scans: list[Scan], settings: dict) -> Patches:
        """Return the source of training slices.

        Raises InputError where they are not all of one size.
        """
        sizes = {tuple(scan.target.shape[1:3]): scan.subject for scan in scans}
        if len(sizes) > 1:
            said = " and ".join(f"{x}×{y} in {subject}" for (x, y), subject in list(sizes.items())[:2])
            raise InputError(f"axial slices have {said} voxels, and {cls.key} trains on one size; crop alike")
        return Patches(scans, AXIAL_SLICE, settings["seed"], mixed=settings["mixed"])

    def apply(self, low: Volume, mr: Volume | None, drf: float) -> Volume:
        turned = low.canonical()
        seen = self.seen(turned, None if mr is None else mr.canonical())
        return turned.like(self.denoised(turned.array, *seen)).with_axes_of(low)

    @classmethod
    def seen(cls, low: Volume, mr: Volume | None) -> tuple[Tensor, float]:
        """Return the slices (Z, C, X, Y) of an upright scan as the network sees them, and the PET's scale."""
        head = Head.of(low)
        return torch.from_numpy(cls.inputs(low, mr, head)).permute(3, 0, 1, 2), head.scale

    @torch.no_grad()
    def denoised(self, low: np.ndarray, slices: Tensor, scale: float) -> np.ndarray:
        """Return an upright low dose (X, Y, Z) without its residual, nowhere negative, in its unit."""
        views = [self._residual(slices, by) for by in self.moves]
        if self.settings["mirror"]:
            views += [self._residual(slices.flip(2), by).flip(0) for by in self.moves]
        residual = torch.stack(views).mean(0)
        return np.maximum(low - residual.cpu().numpy() * np.float32(scale), 0)

    def _residual(self, slices: Tensor, by: int) -> Tensor:
        """Return what the network says of all slices (Z, C, X, Y), moved by so many pixels: (X, Y, Z)."""
        with precision(self.device):
            parts = [
                residual_of(self.network, moved_up(part.to(self.device), by), self.factor)
                for part in slices.split(APPLY_BATCH)
            ]
        return torch.cat(parts)[:, 0, by:, by:].permute(1, 2, 0)


def residual_of(network: nn.Module, slices: Tensor, factor: int) -> Tensor:
    """Return what `network` says of slices (B, C, x, y) of any size: (B, 1, x, y), float32."""
    x, y = slices.shape[-2:]
    # twice the factor at least: on a single voxel of the coarsest level there is no neighbour to learn from
    right, below = (max(2 * factor, n + -n % factor) - n for n in (x, y))
    grown = nn.functional.pad(slices, (0, below, 0, right), mode="replicate")
    return network(grown.contiguous(memory_format=torch.channels_last))[..., :x, :y].float()

"""A supervised 3D U-Net with residual units (Kerfoot et al., 2018), MONAI's, on the data of CSR-D."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from pydantic import Field, PositiveInt, model_validator

from csrd.config.methods import Training
from csrd.methods.base import LoadedPair
from csrd.methods.learned import LearnedCalibration
from csrd.methods.learned.scaling import Head, ResidualDeviation
from csrd.methods.learned.volumes import VolumeMethod, VolumeSettings

if TYPE_CHECKING:
    from torch import Tensor

    from csrd.io.volume import Volume
    from csrd.networks import VolumeNetwork
    from csrd.train.patches import Batch

COORDINATES = 3
FEATURE_MAPS = 12  # of the finest resolution that an evaluation holds at once
UNITS = 2  # convolutions of a residual unit, as published


class Unet3dSettings(VolumeSettings):
    channels: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (32, 64, 64)
    """Channels of each resolution, the finest first."""
    stem: PositiveInt = 2
    """Voxels along each axis that are folded into channels."""
    dose: bool = True
    """true: the log of the dose reduction factor is an input of the network."""
    coordinates: bool = True
    """true: a voxel's coordinates in the volume are inputs of the network."""
    patch: PositiveInt = 32
    """Edge of the training patches in voxels."""
    loss: Literal["absolute", "squared"] = "absolute"
    """The loss: the mean absolute error of the residual, or the mean squared one."""
    training: Training = Training(steps=2400, batch=4, lr=0.001)

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        if self.patch % self.factor:
            raise ValueError(f"patch is {self.patch}; this network needs a multiple of {self.factor}")
        return self

    @property
    def factor(self) -> int:
        """Return what the edges of the network's volumes are multiples of, in voxels."""
        return self.stem * 2 ** (len(self.channels) - 1)


class Unet3dCalibration(LearnedCalibration):
    """The scale of the residuals."""

    residual_sd: ResidualDeviation | None = None


class UNet3d(VolumeMethod):
    """Patches, inputs, training loop and views of CSR-D; the network returns the residual at once."""

    key, label, row = "unet3d", "U-net 3D", 3
    Settings = Unet3dSettings
    Calibration = Unet3dCalibration
    training_only = (*VolumeMethod.training_only, "loss")
    extra = "baselines"

    settings: Unet3dSettings
    calibration: Unet3dCalibration

    @classmethod
    def calibrated(cls, pairs: list[LoadedPair], settings: Unet3dSettings) -> Unet3dCalibration:
        of_voxels = super().calibrated(pairs, settings).model_dump()
        return Unet3dCalibration(**of_voxels, residual_sd=ResidualDeviation.fit(pairs))

    def build(self) -> VolumeNetwork:
        from monai.networks.nets import UNet
        from torch import nn

        from csrd.networks.folded import Folded

        settings, voxels = self.settings, self.settings.stem**3
        inputs = 1 + self.wants_mr + COORDINATES * settings.coordinates + settings.dose
        # no normalisation, which would remove the image's level; the last resolution is MONAI's bottom layer
        finest, *_, coarsest = channels = settings.channels
        units = UNet(
            spatial_dims=3,
            in_channels=inputs * voxels,
            out_channels=finest,
            channels=(*channels, coarsest),
            strides=(1, *(2,) * (len(channels) - 1)),
            num_res_units=UNITS,
            norm=None,  # type: ignore[arg-type] # monai takes None too
        )
        # MONAI's last unit has as many channels as the output: too few for the voxels of a stem
        network = nn.Sequential(units, nn.Conv3d(finest, voxels, 1))
        return Folded(network, settings.stem, settings.factor, FEATURE_MAPS * 4 * finest)

    def residual_unit(self, low: Volume, head: Head, drf: float | None) -> float:
        deviation = self.calibration.residual_sd
        assert deviation is not None and drf is not None, "the deviation follows from the dose"
        return head.scale * deviation.at(drf)

    def losses(self, batch: Batch) -> Tensor:
        error = self._predicted(batch.inputs, batch.dose) - batch.target
        return (error.abs() if self.settings.loss == "absolute" else error.square()).mean((1, 2, 3, 4))

    def apply(self, low: Volume, mr: Volume | None, drf: float | None) -> Volume:
        import torch

        upright, mr = low.canonical(), None if mr is None else mr.canonical()
        head = Head.of(upright)
        conditions, dose = self.conditions(upright, mr, head), self.noise_condition(upright, head, drf)
        views = [self._residual(conditions, dose, by) for by in self.translations]
        if (mirrored := self.mirrored(conditions)) is not None:
            views += [self._residual(mirrored, dose, by).flip(0) for by in self.translations]
        residual = torch.stack(views).mean(0).cpu().numpy()
        unit = np.float32(self.residual_unit(upright, head, drf))
        return upright.like(np.maximum(upright.array - residual * unit, 0)).with_axes_of(low)

    def _residual(self, conditions: Tensor, dose: float, by: int) -> Tensor:
        """Return the residual of a scan (C, X, Y, Z) that is translated by so many voxels: (X, Y, Z)."""
        import torch

        from csrd.diffusion.posterior import halo, padded, tile_that_fits
        from csrd.diffusion.tiles import Box, tiled
        from csrd.train.device import precision
        from csrd.train.patches import translated

        moved = padded(translated(conditions[None], by)[0], self.network.factor)[None]
        level, shape = torch.tensor([dose], device=moved.device), moved.shape[2:]

        def evaluate(box: Box) -> Tensor:
            with precision(self.device), torch.no_grad():
                return self._predicted(moved[(slice(None), slice(None), *box)], level)

        tile = tile_that_fits(self.network, shape, self.device)
        whole = (slice(None),) * 3
        found = evaluate(whole) if tile is None else tiled(evaluate, shape, tile, halo(self.network))
        return found[0, 0][tuple(slice(by, by + n) for n in conditions.shape[1:])]

    def _predicted(self, inputs: Tensor, dose: Tensor) -> Tensor:
        """Return the residual of inputs (B, C, x, y, z) at the logs of their factors (B,), float32."""
        import torch

        if self.settings.dose:
            level = dose.to(inputs).reshape(-1, 1, 1, 1, 1).expand(-1, 1, *inputs.shape[2:])
            inputs = torch.cat([inputs, level], 1)
        return self.network(inputs).float()


METHOD = UNet3d

"""The 2D U-Net (Ronneberger et al., 2015), MONAI's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import PositiveInt

from csrd.config.methods import LearnedSettings, Training
from csrd.methods.learned.slices import SliceMethod

if TYPE_CHECKING:
    from torch import nn


class UnetSettings(LearnedSettings):
    channels: PositiveInt = 16
    """Channels of the finest level; each of the four coarser ones has twice as many."""
    training: Training = Training(steps=2400, batch=8, lr=0.001)


class UNet(SliceMethod):
    """Four levels of encoder and decoder around a fifth, the channels doubled at each coarser one."""

    key, label, row = "unet", "U-net", 2
    Settings = UnetSettings
    settings: UnetSettings
    factor = 16
    extra = "baselines"

    def of_slices(self) -> nn.Module:
        from monai.networks.nets import BasicUNet

        c = self.settings.channels
        features = (c, 2 * c, 4 * c, 8 * c, 16 * c, c)
        # as published: no normalisation, which would remove the image's level
        return BasicUNet(
            spatial_dims=2,
            in_channels=2,
            out_channels=1,
            features=features,
            norm=None,  # type: ignore[arg-type] # monai takes None too
        )


METHOD = UNet

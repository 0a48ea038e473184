"""The 2D Restormer (Zamir et al., 2022): MONAI's, with the layer normalisation of the publication."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveInt

from csrd.config.methods import LearnedSettings, Training
from csrd.methods.learned.slices import SliceMethod

if TYPE_CHECKING:
    from torch import nn

HEADS = (1, 2, 4, 8)  # of each level, as published


class RestormerSettings(LearnedSettings):
    channels: Annotated[int, Field(ge=8, multiple_of=8)] = 24
    """Channels of the finest level, a multiple of 8; each of the three coarser ones has twice as many."""
    blocks: Annotated[tuple[PositiveInt, ...], Field(min_length=4, max_length=4)] = (1, 1, 1, 1)
    """Transformer blocks of each level, the finest first."""
    refinement: Annotated[int, Field(ge=0)] = 1
    """Transformer blocks after the decoder, at the finest level."""
    stem: Literal[1, 2] = 2
    """Pixels along both axes that are folded into channels; 1: none, as published."""
    training: Training = Training(steps=1200, batch=8, lr=0.002)


class Restormer(SliceMethod):
    """Four levels, the channels doubled at each coarser one; `stem` × `stem` pixels folded before."""

    key, label, row = "restormer", "Restormer", 3
    Settings = RestormerSettings
    settings: RestormerSettings
    extra = "baselines"
    factor = 16  # 2 for each of three steps down, and 2 for a stem

    def of_slices(self) -> nn.Module:
        from monai.networks.nets.restormer import Restormer as Network
        from torch import nn

        settings, fold = self.settings, self.settings.stem
        network = Network(
            spatial_dims=2,
            in_channels=2 * fold**2,
            out_channels=fold**2,
            dim=settings.channels,
            num_blocks=settings.blocks,
            heads=HEADS,
            num_refinement_blocks=settings.refinement,
        )
        _normalise_channels(network)
        return nn.Sequential(nn.PixelUnshuffle(fold), network, nn.PixelShuffle(fold))


def _normalise_channels(network: nn.Module) -> None:
    """Replace MONAI's instance normalisation, over the slice, by the publication's, over the channels."""
    from monai.networks.nets.restormer import MDTATransformerBlock

    from csrd.networks.norm import ChannelNorm

    for block in network.modules():
        if isinstance(block, MDTATransformerBlock):
            block.norm1 = ChannelNorm(block.norm1.num_features)
            block.norm2 = ChannelNorm(block.norm2.num_features)


METHOD = Restormer

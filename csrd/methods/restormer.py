"""The 2D Restormer (Zamir et al., 2022): MONAI's, with the layer normalisation of the publication."""

from torch import Tensor, nn

from csrd.methods.slices import SliceMethod

HEADS = (1, 2, 4, 8)  # of each level, as published


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over each pixel's channels, (B, C, x, y) to the same shape."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Restormer(SliceMethod):
    """Four levels, the channels doubled at each coarser one; `stem` × `stem` pixels folded before."""

    key, label = "restormer", "Restormer"
    factor = 16  # 2 for each of three steps down, and 2 for a stem

    @classmethod
    def network(cls, settings: dict) -> nn.Module:
        from monai.networks.nets.restormer import Restormer as Network

        fold = settings["stem"]
        network = Network(
            spatial_dims=2,
            in_channels=2 * fold**2,
            out_channels=fold**2,
            dim=settings["channels"],
            num_blocks=tuple(settings["blocks"]),
            heads=HEADS,
            num_refinement_blocks=settings["refinement"],
        )
        _normalise_channels(network)
        return nn.Sequential(nn.PixelUnshuffle(fold), network, nn.PixelShuffle(fold))


def _normalise_channels(network: nn.Module) -> None:
    """Replace MONAI's instance normalisation, over the slice, by the publication's, over the channels."""
    from monai.networks.nets.restormer import MDTATransformerBlock

    for block in network.modules():
        if isinstance(block, MDTATransformerBlock):
            block.norm1 = ChannelNorm(block.norm1.num_features)
            block.norm2 = ChannelNorm(block.norm2.num_features)


METHOD = Restormer

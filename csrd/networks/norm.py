"""Normalisation over channels."""

from torch import Tensor, nn


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over each pixel's channels, (B, C, x, y) to the same shape."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

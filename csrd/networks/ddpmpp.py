"""The paper's network: the DDPM++ U-Net of EDM (Karras 2022, Table 7; Song 2021) in three dimensions.

Blocks in the order norm, SiLU, convolution; additive embedding of the noise level; skips scaled by √½; box
filter for resampling; self-attention in the bottleneck only.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from csrd.networks import VolumeNetwork

SKIP_SCALE = math.sqrt(0.5)
GROUPS, CHANNELS_PER_GROUP = 32, 4  # at most so many groups, of at least so many channels
NORM_EPS = 1e-6
FEATURE_MAPS = 12  # of the finest resolution that an evaluation holds at once
SMALL = 1e-5  # initial weight of each block's last layer: the network starts near the identity


class DDPMpp(VolumeNetwork):
    """F(x; noise, dose): (B, in, X, Y, Z) to (B, out, X, Y, Z); X, Y, Z divisible by `factor`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 1,
        *,
        channels: tuple[int, ...] = (64, 128, 128, 128),
        blocks: int = 4,
        dropout: float = 0.13,
        dose: bool = False,
    ) -> None:
        """Build the network; `channels` holds one entry a resolution; `dose` lets it see log drf."""
        super().__init__()
        width, embedding = channels[0], 4 * channels[0]
        self.factor = 2 ** (len(channels) - 1)
        self.bytes_per_voxel = FEATURE_MAPS * 4 * width
        self.checkpointed = False  # a third more time for a fraction of the memory, in training
        self.positional = Positional(width)
        self.embed0, self.embed1 = nn.Linear(width, embedding), nn.Linear(embedding, embedding)
        self.embed_dose = nn.Linear(1, width, bias=False) if dose else None

        def block(inner: int, outer: int, **options) -> Block:
            return Block(inner, outer, embedding, dropout=dropout, **options)

        self.encoder = nn.ModuleList([nn.Conv3d(in_channels, width, 3, padding=1)])
        skips, current = [width], width
        for level, outer in enumerate(channels):
            if level > 0:
                self.encoder.append(block(current, current, down=True))
                skips.append(current)
            for _ in range(blocks):
                self.encoder.append(block(current, outer))
                current = outer
                skips.append(current)
        self.middle = nn.ModuleList([block(current, current, attention=True), block(current, current)])
        self.decoder = nn.ModuleList()
        for level in reversed(range(len(channels))):
            if level < len(channels) - 1:
                self.decoder.append(block(current, current, up=True))
            for _ in range(blocks + 1):
                self.decoder.append(block(current + skips.pop(), channels[level]))
                current = channels[level]
        self.out_norm = group_norm(current)
        self.out_conv = nn.Conv3d(current, out_channels, 3, padding=1)
        _shrink(self.out_conv)

    def forward(self, x: Tensor, noise: Tensor, dose: Tensor | None = None) -> Tensor:
        """Return F for the noise condition `noise` (B,), c_noise of EDM, and log drf `dose` (B,)."""
        code = self.positional(noise)
        if self.embed_dose is not None:
            assert dose is not None, "this network was built to see the dose"
            code = code + self.embed_dose(dose[:, None].to(code.dtype))
        embedding = functional.silu(self.embed1(functional.silu(self.embed0(code))))
        skips = []
        for layer in self.encoder:
            x = self._through(layer, x, embedding) if isinstance(layer, Block) else layer(x)
            skips.append(x)
        for layer in self.middle:
            x = self._through(layer, x, embedding)
        for layer in self.decoder:
            if not layer.up:
                x = torch.cat([x, skips.pop()], 1)
            x = self._through(layer, x, embedding)
        return self.out_conv(functional.silu(self.out_norm(x)))

    def _through(self, block: nn.Module, x: Tensor, embedding: Tensor) -> Tensor:
        """Return a block's output; where `checkpointed`, its inside is computed again for the gradient."""
        if self.checkpointed and torch.is_grad_enabled():
            return checkpoint(block, x, embedding, use_reentrant=False)
        return block(x, embedding)


class Block(nn.Module):
    """A residual block of two convolutions, with optional resampling before and attention after them."""

    def __init__(
        self,
        inner: int,
        outer: int,
        embedding: int,
        *,
        dropout: float,
        up: bool = False,
        down: bool = False,
        attention: bool = False,
    ) -> None:
        super().__init__()
        self.up, self.down = up, down
        self.norm0, self.norm1 = group_norm(inner), group_norm(outer)
        self.conv0 = nn.Conv3d(inner, outer, 3, padding=1)
        self.conv1 = nn.Conv3d(outer, outer, 3, padding=1)
        self.affine = nn.Linear(embedding, outer)
        self.dropout = nn.Dropout(dropout)
        self.skip = nn.Conv3d(inner, outer, 1) if inner != outer or up or down else nn.Identity()
        self.attention = Attention(outer) if attention else None
        _shrink(self.conv1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        y = self.conv0(self._resample(functional.silu(self.norm0(x))))
        y = functional.silu(self.norm1(y + self.affine(embedding)[:, :, None, None, None]))
        x = (self.conv1(self.dropout(y)) + self.skip(self._resample(x))) * SKIP_SCALE
        return x if self.attention is None else (x + self.attention(x)) * SKIP_SCALE

    def _resample(self, x: Tensor) -> Tensor:
        if self.down:
            return functional.avg_pool3d(x, 2)
        return functional.interpolate(x, scale_factor=2, mode="nearest") if self.up else x


class Attention(nn.Module):
    """Self-attention of one head over all voxels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = group_norm(channels)
        self.qkv = nn.Conv3d(channels, 3 * channels, 1)
        self.project = nn.Conv3d(channels, channels, 1)
        _shrink(self.project)

    def forward(self, x: Tensor) -> Tensor:
        # (B, 1, voxels, channels): of one head, in the form that fused attention takes
        q, k, v = (part.flatten(2).transpose(1, 2)[:, None] for part in self.qkv(self.norm(x)).chunk(3, 1))
        y = functional.scaled_dot_product_attention(q, k, v)[:, 0]
        return self.project(y.transpose(1, 2).reshape(x.shape))


class Positional(nn.Module):
    """cos and sin of the noise condition at geometrically spaced frequencies from 1 to 1/10000."""

    frequencies: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.register_buffer("frequencies", 1e-4 ** (torch.arange(half) / max(half - 1, 1)), persistent=False)

    def forward(self, noise: Tensor) -> Tensor:
        angles = noise[:, None].float() * self.frequencies
        return torch.cat([angles.cos(), angles.sin()], 1)


class GroupNorm(nn.GroupNorm):
    """Group normalisation in the precision of its input.

    Autocast would compute it in float32, which doubles what a step reads, writes and keeps. Its sums are
    float32 in any case.
    """

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
            return functional.group_norm(x, self.num_groups, weight, bias, self.eps)


def group_norm(channels: int) -> GroupNorm:
    """Return the group normalisation that suits a number of channels: as many groups as divide it evenly."""
    groups = max(min(GROUPS, channels // CHANNELS_PER_GROUP), 1)
    while channels % groups:
        groups -= 1
    return GroupNorm(groups, channels, eps=NORM_EPS)


def _shrink(layer: nn.Conv3d) -> None:
    """Scale a layer's initial weights so that it starts near zero."""
    with torch.no_grad():
        layer.weight.mul_(SMALL)
        if layer.bias is not None:
            layer.bias.zero_()

"""A residual U-Net in three dimensions without any normalisation, for scans of every noise and contrast.

Nothing divides by the size of the features, so that a residual's size in the input is its size in the output.
No layer uses statistics of the image: a patch, a tile and a volume give the same result. The stem folds
2 × 2 × 2 voxels into channels, which makes it eight times cheaper than one at full resolution.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from csrd.networks import VolumeNetwork
from csrd.networks.folded import fold, unfold

FEATURE_MAPS = 12  # of the finest resolution that an evaluation holds at once
EMBEDDING = 4  # embedding channels per channel of the finest resolution


class ResUNet(VolumeNetwork):
    """F(x; noise, level): (B, in, X, Y, Z) to (B, out, X, Y, Z); X, Y, Z divisible by `factor`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 1,
        *,
        channels: tuple[int, ...] = (64, 128, 128, 128),
        blocks: int = 1,
        stem: int = 2,
        skip: tuple[float, ...] = (),
    ) -> None:
        """Build the network; `channels` holds one entry a resolution, the finest of which is 1/`stem`.

        `skip` are the first weights of the inputs in the output: an untrained network returns their sum.
        """
        super().__init__()
        width = EMBEDDING * channels[0]
        self.stem, self.factor = stem, stem * 2 ** (len(channels) - 1)
        self.bytes_per_voxel = FEATURE_MAPS * 4 * channels[0] / stem**3
        self.embed_noise = nn.Sequential(Fourier(width), nn.Linear(width, width))
        self.embed_level = nn.Sequential(Fourier(width), nn.Linear(width, width))

        def level(n: int) -> Level:
            return Level(Block(n, width) for _ in range(blocks))

        self.conv_in = nn.Conv3d(in_channels * stem**3, channels[0], 3, padding=1)
        self.encoder = nn.ModuleList(level(n) for n in channels)
        self.decoder = nn.ModuleList(level(n) for n in channels[:-1])
        pairs = list(zip(channels[:-1], channels[1:], strict=True))
        self.down = nn.ModuleList(nn.Conv3d(fine, coarse, 2, stride=2) for fine, coarse in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose3d(coarse, fine, 2, stride=2) for fine, coarse in pairs)
        self.conv_out = nn.Conv3d(channels[0], out_channels * stem**3, 3, padding=1)
        self.skip = nn.Conv3d(in_channels, out_channels, 1, bias=False)
        with torch.no_grad():
            self.skip.weight.zero_()
            for number, share in enumerate(skip):
                self.skip.weight[:, number] = share
        for layer in (self.conv_out, *(block.conv1 for block in self.modules() if isinstance(block, Block))):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)
        self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload] # torch declares less

    def forward(self, x: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        """Return F for the noise condition `noise` (B,), c_noise of EDM, and the log of the scan's noise."""
        # a quarter, as of ln σ: levels between and beyond the trained ones then look alike to the features
        embedding = functional.silu(self.embed_noise(noise) + self.embed_level(level / 4))
        direct = self.skip(x)
        x = self.conv_in(fold(x, self.stem).contiguous(memory_format=torch.channels_last_3d))
        skips = []
        for number, blocks in enumerate(self.encoder):
            x = blocks(x if number == 0 else self.down[number - 1](x), embedding)
            skips.append(x)
        for number in reversed(range(len(self.decoder))):
            x = self.decoder[number](self.up[number](x) + skips[number], embedding)
        return unfold(self.conv_out(x), self.stem) + direct


class Level(nn.ModuleList):
    """The blocks of one resolution, one after the other."""

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        for block in self:
            x = block(x, embedding)
        return x


class Block(nn.Module):
    """x + conv(silu(conv(silu(x)) · (1 + scale) + shift)), scale and shift from the embedding."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.conv0, self.conv1 = (nn.Conv3d(channels, channels, 3, padding=1) for _ in range(2))
        self.embed = nn.Linear(embedding, 2 * channels)
        nn.init.zeros_(self.embed.weight)
        nn.init.zeros_(self.embed.bias)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        y = self.conv0(functional.silu(x))
        scale, shift = self.embed(embedding)[:, :, None, None, None].to(y.dtype).chunk(2, 1)
        return x + self.conv1(functional.silu(y * (1 + scale) + shift))


class Fourier(nn.Module):
    """√2 cos(2π(f x + φ)) of a scalar, at fixed random frequencies of unit variance (Karras 2024, eq. 75)."""

    frequencies: Tensor
    phases: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.randn(channels))
        self.register_buffer("phases", torch.rand(channels))

    def forward(self, x: Tensor) -> Tensor:
        return math.sqrt(2) * torch.cos(2 * math.pi * (x[:, None].float() * self.frequencies + self.phases))

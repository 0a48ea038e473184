"""A magnitude-preserving U-Net in three dimensions (Karras 2024, config G), without global statistics.

Every layer keeps unit variance by construction: weights are normalised, sums and concatenations are weighted,
SiLU is rescaled, and the encoder divides each voxel's features by their root mean square. No layer uses
statistics of the image, so a patch, a tile and a volume give the same result. A stem that folds 2 × 2 × 2
voxels into channels makes it eight times cheaper than one at full resolution.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from csrd.networks import VolumeNetwork

EPS = 1e-4
SILU_RMS = 0.596  # root mean square of silu(n), n ~ N(0, 1)
RESIDUAL = 0.3  # weight t of a block's branch in eq. 88
FEATURE_MAPS = 12  # of the finest resolution that an evaluation holds at once
EMBEDDING = 4  # embedding channels per channel of the finest resolution


class EDM2(VolumeNetwork):
    """F(x; noise, dose): (B, in, X, Y, Z) to (B, out, X, Y, Z); X, Y, Z divisible by `factor`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 1,
        *,
        channels: tuple[int, ...] = (32, 64, 64),
        blocks: int = 1,
        stem: int = 2,
        dropout: float = 0.0,
        dose: bool = True,
    ) -> None:
        """Build the network; `channels` holds one entry a resolution, the finest of which is 1/`stem`."""
        super().__init__()
        width = EMBEDDING * channels[0]
        self.stem, self.factor = stem, stem * 2 ** (len(channels) - 1)
        self.bytes_per_voxel = FEATURE_MAPS * 4 * channels[0] / stem**3
        self.fourier = Fourier(width)
        self.embed_noise = MPLinear(width, width)
        self.embed_dose = nn.Sequential(Fourier(width), MPLinear(width, width)) if dose else None

        def block(inner: int, outer: int, **options) -> Block:
            return Block(inner, outer, width, dropout=dropout, **options)

        levels = range(len(channels))
        self.conv_in = MPConv((in_channels + 1) * stem**3, channels[0], 3)
        self.encoder = nn.ModuleList()
        for level in levels:
            current = channels[max(level - 1, 0)]
            for i in range(blocks):
                self.encoder.append(block(current, channels[level], down=level > 0 and i == 0))
                current = channels[level]
        self.middle = block(channels[-1], channels[-1], decoder=True)
        self.decoder = nn.ModuleList()
        for level in reversed(levels[:-1]):
            current = channels[level + 1]
            for i in range(blocks):
                skip = channels[level] if i == 0 else 0
                self.decoder.append(block(current, channels[level], up=i == 0, skip=skip, decoder=True))
                current = channels[level]
        self.conv_out = MPConv(channels[0], out_channels * stem**3, 3)
        self.gain_out = nn.Parameter(torch.zeros([]))
        # 1.5 times as fast as channels first, on a CPU
        self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload] # torch declares less

    def forward(self, x: Tensor, noise: Tensor, dose: Tensor | None = None) -> Tensor:
        """Return F for the noise condition `noise` (B,), c_noise of EDM, and log drf `dose` (B,)."""
        embedding = self.embed_noise(self.fourier(noise))
        if self.embed_dose is not None:
            # a quarter, as of ln σ: doses between and beyond the trained ones then look alike to the features
            assert dose is not None, "this network was built to see the dose"
            embedding = mp_sum(embedding, self.embed_dose(dose / 4), 0.5)
        embedding = mp_silu(embedding)
        x = torch.cat([x, torch.ones_like(x[:, :1])], 1)  # a constant channel stands for all biases
        x = self.conv_in(fold(x, self.stem).contiguous(memory_format=torch.channels_last_3d))
        skips = []
        for block in self.encoder:
            if block.down:
                skips.append(x)
            x = block(x, embedding)
        x = self.middle(x, embedding)
        for block in self.decoder:
            x = block(x, embedding, skips.pop() if block.up else None)
        return unfold(self.conv_out(x) * self.gain_out.to(x.dtype), self.stem)

    @torch.no_grad()
    def normalise_weights(self) -> None:
        """Set each layer's weight to unit norm per output; called after every optimiser step (eq. 66)."""
        for layer in self.modules():
            if isinstance(layer, MPConv | MPLinear):
                layer.weight.copy_(unit_weight(layer.weight))


class Block(nn.Module):
    """A residual block, its branch modulated by the embedding; resampling and `skip` channels come first."""

    def __init__(
        self,
        inner: int,
        outer: int,
        embedding: int,
        *,
        dropout: float,
        up: bool = False,
        down: bool = False,
        decoder: bool = False,
        skip: int = 0,
    ) -> None:
        super().__init__()
        self.up, self.down, self.is_decoder, self.dropout = up, down, decoder, dropout
        inner += skip
        self.conv_skip = MPConv(inner, outer, 1) if inner != outer else None
        self.conv0 = MPConv(inner if decoder else outer, outer, 3)
        self.conv1 = MPConv(outer, outer, 3)
        self.embed = MPLinear(embedding, outer)
        self.gain = nn.Parameter(torch.zeros([]))

    def forward(self, x: Tensor, embedding: Tensor, skip: Tensor | None = None) -> Tensor:
        if self.down:
            x = functional.avg_pool3d(x, 2)
        elif self.up:
            x = functional.interpolate(x, scale_factor=2, mode="nearest")
        if skip is not None:
            x = mp_cat(x, skip)
        if not self.is_decoder:
            x = pixel_norm(x if self.conv_skip is None else self.conv_skip(x))
        y = self.conv0(functional.silu(x), 1 / SILU_RMS)
        scale = self.embed(embedding) * self.gain.to(embedding.dtype) + 1
        y = functional.silu(y * scale[:, :, None, None, None].to(y.dtype))
        if self.dropout:
            y = functional.dropout(y, self.dropout, self.training)
        if self.is_decoder and self.conv_skip is not None:
            x = self.conv_skip(x)
        # mp_sum(x, conv1(mp_silu(·)), RESIDUAL), its factors put on the weights, which are fewer than voxels
        x_share, y_share = mp_shares(RESIDUAL)
        return torch.add(self.conv1(y, y_share / SILU_RMS), x, alpha=x_share)


class MPConv(nn.Module):
    """A 3D convolution without bias that keeps the variance of independent inputs, times `gain`² (eq. 47).

    Its weights have unit norm from the start, and again after each step (see `EDM2.normalise_weights`).
    """

    def __init__(self, inner: int, outer: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(unit_weight(torch.randn(outer, inner, kernel, kernel, kernel)))

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        weight = self.weight * (gain / math.sqrt(self.weight[0].numel()))
        return functional.conv3d(x, weight.to(x.dtype), padding=self.weight.shape[-1] // 2)


class MPLinear(nn.Module):
    """The same for a linear layer."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(unit_weight(torch.randn(outer, inner)))

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, (self.weight / math.sqrt(self.weight.shape[1])).to(x.dtype))


class Fourier(nn.Module):
    """√2 cos(2π(f x + φ)) of a scalar, at fixed random frequencies of unit variance (eq. 75)."""

    frequencies: Tensor
    phases: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.randn(channels))
        self.register_buffer("phases", torch.rand(channels))

    def forward(self, x: Tensor) -> Tensor:
        return math.sqrt(2) * torch.cos(2 * math.pi * (x[:, None].float() * self.frequencies + self.phases))


def unit_weight(weight: Tensor) -> Tensor:
    """Return the weight with root mean square 1 over each output's inputs."""
    norm = torch.linalg.vector_norm(weight, dim=tuple(range(1, weight.ndim)), keepdim=True)
    return weight / (EPS + norm / math.sqrt(weight[0].numel()))


def pixel_norm(x: Tensor) -> Tensor:
    """Return x with root mean square 1 over the channels of each voxel (eq. 30)."""
    wide = torch.promote_types(x.dtype, torch.float32)
    norm = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=wide)
    return x * (math.sqrt(x.shape[1]) / (norm + EPS)).to(x.dtype)


def mp_silu(x: Tensor) -> Tensor:
    """Return SiLU at unit variance for unit Gaussian input (eq. 81)."""
    return functional.silu(x) / SILU_RMS


def mp_sum(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Return (1 − t) a + t b at unit variance for independent inputs of unit variance (eq. 88)."""
    share_a, share_b = mp_shares(t)
    return share_a * a + share_b * b


def mp_shares(t: float) -> tuple[float, float]:
    """Return the factors of `mp_sum`: 1 − t and t over √((1 − t)² + t²)."""
    norm = math.hypot(1 - t, t)
    return (1 - t) / norm, t / norm


def mp_cat(a: Tensor, b: Tensor) -> Tensor:
    """Return a and b along the channels, weighted to contribute alike (eq. 103 at t = 1/2)."""
    total = a.shape[1] + b.shape[1]
    return torch.cat(
        [a * math.sqrt(total / (2 * a.shape[1])), b.to(a.dtype) * math.sqrt(total / (2 * b.shape[1]))], 1
    )


def fold(x: Tensor, size: int) -> Tensor:
    """Return (B, C, X, Y, Z) as (B, C·size³, X/size, Y/size, Z/size)."""
    if size == 1:
        return x
    b, c, *shape = x.shape
    x = x.reshape(b, c, *(part for n in shape for part in (n // size, size)))
    return x.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(b, c * size**3, *(n // size for n in shape))


def unfold(x: Tensor, size: int) -> Tensor:
    """Return (B, C·size³, X, Y, Z) as (B, C, X·size, Y·size, Z·size), the inverse of `fold`."""
    if size == 1:
        return x
    b, c, *shape = x.shape
    x = x.reshape(b, c // size**3, size, size, size, *shape)
    return x.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(b, c // size**3, *(n * size for n in shape))

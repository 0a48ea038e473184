"""The posterior of one scan of any size by a trained denoiser: the residual's mean, and samples of it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial

import torch
from torch import Generator, Tensor, nn

from csrd.diffusion.precondition import Denoiser
from csrd.diffusion.sampler import Churn, heun
from csrd.diffusion.tiles import Box, tiled
from csrd.networks import VolumeNetwork
from csrd.seeds import key64
from csrd.train.device import free_bytes
from csrd.train.patches import translated

HALO = 16
"""Smallest halo in voxels. Where the halo covers the receptive field, tiles equal the complete volume. The
default network's field has 44 voxels, but the outer ones hardly matter: with random weights, tiles differ by
0.3 to 0.5 % of the output's standard deviation."""


class Posterior:
    """p(r | conditions) of one volume. Residuals are (X, Y, Z) tensors in the model's unit."""

    def __init__(
        self,
        denoiser: Denoiser,
        conditions: Tensor,
        dose: float,
        seed: int,
        *,
        precision: Callable[[], AbstractContextManager],
        mirrored: Tensor | None = None,
        translations: tuple[int, ...] = (0,),
        tile: int | None = None,
    ) -> None:
        """Bind a denoiser to `conditions` (C, X, Y, Z), on its device, and to the log of the drf.

        `mean` averages several views (test-time augmentation): `conditions` and, where given, `mirrored`,
        those of the scan with X reversed, each translated along every axis by each of `translations` voxels.
        A network that works on coarser grids too has slightly different outputs for every view.
        `tile` is the edge of the tiles in voxels; None: as large as the memory allows.
        """
        self.denoiser, self.seed, self.precision = denoiser.eval(), seed, precision
        self.shape = tuple(conditions.shape[1:])
        self.conditions = padded(conditions, denoiser.network.factor)[None]
        self.scan, self.mirrored, self.translations = conditions, mirrored, translations
        self.dose = torch.tensor([dose], dtype=torch.float32, device=conditions.device)
        self._mean: Tensor | None = None
        self.tile = tile or tile_that_fits(denoiser.network, self.conditions.shape[2:], conditions.device)

    @torch.no_grad()
    def mean(self) -> Tensor:
        """Return E[r | conditions], for which the network was trained without a residual as input."""
        if self._mean is None:
            views = [self._view(self.scan, by) for by in self.translations]
            if self.mirrored is not None:
                views += [self._view(self.mirrored, by).flip(0) for by in self.translations]
            self._mean = torch.stack(views).mean(0)
        return self._mean

    @torch.no_grad()
    def mean_under_noise(self, sigma_max: float) -> Tensor:
        """Return E[r | conditions] of a network with a noisy residual as input: D of noise of `sigma_max`."""
        return self._cropped(self._denoise(self._noise("mean") * sigma_max, sigma_max, self.conditions))

    @torch.no_grad()
    def sample(
        self,
        number: int,
        sigmas: list[float],
        churn: Churn | None = None,
        *,
        from_mean: bool = False,
        start: float = 1.0,
    ) -> Tensor:
        """Return sample `number`, which depends on the seed and on no other sample.

        `from_mean` starts around the posterior mean (see `heun`), with `start` times the noise of the first
        level: 1 for a sample; 0 for the transport of the mean itself.
        """
        centre = padded(self.mean()[None], self.denoiser.network.factor)[None] if from_mean else 0.0
        denoise, fresh = partial(self._denoise, conditions=self.conditions), partial(self._noise, number)
        return self._cropped(heun(denoise, start * self._noise(number), sigmas, churn, fresh, centre))

    def _view(self, conditions: Tensor, by: int) -> Tensor:
        """Return the mean given conditions (C, X, Y, Z) that are translated by `by` voxels."""
        moved = padded(translated(conditions[None], by)[0], self.denoiser.network.factor)[None]
        mean = self._denoise(torch.zeros_like(moved[:, :1]), self.denoiser.blank, moved)
        return mean[0, 0][tuple(slice(by, by + n) for n in self.shape)].float()

    def _denoise(self, r: Tensor, sigma: float, conditions: Tensor) -> Tensor:
        """Return D(r; σ, conditions) of the padded volume (1, 1, X, Y, Z), tile by tile where necessary."""
        level = torch.full((1,), sigma, device=r.device)

        def evaluate(box: Box) -> Tensor:
            part = (slice(None), slice(None), *box)
            with self.precision():
                return self.denoiser(r[part], level, conditions[part], self.dose)

        if self.tile is None:
            return evaluate((slice(None),) * 3)
        return tiled(evaluate, r.shape[2:], self.tile, halo(self.denoiser.network))

    def _noise(self, *names: str | int) -> Tensor:
        """Return unit noise for the padded volume; it does not depend on the tiles."""
        device = self.conditions.device
        generator = Generator(device).manual_seed(key64(self.seed, *names) % 2**63)
        return torch.randn(1, 1, *self.conditions.shape[2:], generator=generator, device=device)

    def _cropped(self, r: Tensor) -> Tensor:
        return r[0, 0][tuple(slice(n) for n in self.shape)].float()


def halo(network: VolumeNetwork) -> int:
    """Return how many voxels at a tile's border are not used: a multiple of the network's factor."""
    return -(-HALO // network.factor) * network.factor


def tile_that_fits(network: VolumeNetwork, shape: Sequence[int], device: torch.device) -> int | None:
    """Return the edge of the largest tiles that fit into memory, None where the complete volume fits."""
    voxels = free_bytes(device) / network.bytes_per_voxel
    if shape[0] * shape[1] * shape[2] <= voxels:
        return None
    step = halo(network)
    return max(int(voxels ** (1 / 3)) // step * step, 4 * step)


def padded(x: Tensor, factor: int) -> Tensor:
    """Return (C, X, Y, Z) padded at its ends to multiples of `factor`, the last voxels repeated."""
    grow = [-n % factor for n in x.shape[1:]]
    if not any(grow):
        return x
    return nn.functional.pad(x[None], [part for g in reversed(grow) for part in (0, g)], mode="replicate")[0]

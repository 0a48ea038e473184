"""The residual denoiser's loss and the noise levels it is trained at (paper, eq. 2 and 5; EDM, Table 1)."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from csrd.diffusion.precondition import Denoiser


@dataclass(frozen=True)
class NoiseLevels:
    """ln σ ~ N(`mean`, `std`²) (EDM, Table 1: P_mean, P_std); a fraction `blank` has no residual."""

    mean: float
    std: float
    blank: float = 0.0

    def draw(self, n: int, denoiser: Denoiser, generator: Generator) -> Tensor:
        """Return (n,) noise levels; those of patches for the posterior mean are `denoiser.blank`."""
        normal = torch.randn(n, generator=generator, device=generator.device)
        uniform = torch.rand(n, generator=generator, device=generator.device)
        sigma = (self.mean + self.std * normal).exp()
        return torch.where(uniform < self.blank, denoiser.blank, sigma)


def weight(sigma: Tensor, sigma_data: float) -> Tensor:
    """Return λ(σ) = (σ² + σ_d²) / (σ σ_d)², the inverse of c_out²: every σ has equal weight at the start."""
    return (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2


def residual_loss(
    denoiser: Denoiser,
    residual: Tensor,
    conditions: Tensor,
    dose: Tensor,
    sigma: Tensor,
    noise: Tensor,
    importance: Tensor | None = None,
) -> Tensor:
    """Return λ(σ) ‖D(y + n; σ, conditions) − y‖² of each patch, a mean over voxels: (B,) (paper, eq. 5).

    `residual` y (B, 1, X, Y, Z); `noise` like it, of unit variance; `sigma` (B,). `importance`
    (B, 1, X, Y, Z) multiplies each voxel's squared error.
    """
    s = sigma.reshape(-1, 1, 1, 1, 1)
    denoised = denoiser(residual + s * noise, sigma, conditions, dose)
    squares = (denoised - residual).square()
    squares = squares if importance is None else importance * squares
    return weight(sigma, denoiser.sigma_data) * squares.mean((1, 2, 3, 4))

"""Preconditioning: from a network of unit variance to the denoiser D(r; σ) (EDM, eq. 7, Table 1)."""

import torch
from torch import Tensor, nn

from csrd.networks import VolumeNetwork

BLANK = 1e3  # σ over σ_data above which the noisy residual has no information and is not an input


def c_skip(sigma: Tensor, sigma_data: float) -> Tensor:
    """Return σ_d² / (σ² + σ_d²)."""
    return sigma_data**2 / (sigma**2 + sigma_data**2)


def c_out(sigma: Tensor, sigma_data: float) -> Tensor:
    """Return σ σ_d / √(σ² + σ_d²)."""
    return sigma * sigma_data / (sigma**2 + sigma_data**2).sqrt()


def c_in(sigma: Tensor, sigma_data: float) -> Tensor:
    """Return 1 / √(σ² + σ_d²)."""
    return 1 / (sigma**2 + sigma_data**2).sqrt()


def c_noise(sigma: Tensor) -> Tensor:
    """Return ln(σ) / 4."""
    return sigma.log() / 4


class Denoiser(nn.Module):
    """D(r; σ, conditions, dose), an estimate of the clean residual given the noisy r and the conditions.

    Residuals have standard deviation `sigma_data` over the training set, by the caller's scaling.
    """

    def __init__(self, network: VolumeNetwork, sigma_data: float) -> None:
        """Wrap a network F(x, noise condition, dose) with x = (noisy residual, conditions)."""
        super().__init__()
        self.network, self.sigma_data = network, sigma_data

    def forward(self, r: Tensor, sigma: Tensor, conditions: Tensor, dose: Tensor) -> Tensor:
        """Return D = c_skip r + c_out F(c_in r; c_noise) (EDM, eq. 7), float32.

        `r` (B, 1, X, Y, Z); `sigma` (B,); `conditions` (B, C, X, Y, Z); `dose` (B,), log of the dose
        reduction factor. For σ ≥ `BLANK` · σ_d this is the posterior mean E[r | conditions], and `r` has no
        effect.
        """
        s = sigma.float().reshape(-1, 1, 1, 1, 1)
        shown = torch.where(s < BLANK * self.sigma_data, c_in(s, self.sigma_data), 0.0)
        x = torch.cat([shown * r, conditions.to(r.dtype)], 1)
        f = self.network(x, c_noise(sigma.float()), dose)
        return (
            torch.where(shown > 0, c_skip(s, self.sigma_data), 0.0) * r
            + c_out(s, self.sigma_data) * f.float()
        )

    @property
    def blank(self) -> float:
        """Return the σ at which the output is the posterior mean."""
        return BLANK * self.sigma_data

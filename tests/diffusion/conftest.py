"""Denoisers whose answers are known: of Gaussian residuals; and one small network with every weight alive."""

import pytest
import torch
from torch import Tensor, nn

from csrd.diffusion.precondition import Denoiser
from csrd.networks.resunet import ResUNet


@pytest.fixture(autouse=True)
def one_thread():
    """These tests are tiny: threads cost more than they give."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Zero(nn.Module):
    """F = 0, which notes what it was shown."""

    factor, bytes_per_voxel = 1, 1.0

    def forward(self, x: Tensor, noise: Tensor, dose: Tensor) -> Tensor:
        self.x, self.noise, self.dose = x, noise, dose
        return torch.zeros_like(x[:, :1])


class Ideal(nn.Module):
    """F of the best denoiser of independent residuals of mean 0 and standard deviation `spread`."""

    factor, bytes_per_voxel = 1, 1.0

    def __init__(self, spread: float, sigma_data: float) -> None:
        super().__init__()
        self.spread, self.sigma_data, self.calls = spread, sigma_data, 0

    def forward(self, x: Tensor, noise: Tensor, dose: Tensor) -> Tensor:
        self.calls += 1
        sigma = (4 * noise).exp().reshape(-1, 1, 1, 1, 1)
        total = sigma**2 + self.sigma_data**2
        r = x[:, :1] * total.sqrt()
        wanted = self.spread**2 / (self.spread**2 + sigma**2) * r
        return (wanted - self.sigma_data**2 / total * r) * total.sqrt() / (sigma * self.sigma_data)


@pytest.fixture
def zero() -> Zero:
    return Zero()


@pytest.fixture
def ideal():
    """Return a function: standard deviation of the residuals, sigma_data -> their best denoiser."""
    return lambda spread, sigma_data: Denoiser(Ideal(spread, sigma_data), sigma_data)


@pytest.fixture
def small_network() -> ResUNet:
    """A network of random weights, whose receptive field of 11 voxels a halo of 16 covers."""
    torch.manual_seed(3)
    network = ResUNet(3, channels=(4, 8), stem=1)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(torch.randn(weight.shape) / weight[0].numel() ** 0.5)
    return network.eval()

"""The networks that are measured and trained, as in `config/`, for a bare machine.

tests/benchmarks/test_gpu.py holds these figures against the configuration.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn

from csrd.diffusion.sampler import Churn, noise_levels
from csrd.networks.ddpmpp import DDPMpp
from csrd.networks.resunet import ResUNet
from csrd.synthetic.conditions import CHANNELS
from csrd.train.checkpoint import load_weights

SIGMA_DATA = 0.5
WEIGHTS = Path(__file__).parents[2] / "csrd" / "methods" / "weights"


@dataclass(frozen=True)
class Preset:
    """A network with the settings of its training and sampling; `channels` are its inputs."""

    network: Callable[..., nn.Module]
    options: dict
    channels: int
    patch: int
    batch: int
    training: dict
    levels: tuple[float, float, float]  # P_mean, P_std, share of patches for the posterior mean
    steps: int
    sigma: tuple[float, float, float]  # the sampler's lowest and highest noise level, and rho
    churn: Churn = field(default_factory=Churn)

    def build(self) -> nn.Module:
        """Return the network with initial weights."""
        return self.network(self.channels, **self.options)

    def plan(self, steps: int, batch: int | None = None) -> SimpleNamespace:
        """Return how to train for so many steps."""
        return SimpleNamespace(steps=steps, batch=batch or self.batch, **self.training)

    def tiny(self) -> "Preset":
        """Return the same in miniature, for a test of the driver."""
        options = self.options | {"channels": (8, 8), "blocks": 1}
        return replace(self, options=options, patch=16, batch=2, steps=2)

    def sampler_levels(self) -> list[float]:
        """Return the noise levels of a sample."""
        return noise_levels(self.steps, *self.sigma)


DEFAULT = Preset(
    ResUNet,
    {"channels": (32, 64, 64), "blocks": 1, "stem": 2},
    channels=6,  # noisy residual, low dose, MR, x, y, z
    patch=32,
    batch=4,
    training={"lr": 0.001, "beta2": 0.99, "ramp": 0.02, "decay": 0.5, "weight_decay": 0.0, "clip": 1.0},
    levels=(-1.2, 1.0, 0.8),
    steps=4,
    sigma=(0.05, 1.0, 3.0),
)
PAPER = Preset(
    DDPMpp,
    {"channels": (64, 128, 128, 128), "blocks": 4, "dropout": 0.13, "dose": False},
    channels=6,
    patch=64,
    batch=16,
    training={"lr": 0.002, "beta2": 0.999, "ramp": 0.05, "decay": 0.0, "weight_decay": 0.0, "clip": 0.0},
    levels=(-1.2, 1.2, 0.0),
    steps=50,
    sigma=(0.002, 80.0, 7.0),
    churn=Churn(40.0, 0.05, 50.0, 1.003),
)
GPU = replace(
    DEFAULT,
    options={"channels": (64, 128, 128), "blocks": 1, "stem": 2},
    patch=48,
    batch=16,
    training=DEFAULT.training | {"lr": 0.0007},
)
MEASURED = {"default": DEFAULT, "paper": PAPER}
PRESETS = MEASURED | {"gpu": GPU}


def packaged_network() -> nn.Module:
    """Return the network of the packaged model with MR, with its weights."""
    card = json.loads((WEIGHTS / "csrd" / "model.json").read_text())["architecture"]
    network = ResUNet(1 + CHANNELS, **{name: card[name] for name in ("channels", "blocks", "stem")})
    load_weights(WEIGHTS / "csrd" / "weights.safetensors", network)
    return network


def random_conditions(preset: Preset, n: int, device: str) -> torch.Tensor:
    """Return conditions (C, n, n, n) of noise: what a network's speed depends on is their size alone."""
    return torch.randn(preset.channels - 1, n, n, n, device=device)

"""Training of the packaged network on synthetic pairs, in torch and numpy alone: on two cores, or on a GPU.

    python -m csrd.synthetic.pretrain build/pretrained --preset cpu

A training that was interrupted goes on where it was. Average and figures are those of synthetic volumes that
are no part of the training. `csrd.pretrained` makes a packaged model of the folder.
"""

import argparse
import json
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from csrd.diffusion.loss import NoiseLevels, residual_loss
from csrd.diffusion.posterior import Posterior
from csrd.diffusion.precondition import Denoiser
from csrd.errors import plain_errors
from csrd.networks.resunet import ResUNet
from csrd.pretrained import TRAINING_FILE
from csrd.progress import progress
from csrd.synthetic import ANATOMIES, NOISE, Synthetic, measure
from csrd.synthetic.conditions import CHANNELS, SKIP
from csrd.synthetic.volumes import SyntheticVolume
from csrd.train.checkpoint import StateFolder, fingerprint, save_weights
from csrd.train.device import precision
from csrd.train.loop import averaged, train
from csrd.train.patches import Batch

SIGMA_DATA = 0.5
HELD_OUT = 1_000_000  # number of the first volume that is no part of the training
EMA_LENGTHS = (0.05, 0.10, 0.15, 0.20)
WEIGHTS_FILE = "weights.safetensors"


@dataclass(frozen=True)
class Recipe:
    """Network and training; `volumes` are at hand at a time, each for about `patches_per_volume` patches."""

    channels: tuple[int, ...]
    batch: int
    patch: int
    steps: int
    lr: float
    volumes: int
    patches_per_volume: int
    blocks: int = 1
    stem: int = 2
    beta2: float = 0.99
    ramp: float = 0.01
    decay: float = 0.6
    weight_decay: float = 1e-4
    P_mean: float = -1.2
    P_std: float = 1.0
    blank: float = 0.8
    held_out: int = 8

    def training(self) -> Any:
        """Return what the loop reads of `csrd.config.methods.Training`, which a bare machine lacks."""
        names = ("steps", "batch", "lr", "beta2", "ramp", "decay", "weight_decay")
        return SimpleNamespace(**{name: getattr(self, name) for name in names})

    def network(self) -> ResUNet:
        """Return the network with initial weights."""
        return ResUNet(1 + CHANNELS, channels=self.channels, blocks=self.blocks, stem=self.stem, skip=SKIP)


PRESETS = {
    "cpu": Recipe((32, 64, 96), 8, 32, 7_000, 1e-3, volumes=96, patches_per_volume=128),
    "gpu": Recipe((64, 128, 128, 128), 32, 64, 16_000, 1e-3, volumes=400, patches_per_volume=32),
}


class Task:
    """The residual denoiser's loss, and the noise that its posterior mean leaves in held-out volumes."""

    def __init__(self, recipe: Recipe, network: ResUNet, held_out: list[SyntheticVolume]) -> None:
        self.network, self.held_out = network, held_out
        self.denoiser = Denoiser(network, SIGMA_DATA)
        self.levels = NoiseLevels(recipe.P_mean, recipe.P_std, recipe.blank)

    def losses(self, batch: Batch) -> Tensor:
        """Return each patch's loss, relative to the variance of its volume's residual: every noise counts."""
        sigma = torch.cat([self.levels.draw(1, self.denoiser, g) for g in batch.generators])
        loss = residual_loss(self.denoiser, batch.target, batch.inputs, batch.dose, sigma, batch.noise())
        assert batch.weight is not None, "a synthetic batch has weights"
        return loss * batch.weight * SIGMA_DATA**2

    def validate(self) -> dict[str, float]:
        """Return the mean fall of the error over the held-out volumes, in dB."""
        return {"psnr": sum(map(self.gain_db, self.held_out)) / len(self.held_out)}

    def gain_db(self, volume: SyntheticVolume) -> float:
        """Return by how much the error against the truth falls in the head, in dB."""
        mask = measure.head_mask(volume.low, volume.voxel_mm)
        context = partial(precision, volume.low.device)
        posterior = Posterior(self.denoiser, volume.inputs, float(volume.level.log()), 1, precision=context)
        left = volume.target[0] - posterior.mean()
        return float(10 * torch.log10(volume.target[0][mask].square().mean() / left[mask].square().mean()))


def pretrain(out: Path, recipe: Recipe, device: torch.device, seed: int) -> dict:
    """Train, go on with what `out` holds, and leave the weights there; return the facts that are written."""
    source = Synthetic(
        ANATOMIES, NOISE, device, seed, patch=recipe.patch,
        volumes=recipe.volumes, patches_per_volume=recipe.patches_per_volume,
    )  # fmt: skip
    torch.manual_seed(seed)
    network = recipe.network().to(device)
    if device.type == "cuda":
        network.compile()
    held_out = [source.volume(HELD_OUT + i, with_labels=False) for i in range(recipe.held_out)]
    task = Task(recipe, network, held_out)
    context = partial(precision, device, recipe.patch // network.factor)
    state = out / f"state-{fingerprint({'recipe': asdict(recipe), 'seed': seed}, [])}"
    state.mkdir(parents=True, exist_ok=True)
    folder, shown = StateFolder(state), partial(progress, label="training")
    counters = train(task, source, recipe.training(), folder, precision=context, progress=shown)
    found = {length: averaged(folder, recipe.training(), length) for length in EMA_LENGTHS}
    scores = {length: score(task, weights) for length, weights in found.items()}
    best = max(scores, key=scores.__getitem__)
    fill(network, found[best])
    save_weights(out / WEIGHTS_FILE, network.state_dict(), {"method": "csrd"})
    facts = {"recipe": asdict(recipe), "seed": seed, "ema_std": best, "gain_db": scores,
             "parameters": sum(w.numel() for w in network.parameters()), "training": vars(counters),
             "device": device.type}  # fmt: skip
    (out / TRAINING_FILE).write_text(json.dumps(facts, indent=1))
    return facts


def score(task: Task, weights: dict[str, Tensor]) -> float:
    """Return the gain of held-out volumes with these weights in the network."""
    fill(task.network, weights)
    return task.validate()["psnr"]


@torch.no_grad()
def fill(network: ResUNet, weights: dict[str, Tensor]) -> None:
    """Copy weights by name into the network; what is no weight, as the embeddings' frequencies, stays."""
    for name, parameter in network.named_parameters():
        parameter.copy_(weights[name])
    network.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--preset", choices=list(PRESETS), default="cpu")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seed", type=int, default=2024)
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    recipe = PRESETS[given.preset]
    recipe = replace(recipe, steps=given.steps) if given.steps else recipe
    print(json.dumps(pretrain(given.out, recipe, torch.device(given.device), given.seed), indent=1))


if __name__ == "__main__":
    with plain_errors():
        main()

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
from typing import Any, cast

import torch
from torch import Tensor

from csrd.diffusion.loss import NoiseLevels, residual_loss
from csrd.diffusion.posterior import Posterior
from csrd.diffusion.precondition import Denoiser
from csrd.diffusion.sampler import noise_levels
from csrd.errors import plain_errors
from csrd.io.files import read_json, sha256
from csrd.networks.resunet import ResUNet
from csrd.pretrained import TRAINING_FILE
from csrd.progress import progress
from csrd.synthetic import ANATOMIES, NOISE, Synthetic, measure
from csrd.synthetic.conditions import CHANNELS, SKIP
from csrd.synthetic.volumes import SyntheticVolume
from csrd.train.checkpoint import StateFolder, fingerprint, load_weights, save_weights
from csrd.train.device import precision
from csrd.train.loop import averaged, train
from csrd.train.patches import Batch

SIGMA_DATA = 0.5
HELD_OUT = 1_000_000  # number of the first volume that is no part of the training
SAMPLER = (4, 0.05, 1.0, 3.0)  # the defaults of `csrd.methods.csrd.Sampler`: steps, lowest and highest σ, rho
INTERVAL = 0.9  # of the voxels, whose error the standard deviation is made to tell
EMA_LENGTHS = (0.05, 0.10, 0.15, 0.20)
WEIGHTS_FILE = "weights.safetensors"


@dataclass(frozen=True)
class Recipe:
    """Network and training; `volumes` are at hand at a time, and a new one every `steps_per_volume`."""

    channels: tuple[int, ...]
    batch: int
    patch: int
    steps: int
    lr: float
    volumes: int
    steps_per_volume: int
    blocks: int = 1
    stem: int = 2
    beta2: float = 0.99
    ramp: float = 0.02
    clip: float = 1.0
    decay: float = 0.6
    weight_decay: float = 1e-4
    P_mean: float = -1.2
    P_std: float = 1.0
    blank: float = 0.8
    held_out: int = 8

    def training(self) -> Any:
        """Return what the loop reads of `csrd.config.methods.Training`, which a bare machine lacks."""
        names = ("steps", "batch", "lr", "beta2", "ramp", "decay", "weight_decay", "clip")
        return SimpleNamespace(**{name: getattr(self, name) for name in names})

    def network(self) -> ResUNet:
        """Return the network with initial weights."""
        return ResUNet(1 + CHANNELS, channels=self.channels, blocks=self.blocks, stem=self.stem, skip=SKIP)


PRESETS = {
    "cpu": Recipe((32, 64, 96), 8, 32, 7_000, 1e-3, volumes=96, steps_per_volume=16),
    "gpu": Recipe((64, 128, 128, 128), 32, 64, 9_500, 7e-4, volumes=400, steps_per_volume=4),
    "tune": Recipe((64, 128, 128, 128), 3, 48, 1_500, 1.5e-4, volumes=40, steps_per_volume=10),
}


class Task:
    """The residual denoiser's loss, and the noise that its posterior mean leaves in held-out volumes."""

    def __init__(self, recipe: Recipe, network: ResUNet, held_out: list[SyntheticVolume]) -> None:
        self.network, self.held_out = network, held_out
        self.denoiser = Denoiser(network, SIGMA_DATA)
        on_gpu = next(network.parameters()).is_cuda
        # volumes have many sizes, each of which would be compiled anew; patches have one
        compiled = cast(ResUNet, torch.compile(network)) if on_gpu else network
        self.trained = Denoiser(compiled, SIGMA_DATA)
        self.levels = NoiseLevels(recipe.P_mean, recipe.P_std, recipe.blank)

    def losses(self, batch: Batch) -> Tensor:
        """Return each patch's loss, relative to the variance of its volume's residual: every noise counts."""
        sigma = torch.cat([self.levels.draw(1, self.trained, g) for g in batch.generators])
        parts = (batch.target, batch.inputs, batch.dose, sigma, batch.noise(), batch.weight)
        return residual_loss(self.trained, *parts) * SIGMA_DATA**2

    def validate(self) -> dict[str, float]:
        """Return the mean fall of the error over the held-out volumes, in dB."""
        return {"psnr": sum(map(self.gain_db, self.held_out)) / len(self.held_out)}

    def gain_db(self, volume: SyntheticVolume) -> float:
        """Return by how much the error against the truth falls in the head, in dB."""
        with torch.autocast(volume.low.device.type, enabled=False):
            target, inside = volume.target[0], measure.head_mask(volume.low, volume.voxel_mm)
            left = target - self.posterior(volume).mean()
            return float(10 * torch.log10(target[inside].square().mean() / left[inside].square().mean()))

    def std_factor(self) -> float:
        """Return the error that 90 % of voxels stay below over that of a sample: median of the volumes."""
        return float(torch.tensor([self._std_factor(volume) for volume in self.held_out]).median())

    def _std_factor(self, volume: SyntheticVolume) -> float:
        with torch.autocast(volume.low.device.type, enabled=False):
            posterior, inside = self.posterior(volume), measure.head_mask(volume.low, volume.voxel_mm)
            mean, sample = posterior.mean(), posterior.sample(0, noise_levels(*SAMPLER), from_mean=True)
            error, spread = (
                (image - mean)[inside].abs().sort().values for image in (volume.target[0], sample)
            )
            place = int(INTERVAL * len(error))
            return float(error[place] / spread[place])

    def posterior(self, volume: SyntheticVolume) -> Posterior:
        """Return the posterior of a volume's residual."""
        context = partial(precision, volume.low.device)
        return Posterior(self.denoiser, volume.inputs, float(volume.level.log()), 1, precision=context)


def pretrain(
    out: Path, recipe: Recipe, device: torch.device, seed: int, begin_with: Path | None = None
) -> dict:
    """Train, go on with what `out` holds, and leave the weights there; return the facts that are written.

    `begin_with`: a folder that an earlier training left, whose weights this one begins with.
    """
    source = Synthetic(
        ANATOMIES, NOISE, device, seed, patch=recipe.patch,
        volumes=recipe.volumes, steps_per_volume=recipe.steps_per_volume,
    )  # fmt: skip
    torch.manual_seed(seed)
    network = recipe.network()
    if begin_with:
        load_weights(begin_with / WEIGHTS_FILE, network)
    network.to(device)
    held_out = [source.volume(HELD_OUT + i, with_labels=False) for i in range(recipe.held_out)]
    task = Task(recipe, network, held_out)
    context = partial(precision, device, recipe.patch // network.factor)
    first = sha256(begin_with / WEIGHTS_FILE) if begin_with else None
    state = out / f"state-{fingerprint({'recipe': asdict(recipe), 'seed': seed, 'first': first}, [])}"
    state.mkdir(parents=True, exist_ok=True)
    folder, shown = StateFolder(state), partial(progress, label="training")
    counters = train(task, source, recipe.training(), folder, precision=context, progress=shown)
    found = {length: averaged(folder, recipe.training(), length) for length in EMA_LENGTHS}
    scores = {length: score(task, weights) for length, weights in found.items()}
    best = max(scores, key=scores.__getitem__)
    fill(network, found[best])
    save_weights(out / WEIGHTS_FILE, network.state_dict(), {"method": "csrd"})
    facts = {"recipe": asdict(recipe), "seed": seed, "ema_std": best, "gain_db": scores,
             "std_factor": task.std_factor(),
             "parameters": sum(w.numel() for w in network.parameters()), "training": vars(counters),
             "device": device.type}  # fmt: skip
    if begin_with:
        facts["before"] = read_json(begin_with / TRAINING_FILE)
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
    parser.add_argument("--from", type=Path, dest="begin_with", help="a training's folder to begin with")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    recipe = PRESETS[given.preset]
    recipe = replace(recipe, steps=given.steps) if given.steps else recipe
    facts = pretrain(given.out, recipe, torch.device(given.device), given.seed, given.begin_with)
    print(json.dumps(facts, indent=1))


if __name__ == "__main__":
    with plain_errors():
        main()

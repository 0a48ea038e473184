"""Training of the packaged network on synthetic pairs, in torch and numpy alone: on two cores, or on a GPU.

    python -m csrd.synthetic.pretrain build/pretrained --preset cpu

A training that was interrupted goes on where it was. Average and figures are those of synthetic volumes that
are no part of the training. `csrd.pretrained` makes a packaged model of the folder.
"""

import argparse
import json
import math
from collections.abc import Iterable, Iterator
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
INTERVAL, SAMPLES, T_QUANTILE = 0.9, 4, 2.1318
"""Intervals that are calibrated: their level, samples, and Student's t of as many degrees of freedom."""
MIDDLE = 80  # voxels along the edge of the part of a volume that is sampled
LEAST_STD = 1e-6
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
    calibrated_on: int = 48

    def training(self) -> Any:
        """Return what the loop reads of `csrd.config.methods.Training`, which a bare machine lacks."""
        names = ("steps", "batch", "lr", "beta2", "ramp", "decay", "weight_decay", "clip")
        return SimpleNamespace(**{name: getattr(self, name) for name in names})

    def network(self) -> ResUNet:
        """Return the network with initial weights."""
        return ResUNet(1 + CHANNELS, channels=self.channels, blocks=self.blocks, stem=self.stem, skip=SKIP)


PRESETS = {
    "cpu": Recipe((48, 96, 128), 8, 32, 16_000, 1e-3, volumes=96, steps_per_volume=16),
    "gpu": Recipe((64, 128, 128, 128), 32, 64, 9_500, 7e-4, volumes=400, steps_per_volume=4),
    "tune": Recipe((64, 128, 128, 128), 4, 48, 3_000, 5e-4, volumes=96, steps_per_volume=16),
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

    def posterior(self, volume: SyntheticVolume, box: tuple[slice, ...] = (slice(None),) * 3) -> Posterior:
        """Return the posterior of a volume's residual, or of that in a box of it."""
        context, shown = partial(precision, volume.low.device), volume.inputs[:, *box]
        return Posterior(self.denoiser, shown, float(volume.level.log()), 1, precision=context)


def std_factor(task: Task, volumes: Iterable[SyntheticVolume]) -> dict[str, float]:
    """Return the values of `StdFactor` in `csrd.methods.learned`: a line through the logs of factors."""
    rows = []
    for volume in volumes:
        factor = needed_factor(task, volume)
        rows.append((1.0, float(volume.level.log()), math.log(volume.voxel_mm), math.log(factor)))
    *columns, logs = torch.tensor(rows, dtype=torch.float64).unbind(1)
    found = torch.linalg.lstsq(torch.stack(columns, 1), logs[:, None], driver="gelsd").solution[:, 0].tolist()
    return {"factor": math.exp(found[0]), "level": found[1], "voxel": found[2]}


@torch.no_grad()
def needed_factor(task: Task, volume: SyntheticVolume) -> float:
    """Return the factor with which `INTERVAL` of the head's voxels lie within intervals of `SAMPLES` samples.

    It is measured in the middle of a volume.
    """
    with torch.autocast(volume.low.device.type, enabled=False):
        box = tuple(
            slice(max(n - MIDDLE, 0) // 2, max(n - MIDDLE, 0) // 2 + MIDDLE) for n in volume.low.shape
        )
        inside = measure.head_mask(volume.low, volume.voxel_mm)[box]
        posterior, levels = task.posterior(volume, box), noise_levels(*SAMPLER)
        mean, samples = posterior.mean(), range(SAMPLES)
        squares = [(posterior.sample(k, levels, from_mean=True) - mean).square() for k in samples]
        std = torch.stack(squares).mean(0).sqrt()[inside]
        error = (volume.target[0][box] - mean)[inside].abs()
        ratios = (error / (T_QUANTILE * std.clamp(min=LEAST_STD))).sort().values
        return max(float(ratios[int(INTERVAL * len(ratios))]), LEAST_STD)


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
             "std_factor": std_factor(task, calibration_volumes(source, recipe)),
             "parameters": sum(w.numel() for w in network.parameters()), "training": vars(counters),
             "device": device.type}  # fmt: skip
    if begin_with:
        facts["before"] = read_json(begin_with / TRAINING_FILE)
    (out / TRAINING_FILE).write_text(json.dumps(facts, indent=1))
    return facts


def calibration_volumes(source: Synthetic, recipe: Recipe) -> Iterator[SyntheticVolume]:
    """Yield the volumes that intervals are calibrated on, which are no part of the training."""
    numbers = range(HELD_OUT, HELD_OUT + recipe.calibrated_on)
    for number in progress(numbers, "calibrating intervals"):
        yield source.volume(number, with_labels=False)


def calibrate(out: Path, device: torch.device) -> dict:
    """Renew the calibration of a finished training's intervals; return the facts that are written."""
    facts = read_json(out / TRAINING_FILE)
    given = {name: value for name, value in facts["recipe"].items() if name in Recipe.__dataclass_fields__}
    recipe = Recipe(**{**given, "channels": tuple(given["channels"])})
    network = recipe.network()
    load_weights(out / WEIGHTS_FILE, network)
    source = Synthetic(ANATOMIES, NOISE, device, facts["seed"], patch=recipe.patch)
    task = Task(recipe, network.to(device).eval(), [])
    facts["std_factor"] = std_factor(task, calibration_volumes(source, recipe))
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
    parser.add_argument("--calibrate", action="store_true", help="renew the intervals' calibration alone")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    recipe = PRESETS[given.preset]
    recipe = replace(recipe, steps=given.steps) if given.steps else recipe
    device = torch.device(given.device)
    if given.calibrate:
        facts = calibrate(given.out, device)
    else:
        facts = pretrain(given.out, recipe, device, given.seed, given.begin_with)
    print(json.dumps(facts, indent=1))


if __name__ == "__main__":
    with plain_errors():
        main()

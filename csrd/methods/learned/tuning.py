"""Fine-tuning of a model that measures the noise, kept as far as events that it never saw confirm it.

A pair is a low dose and the image of the events that it lacks: independent noise around the same truth. The
mean of such targets is the truth, so a network that is trained on them learns what it would from the truth
(Lehtinen et al. 2018). Half of the patches are synthetic, so that the model forgets nothing.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from csrd import __version__
from csrd.diffusion.loss import NoiseLevels, residual_loss
from csrd.diffusion.posterior import Posterior
from csrd.errors import InputError
from csrd.io.files import sha256, whole_file
from csrd.io.volume import Volume
from csrd.methods.base.denoise import on_voxels_of
from csrd.methods.csrd import SIGMA_DATA, Csrd
from csrd.methods.learned import HISTORY_FILE, WEIGHTS_FILE
from csrd.methods.learned.scaling import Head
from csrd.methods.learned.volumes import at_least
from csrd.progress import progress
from csrd.resample import resample
from csrd.synthetic import ANATOMIES, NOISE, Synthetic
from csrd.train.checkpoint import StateFolder, forget_others, save_weights
from csrd.train.device import precision
from csrd.train.loop import averaged, train
from csrd.train.patches import Batch, Patches, Scan

FRACTIONS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Ways from the first weights to the tuned ones that are compared on the held-out events."""
BLOCK_MM = 20.0  # edge of the blocks whose errors count as independent
CERTAIN = 2.0  # standard errors by which the held-out error must fall
EMA_STD = 0.10


@dataclass(frozen=True)
class Tuning:
    """How a model is tuned; `patches` of a step are of the scans, and as many are synthetic."""

    steps: int = 100
    patches: int = 2
    patch: int = 48
    lr: float = 1e-4
    volumes: int = 12
    steps_per_volume: int = 20
    beta2: float = 0.99
    ramp: float = 0.1
    clip: float = 1.0
    decay: float = 0.6
    weight_decay: float = 0.0

    def training(self) -> Any:
        """Return what the loop reads of `csrd.config.methods.Training`."""
        names = ("steps", "lr", "beta2", "ramp", "decay", "weight_decay", "clip")
        return SimpleNamespace(**{name: getattr(self, name) for name in names}, batch=2 * self.patches)


@dataclass(frozen=True)
class SplitScan:
    """A low dose, the `rest`: the image of the events that it lacks, and an MR, all on one grid.

    `fraction` is that of the events in the low dose, among its own and the rest's.
    """

    low: Volume
    rest: Volume
    mr: Volume | None
    fraction: float

    @classmethod
    def of_thinning(cls, low: Volume, normal: Volume, mr: Volume | None, drf: float) -> SplitScan:
        """Return the pair of a thinning and the normal dose that it was thinned from.

        The normal dose is 1/drf of the low dose and 1 − 1/drf of the events left out, as far as images are
        sums over events.
        Raises InputError where both are one image.
        """
        if np.array_equal(low.array, normal.array):
            raise InputError("the low-dose image equals its normal dose; check that the files differ")
        left_out = (drf * normal.array - low.array) / (drf - 1)
        return cls(low, normal.like(left_out.astype(np.float32)), mr, 1 / drf)


@dataclass(frozen=True)
class Target:
    """A split scan in the network's units: `scan`, its head `mask`, and the variances of its parts' noise.

    `of_low` and `of_rest` are those of the two noises in the target, in the head.
    """

    scan: Scan
    mask: Tensor
    voxel_mm: float
    of_low: float
    of_rest: float

    @classmethod
    def of(cls, split: SplitScan, method: Csrd) -> Target:
        """Return a split scan, upright and on voxels that the method takes."""
        low = on_voxels_of(method, split.low).canonical()
        rest, mr = _on(split.rest, low), None if split.mr is None else _on(split.mr, low)
        head = Head.of(low)
        unit = method.residual_unit(low, head, None)
        target = torch.from_numpy(((low.array - rest.array) / np.float32(unit)).astype(np.float32))[None]
        inputs = torch.from_numpy(method.inputs(low, mr, head))
        scan = Scan(inputs, target, method.noise_condition(low, head, None), unit / head.scale)
        mask = torch.from_numpy(head.mask)
        variance = float(target[0][mask].square().mean())
        # counts of the two parts are as fraction to 1 - fraction, and variances inversely
        of_low, of_rest = (1 - split.fraction) * variance, split.fraction * variance
        return cls(scan, mask, float(low.voxel_mm.mean()), of_low, of_rest)


def _on(image: Volume, grid: Volume) -> Volume:
    """Return an image on a grid."""
    return image if image.same_grid(grid) else resample(image, grid, order=3)


class TuningTask:
    """The loss of scans' and of synthetic patches, for `csrd.train.loop`."""

    def __init__(self, method: Csrd) -> None:
        self.network: nn.Module = method.network
        self.denoiser = method.denoiser
        settings = method.settings
        self.levels = NoiseLevels(settings.P_mean, settings.P_std, settings.blank)

    def losses(self, batch: Batch) -> Tensor:
        """Return each patch's loss; the scans', whose targets are noisy, train the posterior mean alone."""
        assert isinstance(batch, MixedBatch) and batch.synthetic is not None, "a batch of `Mixture`"
        drawn = torch.cat([self.levels.draw(1, self.denoiser, g) for g in batch.generators])
        sigma = torch.where(batch.synthetic, drawn, self.denoiser.blank)
        parts = (batch.target, batch.inputs, batch.dose, sigma, batch.noise(), batch.weight)
        return residual_loss(self.denoiser, *parts) * SIGMA_DATA**2

    def validate(self) -> dict[str, float]:
        return {}


@dataclass(frozen=True)
class MixedBatch(Batch):
    """Patches of scans and synthetic ones; `synthetic` (B,) says which are."""

    synthetic: Tensor | None = None


class Mixture:
    """Patches of scans, then as many synthetic ones."""

    def __init__(self, scans: list[Target], tuning: Tuning, device: torch.device, seed: int) -> None:
        self.seed, self.number = seed, tuning.patches
        own = [at_least(tuning.patch, one.scan).to(device) for one in scans]
        self.scans = Patches(own, (tuning.patch,) * 3, seed)
        self.weight = 1 / float(np.mean([one.of_low for one in scans]))
        self.synthetic = Synthetic(
            ANATOMIES, NOISE, device, seed, patch=tuning.patch,
            volumes=tuning.volumes, steps_per_volume=tuning.steps_per_volume,
        )  # fmt: skip

    def draw(self, step: int, samples: range) -> Batch:
        """Return all patches of a step."""
        assert len(samples) == 2 * self.number, "a model is tuned in one process"
        with torch.autocast(self.synthetic.device.type, enabled=False):
            own = self.scans.draw(step, range(self.number))
            other = self.synthetic.draw(step, range(self.number))
        assert other.weight is not None, "synthetic patches have weights"
        weight = torch.cat([torch.full_like(own.target, self.weight), other.weight])
        inputs, target, dose = (
            torch.cat([getattr(own, name), getattr(other, name)]) for name in ("inputs", "target", "dose")
        )
        synthetic = torch.arange(len(target), device=target.device) >= self.number
        return MixedBatch(inputs, target, dose, own.generators + other.generators, weight, synthetic)


def tune(
    method: Csrd,
    pairs: list[SplitScan],
    held_out: list[SplitScan],
    folder: StateFolder,
    out: Path,
    facts: dict[str, Any],
    tuning: Tuning,
) -> dict[str, Any]:
    """Tune a loaded method on `pairs`, and write it into `out` as far as the `held_out` ones confirm it.

    Continues from the state in `folder`, which is locked; a finished tuning is not repeated. `facts` are
    added to the card. Returns what the card says of the tuning.
    """
    done = folder.finished()
    if done is None:
        done = _tuned(method, pairs, held_out, folder, tuning)
        folder.finish(done)
    for name in (WEIGHTS_FILE, HISTORY_FILE):
        with whole_file(out / name) as temporary:
            temporary.write_bytes((folder.path / name).read_bytes())
    said = {**facts, **done}
    card = {name: value for name, value in method.card.items() if name not in ("method", "weights")}
    card |= {"version": __version__, "weights_sha256": sha256(out / WEIGHTS_FILE), "tuned": said}
    method.write_model(out, card)
    forget_others(folder)
    return said


def _tuned(
    method: Csrd, pairs: list[SplitScan], held_out: list[SplitScan], folder: StateFolder, tuning: Tuning
) -> dict[str, Any]:
    """Train, choose how far to go, and leave the weights in the folder; return the facts."""
    targets, unseen = ([Target.of(split, method) for split in splits] for splits in (pairs, held_out))
    network, task = method.network, TuningTask(method)
    first = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    source = Mixture(targets, tuning, method.device, method.seed)
    context = partial(precision, method.device, tuning.patch // method.network.factor)
    shown = partial(progress, label=f"{method.key}: tuning")
    counters = train(task, source, tuning.training(), folder, precision=context, progress=shown)
    last = averaged(folder, tuning.training(), EMA_STD)
    found = compared(method, first, last, unseen)
    fraction = chosen(found)
    _fill(network, first, last, fraction)
    save_weights(folder.path / WEIGHTS_FILE, network.state_dict(), {"method": method.key})
    best = found[fraction]
    return {
        "tuning": asdict(tuning),
        "training": vars(counters),
        "fraction": fraction,
        "gain_db": best.gain_db,
        "compared": {str(one): asdict(score) for one, score in found.items()},
    }


@dataclass(frozen=True)
class Score:
    """By how much the held-out error fell: relative to the noise, in standard errors of itself, and in dB."""

    fall: float
    certainty: float
    gain_db: float | None


def compared(
    method: Csrd, first: dict[str, Tensor], last: dict[str, Tensor], unseen: list[Target]
) -> dict[float, Score]:
    """Return the score of each of `FRACTIONS` of the way from the first weights to the last.

    The error against images of other events is that against the truth plus their own noise, which is the
    same for all weights: its fall needs no truth.
    """
    squares: dict[float, list[Tensor]] = {}
    for fraction in progress(FRACTIONS, f"{method.key}: comparing on events left out"):
        _fill(method.network, first, last, fraction)
        squares[fraction] = [_squares(method, one) / one.of_low for one in unseen]
    voxels = sum(float(one.mask.sum()) for one in unseen)
    noise = sum(one.of_rest / one.of_low * float(one.mask.sum()) for one in unseen)
    before = sum(float(part.sum()) for part in squares[0.0]) - noise
    scores = {}
    for fraction, parts in squares.items():
        falls = [a - b for a, b in zip(squares[0.0], parts, strict=True)]
        blocks = torch.cat([_blocks(fall, one) for fall, one in zip(falls, unseen, strict=True)])
        fall, error = float(blocks.sum()), float(blocks.square().sum().sqrt())
        left = 1 - fall / before if before > 0 else 0.0
        gain_db = -10 * math.log10(left) if left > 0 else None  # None: the noise hides the error
        scores[fraction] = Score(fall / voxels, fall / error if error else 0.0, gain_db)
    return scores


def chosen(scores: dict[float, Score]) -> float:
    """Return the fraction at which the error fell most among those where that is certain, else 0."""
    certain = [fraction for fraction, score in scores.items() if score.certainty >= CERTAIN]
    return max(certain, key=lambda fraction: scores[fraction].fall, default=0.0)


@torch.no_grad()
def _squares(method: Csrd, one: Target) -> Tensor:
    """Return the squared differences from the target, 0 outside the head, (X, Y, Z)."""
    context = partial(precision, method.device)
    conditions = one.scan.inputs.to(method.device)
    posterior = Posterior(method.denoiser, conditions, one.scan.dose, method.seed, precision=context)
    return (posterior.mean().cpu() - one.scan.target[0]).square() * one.mask


def _blocks(x: Tensor, one: Target) -> Tensor:
    """Return the sums of x (X, Y, Z) over blocks of `BLOCK_MM`, those at the ends cut off, (N,)."""
    edge = max(round(BLOCK_MM / one.voxel_mm), 1)
    pad = [part for n in reversed(x.shape) for part in (0, -n % edge)]
    return nn.functional.avg_pool3d(nn.functional.pad(x, pad)[None], edge).flatten() * edge**3


@torch.no_grad()
def _fill(network: nn.Module, first: dict[str, Tensor], last: dict[str, Tensor], fraction: float) -> None:
    """Set the network's weights to a fraction of the way from the first to the last."""
    for name, parameter in network.named_parameters():
        parameter.copy_(torch.lerp(first[name], last[name].to(first[name].device), fraction))
    network.eval()

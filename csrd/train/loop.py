"""The training loop of every learned method."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from csrd.errors import Interrupted, TrainingDiverged
from csrd.seeds import key64
from csrd.train import ema
from csrd.train.checkpoint import StateFolder, load_tensors, save_tensors
from csrd.train.patches import Batch
from csrd.train.processes import Processes

if TYPE_CHECKING:
    from csrd.config.methods import Training

VALIDATIONS = 6  # on the validation subjects, evenly over the training
SAVE_EVERY_S = 60.0
SNAPSHOTS = 8  # of the averages, evenly over the training
SPIKE = 10.0  # a gradient so many times its usual norm is cut back to it
USUAL = 0.98  # decay of the average of the usual norm
MAX_LOST = 20  # steps in a row without a finite gradient, after which the training stops

Precision = Callable[[], AbstractContextManager]
"""Returns the context that a network is applied in (see `csrd.train.device.precision`)."""


class Task(Protocol):
    """The interface of a method: its network, the loss of a batch, and its errors on validation subjects."""

    @property
    def network(self) -> nn.Module:
        """Return the network, which is trained in place."""

    def losses(self, batch: Batch) -> Tensor:
        """Return the loss of each patch, (B,)."""

    def validate(self) -> dict[str, float]:
        """Return figures of merit on the validation subjects with the current network; {} without any."""


class PatchSource(Protocol):
    """A source of training patches: patch i of step s depends on (seed, s, i) alone."""

    seed: int

    def draw(self, step: int, samples: range) -> Batch:
        """Return patches number `samples` of a step."""


def rate(training: Training, step: int) -> float:
    """Return the learning rate of step 1, 2, …, `steps`: a rise, a plateau, a fall along a cosine."""
    rise = min(step / max(training.ramp * training.steps, 1), 1.0)
    left = (training.steps - step) / (training.decay * training.steps) if training.decay else 1.0
    return training.lr * rise * (0.5 - 0.5 * math.cos(math.pi * min(left, 1.0)))


def marks(training: Training, count: int) -> set[int]:
    """Return `count` steps spread evenly, the last one included."""
    return {max(1, round(training.steps * (i + 1) / count)) for i in range(count)}


@dataclass
class Counters:
    """Counts of the steps so far; `usual` is the usual norm of the gradient."""

    step: int = 0
    seconds: float = 0.0
    usual: float = 0.0
    spikes: int = 0
    lost: int = 0
    lost_in_a_row: int = 0


def train(
    task: Task,
    patches: PatchSource,
    training: Training,
    folder: StateFolder,
    *,
    precision: Precision,
    progress: Callable[..., Iterable[int]],
    group: Processes | None = None,
    save_every_s: float = SAVE_EVERY_S,
    ahead: bool | None = None,
) -> Counters:
    """Train `task.network` in place, continuing from the state in `folder`, which also gets the averages.

    With `ahead` the patches of the next step are drawn while a device still computes this one's gradient;
    None: on a GPU only. It changes no number.
    Raises TrainingDiverged where the loss stays not finite, and Interrupted after SIGTERM.
    """
    group = group or Processes()
    task.network.train()  # the network may have been applied before
    state = _State(task.network, training)
    state.restore(folder)
    if group.first:
        folder.cut_history(state.counters.step)
    counters = state.counters
    ahead = state.weights[0].device.type == "cuda" if ahead is None else ahead
    batches = _Batches(patches, group.part(training.batch), training.steps if ahead else 0)
    validations, snapshots = marks(training, VALIDATIONS), marks(training, SNAPSHOTS)
    saved = started = time.monotonic()
    spent = counters.seconds
    with _Termination() as termination:
        for step in progress(range(counters.step + 1, training.steps + 1)):
            counters.step = step
            loss, norm = _step(task, batches, training, state, precision, group)
            counters.seconds = spent + time.monotonic() - started
            ending = group.any(termination.asked, state.weights[0].device)
            if group.first:
                if step in snapshots:
                    state.write_snapshots(folder)
                if step % max(training.steps // 200, 1) == 0 or step in validations:
                    record = {"step": step, "images": step * training.batch, "loss": loss, "gradient": norm,
                              "rate": rate(training, step), "seconds": round(counters.seconds, 2),
                              "spikes": counters.spikes, "lost": counters.lost}  # fmt: skip
                    if step in validations:
                        record |= state.validated(task, precision)
                    folder.append_history(record)
                if time.monotonic() - saved > save_every_s or ending:
                    state.write(folder)
                    saved = time.monotonic()
            if ending:
                raise Interrupted(
                    "the training received SIGTERM and has saved its state; start it again to continue"
                )
    group.wait()
    return counters


class _Batches:
    """This process's batches; those up to step `ahead_to` can be drawn a step before they are needed."""

    def __init__(self, patches: PatchSource, samples: range, ahead_to: int) -> None:
        self.patches, self.samples, self.ahead_to = patches, samples, ahead_to
        self.next: tuple[int, Batch] | None = None

    def of(self, step: int) -> Batch:
        """Return the batch of a step."""
        found, self.next = self.next, None
        return found[1] if found is not None and found[0] == step else self.patches.draw(step, self.samples)

    def prepare(self, step: int) -> None:
        """Draw the batch of a step, where that is wanted."""
        if step <= self.ahead_to and self.samples:
            self.next = step, self.patches.draw(step, self.samples)


def _step(
    task: Task,
    batches: _Batches,
    training: Training,
    state: _State,
    precision: Precision,
    group: Processes,
) -> tuple[float, float]:
    """Take one step; return its loss and the gradient's norm."""
    counters = state.counters
    torch.manual_seed(key64(batches.patches.seed, "dropout", counters.step, group.rank) % 2**63)
    loss = torch.zeros((), device=state.weights[0].device)
    if batches.samples:
        with precision():
            loss = task.losses(batches.of(counters.step)).sum() / training.batch
        loss.backward()
        batches.prepare(counters.step + 1)  # before the first number is read, which waits for the device
    for weight in state.weights:
        weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
    loss = loss.detach().float().reshape(1)
    group.sum([loss, *(weight.grad for weight in state.weights)])
    norm = float(nn.utils.get_total_norm([weight.grad for weight in state.weights]))
    if math.isfinite(norm) and math.isfinite(float(loss)):
        counters.lost_in_a_row = 0
        _tame(state, norm, training.clip)
        for options in state.optimiser.param_groups:
            options["lr"] = rate(training, counters.step)
        state.optimiser.step()
        state.average()
    else:
        counters.lost += 1
        counters.lost_in_a_row += 1
        if counters.lost_in_a_row == MAX_LOST:
            raise TrainingDiverged(
                f"the loss had no finite value for {MAX_LOST} steps up to step {counters.step}; "
                "lower the learning rate, or look for extreme values in the training images"
            )
    state.optimiser.zero_grad(set_to_none=True)
    return float(loss), norm


def _tame(state: _State, norm: float, clip: float = 0.0) -> None:
    """Cut a spike of the gradient back to its usual norm, and any gradient to the norm `clip` unless it is 0.

    In the average a spike counts as `SPIKE` times the usual norm, so that a norm that stays high becomes
    usual.
    """
    counters = state.counters
    most = clip or math.inf
    if counters.usual and norm > SPIKE * counters.usual:
        counters.spikes += 1
        most = min(most, counters.usual)
    if norm > most:
        torch._foreach_mul_([weight.grad for weight in state.weights], most / norm)
    if counters.usual:
        norm = min(norm, SPIKE * counters.usual)
    counters.usual = USUAL * counters.usual + (1 - USUAL) * norm if counters.usual else norm


class _State:
    """Everything that a resumed training needs to end at the same bits."""

    def __init__(self, network: nn.Module, training: Training) -> None:
        self.network, self.counters = network, Counters()
        self.names, self.weights = zip(*network.named_parameters(), strict=True)
        self.averages = {std: [w.detach().clone() for w in self.weights] for std in ema.TRACKED}
        self.optimiser = torch.optim.AdamW(
            self.weights, lr=training.lr, betas=(0.9, training.beta2), weight_decay=training.weight_decay
        )

    def average(self) -> None:
        # lost steps change nothing, but count as time
        for std, average in self.averages.items():
            ema.update(average, list(self.weights), ema.decay(self.counters.step, std))

    def validated(self, task: Task, precision: Precision) -> dict[str, float]:
        """Return the figures of merit of the shorter average on the validation subjects."""
        average = self.averages[ema.TRACKED[0]]
        kept = [weight.detach().clone() for weight in self.weights]
        with torch.no_grad(), precision():
            torch._foreach_copy_(list(self.weights), average)
            self.network.eval()
            values = task.validate()
            self.network.train()
            torch._foreach_copy_(list(self.weights), kept)
        return values

    def write(self, folder: StateFolder) -> None:
        tensors = dict(zip(self.names, (w.detach() for w in self.weights), strict=True))
        tensors = {f"weight.{name}": tensor for name, tensor in tensors.items()}
        for std, average in self.averages.items():
            tensors |= {f"average{std}.{n}": tensor for n, tensor in zip(self.names, average, strict=True)}
        for name, weight in zip(self.names, self.weights, strict=True):
            for key, value in self.optimiser.state[weight].items():
                tensors[f"adam.{key}.{name}"] = value
        tensors |= {f"buffer.{name}": buffer for name, buffer in self.network.named_buffers()}
        folder.save(tensors, vars(self.counters))

    @torch.no_grad()
    def restore(self, folder: StateFolder) -> None:
        found = folder.load(self.weights[0].device)
        if found is None:
            return
        tensors, facts = found
        self.counters = Counters(**facts)
        for name, weight in zip(self.names, self.weights, strict=True):
            weight.copy_(tensors[f"weight.{name}"])
            if f"adam.step.{name}" in tensors:
                # in the weight's own memory layout, which the file does not keep
                moments = {key: torch.empty_like(weight).copy_(tensors[f"adam.{key}.{name}"])
                           for key in ("exp_avg", "exp_avg_sq")}  # fmt: skip
                self.optimiser.state[weight] = {"step": tensors[f"adam.step.{name}"].cpu(), **moments}
        for std, average in self.averages.items():
            for name, tensor in zip(self.names, average, strict=True):
                tensor.copy_(tensors[f"average{std}.{name}"])
        for name, buffer in self.network.named_buffers():
            buffer.copy_(tensors[f"buffer.{name}"])

    def write_snapshots(self, folder: StateFolder) -> None:
        for std, average in self.averages.items():
            tensors = dict(zip(self.names, average, strict=True))
            save_tensors(folder.snapshot(self.counters.step, std), tensors, {"facts": "{}"})


def averaged(folder: StateFolder, training: Training, std: float) -> dict[str, Tensor]:
    """Return the average of length `std` at the end of the training, by name, from the folder's snapshots."""
    steps = sorted(marks(training, SNAPSHOTS))
    pairs = [(step, tracked) for step in steps for tracked in ema.TRACKED]
    times, stds = zip(*pairs, strict=True)
    factors = ema.coefficients([t / training.steps for t in times], list(stds), 1.0, std)
    total: dict[str, Tensor] = {}
    for (step, tracked), factor in zip(pairs, factors, strict=True):
        tensors, _ = load_tensors(folder.snapshot(step, tracked), torch.device("cpu"))
        for name, tensor in tensors.items():
            part = tensor.double() * float(np.float64(factor))
            total[name] = total[name] + part if name in total else part
    return {name: tensor.float() for name, tensor in total.items()}


class _Termination:
    """Notes SIGTERM, as schedulers send it before a time limit, until the step in progress is taken."""

    def __enter__(self) -> _Termination:
        self.asked = False
        try:
            self.previous = signal.signal(signal.SIGTERM, self._note)
        except ValueError:  # not in the main thread, where signals never arrive
            self.previous = None
        return self

    def _note(self, *_) -> None:
        self.asked = True

    def __exit__(self, *_) -> None:
        if self.previous is not None:
            signal.signal(signal.SIGTERM, self.previous)

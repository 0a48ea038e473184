"""A training that takes seconds: a small network learns to smooth random fields.

Run as a script, it trains until it is killed or done: ``python toy_training.py FOLDER STEPS DROPOUT``.
"""

import os
import sys
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from csrd.config.methods import Training
from csrd.train.checkpoint import StateFolder, save_weights
from csrd.train.loop import Counters, train
from csrd.train.patches import Batch, Patches, Scan
from csrd.train.processes import processes

TRAINING = Training(steps=16, batch=3, lr=0.02)


def scans(count: int = 2) -> list[Scan]:
    """Return random fields and what their six neighbours' mean is."""
    generator = torch.Generator().manual_seed(17)
    pairs = []
    for i in range(count):
        x = torch.randn(1, 9, 10, 11, generator=generator)
        mean = sum(x.roll(step, axis) for axis in (1, 2, 3) for step in (-1, 1)) / 6
        pairs.append(Scan(x, mean, float(i + 1)))
    return pairs


class Toy:
    """Mean squared error of two layers; `lose` says at which steps the loss is no number."""

    def __init__(self, dropout: float = 0.1, lose=lambda step: False, spike=lambda step: False) -> None:
        torch.manual_seed(4)
        first, last = (nn.Conv3d(inner, outer, 3, padding=1) for inner, outer in ((1, 8), (8, 1)))
        self.network = nn.Sequential(first, nn.SiLU(), nn.Dropout(dropout), last)
        self.network.to(memory_format=torch.channels_last_3d)  # whose moments have strides of their own
        self.lose, self.spike, self.step = lose, spike, 0

    def losses(self, batch: Batch) -> Tensor:
        assert self.network.training
        self.step += 1
        noisy = batch.inputs + 0.1 * batch.noise()
        factor = float("nan") if self.lose(self.step) else 1e4 if self.spike(self.step) else 1.0
        return factor * (self.network(noisy) - batch.target).square().mean((1, 2, 3, 4))

    def validate(self) -> dict[str, float]:
        assert not self.network.training and not torch.is_grad_enabled()
        x, target = torch.linspace(-1, 1, 64).reshape(1, 1, 4, 4, 4), 0.3
        return {"error": float((self.network(x) - target).square().mean())}


def run(task: Toy, folder: Path, training: Training = TRAINING, progress=None, **options) -> Counters:
    """Train the toy in a folder, going on where it stands."""
    torch.set_num_threads(1)
    return train(
        task,
        Patches(scans(), (4, 6, 8), 2),
        training,
        StateFolder(folder),
        precision=nullcontext,
        progress=progress or (lambda steps: steps),
        **options,
    )


def main() -> None:
    folder, steps = Path(sys.argv[1]), int(sys.argv[2])
    task, training = Toy(dropout=float(sys.argv[3])), TRAINING.model_copy(update={"steps": steps})
    rank = os.environ.get("RANK", "0")
    with processes(torch.device("cpu")) as group:
        (folder / f"pid-{rank}").write_text(str(os.getpid()))
        run(task, folder, training, group=group, save_every_s=0)
    save_weights(folder / f"weights-{rank}.safetensors", task.network.state_dict(), {})


if __name__ == "__main__":
    main()

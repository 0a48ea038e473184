"""Training on a GPU for a given number of minutes; it leaves weights, a history and a card.

Patches come from a file of `pack.py`; `csrd.synthetic.pretrain` trains on synthetic pairs.
The average of weights is the one whose posterior mean has the highest PSNR on the packed validation scans.
"""

import json
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from networks import PRESETS, SIGMA_DATA, Preset
from pack import read_pack
from record import Record, arguments, machine
from safetensors.torch import load_file, save_file

from csrd.diffusion.loss import NoiseLevels, residual_loss
from csrd.diffusion.posterior import Posterior
from csrd.diffusion.precondition import Denoiser
from csrd.progress import progress
from csrd.train.checkpoint import StateFolder
from csrd.train.compiled import compile_for
from csrd.train.device import precision
from csrd.train.loop import averaged, train
from csrd.train.patches import Patches, coordinates

EMA_LENGTHS = (0.05, 0.10, 0.15, 0.20)
WARM, TIMED = 5, 20  # steps before the training that say how many fit into the minutes
RESERVE_S = 45.0  # for the choice of an average and for writing
PART_BYTES = 15 * 2**20  # weights are written in files of at most so many bytes


def main() -> int:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--preset", choices=list(PRESETS), default="default")
    parser.add_argument(
        "--pack", type=Path, required=True, help="scans of pack.py: for training, and for validation"
    )
    parser.add_argument("--minutes", type=float, default=8.0, help="of the whole phase")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--patch", type=int)
    parser.add_argument("--rate", type=float, help="highest learning rate")
    parser.add_argument("--weights", type=Path, nargs="*", default=[], help="files to begin with")
    parser.add_argument("--seed", type=int, default=2024)
    parser.add_argument(
        "--state", type=Path, help="where the training's state is kept; a later call goes on there"
    )
    given = parser.parse_args()
    record, started = Record(given.part, given.only), time.monotonic()
    record.measure("machine", lambda: machine(given.device))
    record.measure("training", lambda: training(given, started))
    return 1 if record.failed else 0


def training(given, started: float) -> dict:
    """Train, choose the average of weights on the validation scans, and write it; return the card."""
    device, preset = torch.device(given.device), PRESETS[given.preset]
    preset = preset.tiny() if given.tiny else preset
    chosen = {"patch": given.patch, "batch": given.batch}
    preset = replace(preset, **{name: value for name, value in chosen.items() if value})
    if given.rate:
        preset = replace(preset, training=preset.training | {"lr": given.rate})
    packed = read_pack(given.pack, device)
    scans = [scan for scan, _, split in packed if split == "train"]
    patches = Patches(scans, (preset.patch,) * 3, given.seed, coordinates=True)
    validation = [(scan, mask) for scan, mask, split in packed if split == "validation"]
    context = partial(precision, device)
    torch.manual_seed(given.seed)
    network = preset.build().to(device)
    for path in given.weights:
        network.load_state_dict(load_file(path), strict=False)
    task = Task(network, preset, validation, device)
    compile_for(network, device)
    state = given.state or given.out / "state"
    state.mkdir(parents=True, exist_ok=True)
    steps_file = state / "steps.json"
    if not steps_file.exists():
        found = {"steps": 4} if given.tiny else steps_in(given, started, task, patches, preset, context)
        steps_file.write_text(json.dumps(found))
    facts = json.loads(steps_file.read_text())
    plan, folder = preset.plan(facts["steps"]), StateFolder(state)
    counters = train(
        task, patches, plan, folder, precision=context, progress=partial(progress, label="training")
    )
    scores, best = {}, None
    for length in EMA_LENGTHS:
        weights = averaged(folder, plan, length)
        network.load_state_dict({**network.state_dict(), **weights})
        with torch.no_grad(), context():
            scores[length] = task.validate()
        if best is None or scores[length].get("psnr", 0) > scores[best].get("psnr", 0):
            best, kept = length, {**network.state_dict()}
            kept = {name: tensor.detach().cpu().clone() for name, tensor in kept.items()}
    files = write_parts(given.out, kept)
    write_parts(state, kept)  # for the phase denoise on the same machine
    (given.out / "history.jsonl").write_text("".join(json.dumps(r) + "\n" for r in folder.read_history()))
    return {
        "preset": given.preset, **facts, "batch": plan.batch, "patch": preset.patch, "ema_std": best,
        "validation": scores, "files": files, "parameters": sum(t.numel() for t in network.parameters()),
        "counters": vars(counters), "seed": given.seed,
    }  # fmt: skip


def steps_in(given, started: float, task: "Task", patches, preset, context) -> dict:
    """Return how many steps fit into the minutes, measured on a copy that is thrown away."""
    before = {name: tensor.clone() for name, tensor in task.network.state_dict().items()}
    timed = SimpleNamespace(network=task.network, losses=task.losses, validate=dict)
    with tempfile.TemporaryDirectory() as folder:
        for steps in (WARM, TIMED):
            begun = time.monotonic()
            state = StateFolder(Path(folder) / str(steps))
            state.path.mkdir()
            train(timed, patches, preset.plan(steps), state, precision=context,
                  progress=lambda steps: steps, save_every_s=1e9)  # fmt: skip
            per_step = (time.monotonic() - begun) / steps
    task.network.load_state_dict(before)
    left = given.minutes * 60 - (time.monotonic() - started) - RESERVE_S
    return {"steps": max(int(left / per_step), 10), "seconds_per_step": per_step}


class Task:
    """The residual denoiser's loss, and its posterior mean's PSNR on whole validation scans."""

    def __init__(self, network, preset: Preset, validation: list, device: torch.device) -> None:
        self.network, self.validation, self.device = network, validation, device
        self.denoiser = Denoiser(network, SIGMA_DATA)
        self.levels = NoiseLevels(*preset.levels)
        self.channels = preset.channels - 1

    def losses(self, batch) -> torch.Tensor:
        sigma = torch.cat([self.levels.draw(1, self.denoiser, generator) for generator in batch.generators])
        return residual_loss(self.denoiser, batch.target, batch.inputs, batch.dose, sigma, batch.noise())

    def validate(self) -> dict[str, float]:
        found = {}
        for scan, mask in self.validation:
            conditions = scan.inputs
            if len(conditions) < self.channels:
                conditions = torch.cat([conditions, coordinates(scan.target.shape[1:], self.device)])
            posterior = Posterior(
                self.denoiser, conditions, scan.dose, 1, precision=partial(precision, self.device)
            )
            error = ((posterior.mean() - scan.target[0]) * scan.unit)[mask]
            truth = (scan.inputs[0] - scan.target[0] * scan.unit)[mask]
            psnr = 20 * np.log10(float(truth.max()) / float(error.square().mean().sqrt()))
            found.setdefault("psnr", []).append(psnr)
            found[f"psnr {scan.subject}"] = psnr
        return found | ({"psnr": float(np.mean(found["psnr"]))} if found else {})


def write_parts(out: Path, weights: dict[str, torch.Tensor]) -> list[str]:
    """Write the weights in files of at most `PART_BYTES`; return the files' names."""
    parts, size = [{}], 0
    for name, tensor in weights.items():
        if size + tensor.nbytes > PART_BYTES and parts[-1]:
            parts, size = [*parts, {}], 0
        parts[-1][name] = tensor.contiguous()
        size += tensor.nbytes
    files = [f"weights-{i}.safetensors" for i in range(len(parts))]
    for file, part in zip(files, parts, strict=True):
        save_file(part, out / file)
    return files


if __name__ == "__main__":
    sys.exit(main())

"""Comparison of a GPU with the CPU: projector, OSEM, bf16, a trained model, a resumed training.

A figure is the relative difference ‖gpu − cpu‖ / ‖cpu‖, beside the tolerance it must stay below.
"""

import sys
import tempfile
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from networks import DEFAULT, packaged_network
from record import Record, arguments, machine

from csrd.diffusion.loss import NoiseLevels, residual_loss
from csrd.diffusion.precondition import Denoiser
from csrd.io.volume import Volume, centred_affine
from csrd.networks.resunet import ResUNet
from csrd.recon.osem import osem
from csrd.recon.sensitivity import random_lines, subject_sensitivity
from csrd.scanner import projector, projector_cuda
from csrd.scanner.geometry import hrrt, mmr
from csrd.synthetic.conditions import CHANNELS
from csrd.train.checkpoint import StateFolder
from csrd.train.device import bf16_is_right, precision
from csrd.train.loop import train
from csrd.train.patches import Patches, Scan

PROJECTED, SUMMED, ITERATED = 1e-5, 1e-5, 1e-4
"""Tolerances of float32: a line's sum, sums of many lines in any order, and OSEM's repetitions of both."""
IN_FP32, IN_BF16 = 1e-4, 2e-2
"""Tolerances of a network's output: float32 convolutions in another order; eight bits of bfloat16."""
RESUMED = 1e-4
"""Of a resumed training: on a CPU it is exact; on a GPU gradients are summed in any order."""
PSF = SimpleNamespace(sigma_mm=0.9, tail_sigma_mm=2.5, tail_fraction=0.05)


def main() -> int:
    given = arguments(__doc__.splitlines()[0]).parse_args()
    record, rng = Record(given.part, given.only), np.random.default_rng(0)
    record.measure("machine", lambda: machine(given.device))
    lines, shape, voxel = (150, (6, 7, 5), 60.0) if given.tiny else (2_000_000, (128, 128, 104), 2.0)
    for scanner in (hrrt(), mmr()):
        name = scanner.name.rpartition(" ")[2].lower()
        record.measure(f"projector_{name}", partial(projectors, scanner, lines, shape, voxel, rng))
        record.measure(f"sensitivity_{name}", partial(sensitivities, scanner, lines, shape, voxel))
        record.measure(f"osem_{name}", partial(reconstructions, scanner, lines, shape, voxel, rng))
    record.measure("bf16", lambda: judged(not bf16_is_right(given.device), 0.5))
    record.measure("packaged_model", lambda: trained_model(given.device, 16 if given.tiny else 96))
    record.measure("resume", lambda: resumed(given.device))
    wrong = record.failed + [name for name, value in record.content.items() if beyond(value)]
    if wrong:
        print(f"not right: {', '.join(wrong)}", file=sys.stderr)
    return 1 if wrong else 0


def projectors(scanner, lines: int, shape: tuple, voxel: float, rng: np.random.Generator) -> dict:
    """Compare forward and back projection of random lines."""
    crystals = random_lines(rng, lines, scanner)
    ends = [scanner.crystal_positions[crystals[:, i]] for i in (0, 1)]
    grid = centred_affine(shape, voxel)[:3, 3], np.full(3, voxel)
    image, values = rng.random(shape, dtype=np.float32), rng.random(len(crystals), dtype=np.float32)
    forward = [on.forward(image, *grid, *ends) for on in (projector, projector_cuda)]
    back = [on.back(values, *grid, *ends, shape) for on in (projector, projector_cuda)]
    return {"forward": compared(*forward, PROJECTED), "back": compared(*back, SUMMED)}


def sensitivities(scanner, lines: int, shape: tuple, voxel: float) -> dict:
    """Compare the sensitivity behind a μ-map of water."""
    grid = Volume(np.ones(shape, np.float32), centred_affine(shape, voxel), "mm3")
    mumap = grid.like(np.full(shape, 0.096, np.float32), "1/cm")
    efficiencies = np.ones(scanner.crystals, np.float32)
    import csrd.recon.sensitivity as module

    module.LINES_AT_A_TIME = lines
    images = [
        subject_sensitivity(scanner, grid, mumap, efficiencies, lines, 1, "sub-01", device).array
        for device in ("cpu", "cuda")
    ]
    return compared(*images, SUMMED)


def reconstructions(scanner, lines: int, shape: tuple, voxel: float, rng: np.random.Generator) -> dict:
    """Compare OSEM of random lines, 2 subsets twice, with the blur in it."""
    crystals = random_lines(rng, lines, scanner).astype(np.uint32)
    crystals = crystals[scanner.neighbours_first(crystals)]
    sensitivity = Volume(1 + rng.random(shape, dtype=np.float32), centred_affine(shape, voxel), "mm3")
    additive = np.full(len(crystals), 0.5, np.float32)
    images = [
        osem(crystals, additive, sensitivity, scanner, PSF, 2, 2, np.random.default_rng(1), device)
        for device in ("cpu", "cuda")
    ]
    return compared(*images, ITERATED)


@torch.no_grad()
def trained_model(device: str, n: int) -> dict:
    """Compare the packaged model's posterior mean on the CPU, and on the device in both precisions."""
    network = packaged_network()
    rng = torch.Generator().manual_seed(0)
    conditions = torch.rand(1, CHANNELS, n, n, n, generator=rng)

    def mean(on: str, context) -> np.ndarray:
        denoiser = Denoiser(network.to(on).eval(), 0.5)
        dose, sigma = torch.ones(1, device=on), torch.full((1,), denoiser.blank, device=on)
        with context:
            return (
                denoiser(torch.zeros(1, 1, n, n, n, device=on), sigma, conditions.to(on), dose).cpu().numpy()
            )

    cpu = mean("cpu", nullcontext())
    torch.backends.cudnn.allow_tf32 = False
    exact = compared(cpu, mean(device, nullcontext()), IN_FP32)
    torch.backends.cudnn.allow_tf32 = True
    return {"fp32": exact, "bf16": compared(cpu, mean(device, precision(torch.device(device))), IN_BF16)}


def resumed(device: str) -> dict:
    """Compare a training of 8 steps with one that was ended after 5 and went on from its state."""
    rng = torch.Generator().manual_seed(0)
    scans = [
        Scan(torch.rand(5, 32, 32, 32, generator=rng), torch.randn(1, 32, 32, 32, generator=rng) / 2, 1.4)
        for _ in range(2)
    ]
    weights = []
    with tempfile.TemporaryDirectory() as folder:
        for name, stops in (("straight", ()), ("repeated", ()), ("resumed", (5,))):
            for stop in (*stops, None):
                weights.append(_trained(scans, Path(folder) / name, device, stop))
    straight, repeated, _, again = (np.concatenate([w.ravel() for w in parts]) for parts in weights)
    return compared(straight, again, RESUMED) | {"repeated": compared(straight, repeated, RESUMED)}


def _trained(scans: list[Scan], path: Path, device: str, stop: int | None) -> list[np.ndarray]:
    """Return the weights after 8 steps, or as they were when the training was ended during step `stop`."""
    path.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    network = ResUNet(6, channels=(8, 8)).to(device)
    denoiser, levels = Denoiser(network, 0.5), NoiseLevels(-1.2, 1.0, 0.5)

    def losses(batch) -> torch.Tensor:
        sigma = torch.cat([levels.draw(1, denoiser, generator) for generator in batch.generators])
        return residual_loss(denoiser, batch.target, batch.inputs, batch.dose, sigma, batch.noise())

    task = SimpleNamespace(network=network, losses=losses, validate=dict)
    patches = _Ending([scan.to(torch.device(device)) for scan in scans], (16,) * 3, 0)
    patches.stop = stop
    with suppress(KeyboardInterrupt):
        train(task, patches, DEFAULT.plan(8, 2), StateFolder(path), precision=nullcontext,
              progress=lambda steps: steps, save_every_s=0)  # fmt: skip
    return [weight.detach().cpu().numpy() for weight in network.parameters()]


class _Ending(Patches):
    """Patches at whose step `stop` the process seems to be killed."""

    stop: int | None = None

    def draw(self, step: int, samples: range):
        if step == self.stop:
            raise KeyboardInterrupt
        return super().draw(step, samples)


def compared(cpu: np.ndarray, gpu: np.ndarray, tolerance: float) -> dict:
    """Return ‖gpu − cpu‖ / ‖cpu‖ beside its tolerance."""
    assert cpu.any(), "nothing was computed"
    return judged(float(np.linalg.norm((gpu - cpu).ravel()) / np.linalg.norm(cpu.ravel())), tolerance)


def judged(difference: float, tolerance: float) -> dict:
    return {"difference": float(difference), "tolerance": tolerance, "right": bool(difference <= tolerance)}


def beyond(value: object) -> bool:
    """Return whether a figure, or one inside it, is not right."""
    if not isinstance(value, dict):
        return False
    return value.get("right") is False or any(beyond(part) for part in value.values())


if __name__ == "__main__":
    sys.exit(main())

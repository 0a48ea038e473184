"""Speed of a GPU at each part, beside the machine's CPU and the card's own limits."""

import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace
from unittest import mock

import numpy as np
import torch
from networks import MEASURED, PAPER, SIGMA_DATA, Preset, random_conditions
from numba import cuda
from record import Record, arguments, machine, peak_gib, seconds
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from csrd.diffusion.loss import residual_loss
from csrd.diffusion.posterior import Posterior
from csrd.diffusion.precondition import Denoiser
from csrd.io.volume import Volume, centred_affine
from csrd.networks.ddpmpp import GroupNorm
from csrd.recon.osem import osem
from csrd.recon.sensitivity import random_lines
from csrd.scanner import projector, projector_cuda
from csrd.scanner.geometry import hrrt
from csrd.scanner.response import blur
from csrd.train.device import precision

PSF = SimpleNamespace(sigma_mm=0.9, tail_sigma_mm=2.5, tail_fraction=0.05)
GRIDS = {"80": ((80, 80, 80), 2.4375), "160": ((160, 160, 160), 1.21875), "256": ((256, 256, 207), 1.21875)}
PAPER_ITERATIONS, PAPER_BATCH, PAPER_SECONDS, PAPER_GIB = 65_000, 16, 180.0, 12.0


def main() -> int:
    given = arguments(__doc__.splitlines()[0]).parse_args()
    record, device = Record(given.part, given.only), given.device
    record.measure("machine", lambda: machine(device))
    record.measure("ceilings", lambda: ceilings(device, 256 if given.tiny else 8192))
    ceiling = record.content["ceilings"].get("matmul_TFLOPs")
    grids = {"8": ((8, 9, 7), 30.0)} if given.tiny else GRIDS
    lines = 40 if given.tiny else 4_000_000
    for name, grid in grids.items():
        record.measure(f"projector_{name}", partial(projectors, *grid, lines, device))
        record.measure(f"osem_{name}", partial(passes, *grid, lines, device))
    patch, batch, volume = (16, 1, 16) if given.tiny else (64, 16, 160)
    presets = {name: preset.tiny() if given.tiny else preset for name, preset in MEASURED.items()}
    for name, preset in presets.items():
        for variant in variants(name) if device == "cuda" else ("plain",):
            work = partial(training_step, preset, patch, batch, device, variant, ceiling)
            record.measure(f"{name}_step_{variant.replace(' ', '_')}", work)
        record.measure(f"{name}_profile", partial(profile, preset, patch, batch // 2, device))
    for name, preset in presets.items():
        for variant in ("plain", "compiled", "compiled channels last") if name == "paper" else ("plain",):
            work = partial(evaluation, preset, volume, device, variant, ceiling)
            record.measure(f"{name}_evaluation_{variant.replace(' ', '_')}", work)
        record.measure(f"{name}_sample", partial(sample, preset, volume, device, None))
    record.measure(
        "paper_sample_tiled", partial(sample, presets["paper"], volume, device, max(volume * 7 // 10, 64))
    )
    return 1 if record.failed else 0


def variants(preset: str) -> tuple[str, ...]:
    """Return the ways in which a training step is tried; "half" is half the batch, what fits without more."""
    if preset != "paper":
        return "plain", "searched", "compiled searched"
    return "half", "half channels last", "checkpointed", "compiled channels last"


def ceilings(device: str, n: int) -> dict:
    """Return the card's rate of bf16 matrix products, and of copying, read and written bytes counted."""
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    rate = 2 * n**3 / seconds(lambda: a @ b, device) / 1e12
    source = torch.randn(n, n * 4, device=device)
    target = torch.empty_like(source)
    copied = 2 * source.numel() * 4 / seconds(lambda: target.copy_(source), device) / 1e9
    return {"matmul_TFLOPs": rate, "copy_GBs": copied}


def projectors(shape: tuple, voxel_mm: float, lines: int, device: str) -> dict:
    """Return million random HRRT lines a second: on the card, from and to the host's memory, on the CPU."""
    scanner, rng = hrrt(), np.random.default_rng(0)
    crystals = random_lines(rng, lines, scanner)
    crystals = crystals[scanner.neighbours_first(crystals)]
    ends = [np.ascontiguousarray(scanner.crystal_positions[crystals[:, i]]) for i in (0, 1)]
    origin, voxel = centred_affine(shape, voxel_mm)[:3, 3], np.full(3, voxel_mm)
    image, values = rng.random(shape, dtype=np.float32), np.ones(len(crystals), np.float32)
    flat, starts, stops, held = (cuda.to_device(x) for x in (projector.padded(image), *ends, values))
    grid = [cuda.to_device(np.array(x)) for x in (origin, voxel)]
    launch = projector_cuda.launch(len(values))
    work = {
        "forward": lambda: projector_cuda.forward_kernel[launch](flat, starts, stops, *grid, shape, held),
        "back": lambda: projector_cuda.back_kernel[launch](held, starts, stops, *grid, shape, flat),
        "forward_host": lambda: projector_cuda.forward(image, origin, voxel, *ends),
        "back_host": lambda: projector_cuda.back(values, origin, voxel, *ends, shape),
        "forward_cpu": lambda: projector.forward(image, origin, voxel, *ends),
        "back_cpu": lambda: projector.back(values, origin, voxel, *ends, shape),
    }
    return {name: len(values) / seconds(call, device, 3) / 1e6 for name, call in work.items()}


def passes(shape: tuple, voxel_mm: float, events: int, device: str) -> dict:
    """Return million event passes a second: OSEM with its blur, its kernel on the card and on the CPU."""
    scanner, rng = hrrt(), np.random.default_rng(0)
    crystals = random_lines(rng, events, scanner).astype(np.uint32)
    crystals = crystals[scanner.neighbours_first(crystals)]
    sensitivity = Volume(np.ones(shape, np.float32), centred_affine(shape, voxel_mm), "mm3")
    additive, subsets = np.full(len(crystals), 0.5, np.float32), 2 if events < 1000 else 16
    grid = sensitivity.affine[:3, 3], sensitivity.voxel_mm
    image, images = sensitivity.array, projector.private_images(shape)

    def run(iterations: int) -> None:
        osem(
            crystals,
            additive,
            sensitivity,
            scanner,
            PSF,
            subsets,
            iterations,
            np.random.default_rng(1),
            "cuda",
        )

    few, many = (
        (1, 2) if events < 1000 else (2, 22)
    )  # the difference has no part in sharing out and sending events
    spent = [seconds(partial(run, iterations), device, 1) for iterations in (few, many)]
    found = {"osem": (many - few) * len(crystals) / (spent[1] - spent[0]) / 1e6}
    held = [
        cuda.to_device(x) for x in (projector.padded(image), crystals, scanner.crystal_positions, additive)
    ]
    target = cuda.to_device(images[0])
    kernel = partial(projector_cuda.em_back_on_device, *held, *grid, shape, target)
    on_cpu = partial(projector.em_back, image, crystals, scanner.crystal_positions, additive, *grid, images)
    found["kernel"] = len(crystals) / seconds(kernel, device, 3) / 1e6
    found["cpu_kernel"] = len(crystals) / seconds(on_cpu, device, 1) / 1e6
    return found | {"cpu_blur_s": seconds(partial(blur, image, grid[1], *vars(PSF).values()), device, 1)}


def training_step(
    preset: Preset, patch: int, batch: int, device: str, variant: str, ceiling: float | None
) -> dict:
    """Return the seconds and memory of forward, backward and optimiser, and the share of the card's rate."""
    batch = max(batch // 2, 1) if "half" in variant else batch
    step = _step(preset, patch, batch, device, variant)
    found = {"seconds": seconds(step, device, 5), "peak_GiB": peak_gib(step, device)}
    found["TFLOP"] = batch * _flop(partial(_step, preset, patch, 1, "meta", "plain"))
    found["of_ceiling"] = found["TFLOP"] / found["seconds"] / ceiling
    if preset.network is PAPER.network:
        found["hours_of_65000"] = found["seconds"] * PAPER_BATCH / batch * PAPER_ITERATIONS / 3600
    return found


def profile(preset: Preset, patch: int, batch: int, device: str) -> list[str]:
    """Return the kernels that a training step spends most of its time in, with their share of it."""
    step = _step(preset, patch, max(batch, 1), device, "channels last searched")
    step()
    with torch.profiler.profile() as found:
        step()
        if device == "cuda":
            torch.cuda.synchronize()
    spent = [(e.self_device_time_total if device == "cuda" else e.self_cpu_time_total, e.key, e.count)
             for e in found.key_averages()]  # fmt: skip
    total = sum(time for time, *_ in spent)
    largest = sorted(spent, reverse=True)[:14]
    return [f"{time / total:.3f} {count} x {key[:90]}" for time, key, count in largest]


def _step(preset: Preset, patch: int, batch: int, device: str, variant: str) -> Callable[[], None]:
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = "searched" in variant
    with torch.device(device):
        network = preset.build()
        r, noise = (torch.randn(batch, 1, patch, patch, patch) for _ in range(2))
        conditions, ones = torch.randn(batch, preset.channels - 1, patch, patch, patch), torch.ones(batch)
    network.to(device).train()
    if "channels last" in variant:
        network.to(memory_format=torch.channels_last_3d)
        r, noise, conditions = (x.to(memory_format=torch.channels_last_3d) for x in (r, noise, conditions))
    network.checkpointed = "checkpointed" in variant
    if "compiled" in variant:
        torch._dynamo.reset()
        network.compile()
    denoiser = Denoiser(network, SIGMA_DATA)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4)

    def step() -> None:
        with nullcontext() if device == "meta" else precision(torch.device(device)):
            loss = residual_loss(denoiser, r, conditions, ones, ones, noise).mean()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return step


@torch.no_grad()
def evaluation(preset: Preset, n: int, device: str, variant: str, ceiling: float | None) -> dict:
    """Return the seconds, memory and rate of one evaluation of n³ voxels."""
    network = preset.build().to(device).eval()
    denoiser, conditions = Denoiser(network, SIGMA_DATA), random_conditions(preset, n, device)[None]
    r, ones = torch.randn(1, 1, n, n, n, device=device), torch.ones(1, device=device)
    torch.backends.cudnn.benchmark = "searched" in variant
    if "channels last" in variant:
        network.to(memory_format=torch.channels_last_3d)

    def evaluate() -> None:
        with precision(torch.device(device)):
            denoiser(r, ones, conditions, ones)

    with FlopCounterMode(display=False) as counter:
        evaluate()
    if "compiled" in variant:
        torch._dynamo.reset()
        network.compile()
    found = {"seconds": seconds(evaluate, device), "peak_GiB": peak_gib(evaluate, device)}
    found["TFLOP"] = counter.get_total_flops() / 1e12
    return found | {"of_ceiling": found["TFLOP"] / found["seconds"] / ceiling}


def sample(preset: Preset, n: int, device: str, tile: int | None) -> dict:
    """Return the seconds and memory of a posterior mean, and of a sample with all its evaluations."""
    torch.manual_seed(0)
    network, blank = preset.build().to(device), preset.levels[2] > 0
    conditions, context = random_conditions(preset, n, device), partial(precision, torch.device(device))
    denoiser = Denoiser(network, SIGMA_DATA)
    posterior = partial(Posterior, denoiser, conditions, 1.4, 1, precision=context, tile=tile)

    def draw() -> None:
        posterior().sample(0, preset.sampler_levels(), preset.churn, from_mean=blank)

    def mean() -> None:
        posterior().mean() if blank else posterior().mean_under_noise(preset.sigma[1])

    found = {"evaluations": 2 * preset.steps - 1 + blank, "tile": tile}
    found |= {"mean_seconds": seconds(mean, device, 3), "mean_peak_GiB": peak_gib(mean, device)}
    if tile:  # all evaluations take the same time; a sample of all tiles would take minutes
        found |= {"seconds_computed": found["evaluations"] * found["mean_seconds"]}
        return found
    start = time.perf_counter()
    found |= {"peak_GiB": peak_gib(draw, device), "seconds": time.perf_counter() - start}
    if preset.network is PAPER.network:
        found |= {"paper_seconds": PAPER_SECONDS, "faster_than_paper": PAPER_SECONDS / found["seconds"]}
        found |= {"paper_GiB": PAPER_GIB}
    return found


def _flop(make: Callable[[], Callable[[], None]]) -> float:
    """Return the TFLOP of a step, counted on tensors without content."""
    # Without what this normalisation does about autocast, which does not know such tensors
    with mock.patch.object(GroupNorm, "forward", nn.GroupNorm.forward):
        step = make()
        with FlopCounterMode(display=False) as counter:
            step()
    return counter.get_total_flops() / 1e12


if __name__ == "__main__":
    sys.exit(main())

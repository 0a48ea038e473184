"""One training step and one evaluation of both presets: seconds, TFLOP/s, memory. On a GPU if there is one.

python benchmarks/network.py [--preset default|paper|both] [--step PATCH BATCH] [--volume N]
A step is forward, backward and optimiser on BATCH patches of PATCH³ (64 16); an evaluation is of N³ (160).
"""

import argparse
import time
from pathlib import Path

import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from csrd.config import load
from csrd.diffusion.loss import residual_loss
from csrd.diffusion.precondition import Denoiser
from csrd.methods import method
from csrd.methods.csrd import SIGMA_DATA
from csrd.train.device import pick_device, precision

CONFIG = Path(__file__).parents[1] / "config"
CONDITIONS = 5  # low dose, MR, x, y, z


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--preset", choices=("default", "paper", "both"), default="both")
    parser.add_argument("--step", nargs=2, type=int, default=(64, 16), metavar=("PATCH", "BATCH"))
    parser.add_argument("--volume", type=int, default=160)
    given = parser.parse_args()
    device = pick_device()
    print(f"{_name(device)}, torch {torch.__version__}, {torch.get_num_threads()} CPU threads")
    for preset in ("default", "paper") if given.preset == "both" else (given.preset,):
        file = {"default": "config.yaml", "paper": "paper.yaml"}[preset]
        settings = load(yaml.safe_load((CONFIG / file).read_text())).of_method("csrd")
        network = method("csrd")(settings).build().to(device)
        if device.type == "cuda":
            network.compile()
        denoiser = Denoiser(network, SIGMA_DATA)
        print(f"{preset}: {sum(w.numel() for w in network.parameters()) / 1e6:.2f} M weights")
        patch, batch = given.step
        report(
            f"  training step, {batch} x {patch}^3",
            lambda d=denoiser, p=patch, b=batch: step(d, p, b, device),
            device,
        )
        report(
            f"  evaluation, {given.volume}^3", lambda d=denoiser: evaluation(d, given.volume, device), device
        )


def step(denoiser: Denoiser, patch: int, batch: int, device: torch.device) -> None:
    """Take one training step on noise."""
    denoiser.train()
    shape = (batch, 1, patch, patch, patch)
    residual, noise = (torch.randn(shape, device=device) for _ in range(2))
    conditions = torch.randn(batch, CONDITIONS, *shape[2:], device=device)
    ones = torch.ones(batch, device=device)
    optimiser = torch.optim.AdamW(denoiser.parameters(), lr=1e-4)
    with precision(device):
        loss = residual_loss(denoiser, residual, conditions, ones, ones, noise).mean()
    loss.backward()
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)


@torch.no_grad()
def evaluation(denoiser: Denoiser, n: int, device: torch.device) -> None:
    """Evaluate D once on a volume of noise."""
    denoiser.eval()
    r, conditions = (torch.randn(1, channels, n, n, n, device=device) for channels in (1, CONDITIONS))
    ones = torch.ones(1, device=device)
    with precision(device):
        denoiser(r, ones, conditions, ones)


def report(name: str, work, device: torch.device, repeats: int = 3) -> None:
    """Print the best of some repeats, the rate from counted operations, and the peak of memory."""
    with FlopCounterMode(display=False) as counter:
        work()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = min(_timed(work, device) for _ in range(repeats))
    flop = counter.get_total_flops()
    rate = flop / seconds / 1e12
    print(f"{name}: {seconds:.3f} s, {flop / 1e12:.2f} TFLOP, {rate:.2f} TFLOP/s, {_peak(device)}")


def _timed(work, device: torch.device) -> float:
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _peak(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB of GPU memory at most"
    import resource

    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB resident at most, so far"


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


if __name__ == "__main__":
    main()

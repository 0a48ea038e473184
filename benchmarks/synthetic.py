"""Synthetic training pairs: the speed of their generation, and their noise against that of reconstructions.

    python benchmarks/synthetic.py speed [--seconds 60] [--device cpu]
    python benchmarks/synthetic.py noise SCANS [--figure docs/images/synthetic-noise.png]

`speed` draws batches of 8 patches of 64³ on one core, or on a CUDA device. `noise` takes a folder of scans
that `benchmarks/generality.py scans` kept, of people and tracers that no field of noise was made of: the
low dose less the normal dose, beside the noise that the generator lays over the same truth.
"""

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from csrd.synthetic import ANATOMIES, NOISE, Synthetic
from csrd.synthetic.grids import gaussian
from csrd.synthetic.noise import NoiseBank, reconstructed, reconstructed_factor
from csrd.synthetic.volumes import POWER
from csrd.units import SIGMA_PER_FWHM

BATCH, PATCH = 8, 64
BINS, LAGS_MM = 8, 20.0
LEAST = 0.15  # of the mean in the head: less is no tissue
ITERATIONS = 2  # of the scans
NAMES = ("filter_0", "reference", "DASB_10", "raclopride_4", "filter_6", "mMR")


@dataclass(frozen=True)
class Texture:
    """Of noise: `mean` and relative standard deviation `relative` in bins of the mean, `skewness`, and
    `covariance` along x and z at lags of `voxel_mm`, (2, lags)."""

    mean: np.ndarray
    relative: np.ndarray
    skewness: float
    covariance: np.ndarray
    voxel_mm: float

    @classmethod
    def of(cls, noise: np.ndarray, mean: np.ndarray, mask: np.ndarray, voxel_mm: float) -> "Texture":
        """Return the texture of `noise` around `mean`, arrays (X, Y, Z), inside a mask."""
        edges = np.quantile(mean[mask], np.linspace(0.02, 0.98, BINS + 1))
        places = [mask & (mean >= a) & (mean < b) for a, b in zip(edges[:-1], edges[1:], strict=True)]
        means = np.array([mean[place].mean() for place in places])
        stds = np.array([noise[place].std() for place in places])
        line = np.polyfit(np.log(means), np.log(stds), 1)
        even = noise / np.exp(np.polyval(line, np.log(np.maximum(mean, 1e-3))))
        even = np.where(mask, even - even[mask].mean(), 0)
        skewness = np.mean(even[mask] ** 3) / np.mean(even[mask] ** 2) ** 1.5
        lags = range(int(LAGS_MM / voxel_mm) + 1)
        covariance = np.array([[_product(even, mask, axis, lag) for lag in lags] for axis in (0, 2)])
        return cls(means, stds / means, float(skewness), covariance / covariance[:, :1], voxel_mm)


def _product(noise: np.ndarray, mask: np.ndarray, axis: int, lag: int) -> float:
    """Return the mean product of voxels `lag` apart along an axis, both inside the mask."""
    n = noise.shape[axis]
    first, second = (np.arange(n - lag) + k for k in (0, lag))
    both = mask.take(first, axis) & mask.take(second, axis)
    return float((noise.take(first, axis) * noise.take(second, axis))[both].mean())


def compare(path: Path, bank: NoiseBank, sharp: np.ndarray | None) -> tuple[Texture, Texture]:
    """Return the texture of a kept scan's noise, and of the generator's on the same truth.

    `sharp` is the truth before a filter, where there was one.
    """
    with np.load(path) as file:
        facts = json.loads(str(file["facts"]))
        low, normal, truth = (file[name].astype(np.float32) for name in ("low", "normal", "truth"))
        mask = file["mask"]
    scale = low[mask].mean()
    mask = mask & (truth > LEAST * scale)
    voxel_mm = float(facts["voxel_mm"])
    real = Texture.of((low - normal) / scale, truth / scale, mask, voxel_mm)
    clean = torch.from_numpy((truth if sharp is None else sharp) / scale).clamp(min=0)
    field = chosen(bank, facts["scanner"], float(np.median(real.relative)))
    noise = reconstructed(field, tuple(clean.shape), voxel_mm, np.random.default_rng(1), interpolated=False)
    sigma = facts["filter_mm"] * SIGMA_PER_FWHM / voxel_mm
    after = gaussian(clean, sigma)
    strength = 1.0
    for _ in range(3):  # until the variance is that of the scan
        ratio = strength * clean.clamp(min=1e-4) ** (POWER - 1)
        factor = reconstructed_factor(noise, field.facts["relative"], ratio)
        made = (gaussian(clean * factor, sigma) - after).numpy()
        strength *= ((low - normal)[mask] / scale).std() / made[mask].std()
    return real, Texture.of(made, after.numpy(), mask, voxel_mm)


def chosen(bank: NoiseBank, scanner: str, relative: float):
    """Return the field of a scanner, reconstructed as the scans are, whose own noise is nearest."""
    fitting = [
        field
        for field in bank.fields
        if scanner in field.facts["scanner"]
        and field.facts["psf"] == "narrow"
        and field.facts["iterations"] == ITERATIONS
    ]
    return min(fitting, key=lambda field: abs(np.log(field.facts["relative"] / relative)))


def noise(given: argparse.Namespace) -> None:
    """Print both textures of every scan, and draw them."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    bank = NoiseBank(NOISE, torch.device("cpu"))
    found = [name for name in NAMES if (given.scans / f"{name}.npz").exists()]
    figure, axes = plt.subplots(2, len(found), figsize=(2.6 * len(found), 5), squeeze=False)
    print("scan            noise/mean (real, made)   skewness     covariance x, 1 voxel   z, 1 voxel")
    for name, (above, below) in zip(found, axes.T, strict=True):
        real, made = compare(given.scans / f"{name}.npz", bank, sharp_truth(given.scans, name))
        middle = BINS // 2
        print(
            f"{name:15s} {real.relative[middle]:6.2f} {made.relative[middle]:6.2f}         "
            f"{real.skewness:6.2f} {made.skewness:6.2f}   "
            f"{real.covariance[0, 1]:6.2f} {made.covariance[0, 1]:6.2f}         "
            f"{real.covariance[1, 1]:6.2f} {made.covariance[1, 1]:6.2f}"
        )
        for texture, style, colour in ((real, "o", "black"), (made, "-", "tab:red")):
            above.plot(texture.mean, texture.relative, style, color=colour, ms=3)
            lags = np.arange(texture.covariance.shape[1]) * texture.voxel_mm
            for row, faint in zip(texture.covariance, (1.0, 0.45), strict=True):
                below.plot(lags, row, style, color=colour, ms=3, alpha=faint)
        above.set(title=name, xlabel="mean / mean of the head")
        below.set(xlabel="distance (mm)", title=f"skewness {real.skewness:.2f}, {made.skewness:.2f}")
    axes[0, 0].set_ylabel("noise / mean")
    axes[1, 0].set_ylabel("covariance (x; faint: z)")
    figure.tight_layout()
    figure.savefig(given.figure, dpi=110)


def sharp_truth(folder: Path, name: str) -> np.ndarray | None:
    """Return the truth before the filter of a scan of the unfiltered scan's person and tracer, else None."""
    with np.load(folder / "filter_0.npz") as unfiltered, np.load(folder / f"{name}.npz") as scan:
        one, other = (json.loads(str(file["facts"])) for file in (unfiltered, scan))
        same = all(one[key] == other[key] for key in ("subject", "tracer", "scanner", "voxel_mm"))
        return unfiltered["truth"].astype(np.float32) if same else None


def speed(given: argparse.Namespace) -> None:
    """Print how many pairs are made a second, once the pool is full."""
    torch.set_num_threads(1)
    device = torch.device(given.device)
    source = Synthetic(ANATOMIES, NOISE, device, seed=1, patch=PATCH)
    source.draw(0, range(1))
    start, used, step = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - start < given.seconds:
        step += 1
        source.draw(step, range(BATCH))
    if device.type == "cuda":
        torch.cuda.synchronize()
    elapsed, used = time.perf_counter() - start, time.process_time() - used
    pairs = step * BATCH
    print(f"{pairs} pairs of {PATCH}³ in {elapsed:.1f} s, {used:.1f} CPU s: "
          f"{pairs / elapsed:.1f} pairs a second, {pairs / used:.1f} a CPU second")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("speed")
    one.add_argument("--seconds", type=float, default=60.0)
    one.add_argument("--device", default="cpu")
    one.set_defaults(run=speed)
    two = commands.add_parser("noise")
    two.add_argument("scans", type=Path, help="folder of kept scans")
    two.add_argument("--figure", type=Path, default=Path("docs/images/synthetic-noise.png"))
    two.set_defaults(run=noise)
    given = parser.parse_args()
    given.run(given)


if __name__ == "__main__":
    main()

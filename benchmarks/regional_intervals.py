"""The 90 % intervals of regions' means: constants fitted on half of the simulated scans, tested on the rest.

    python benchmarks/regional_intervals.py OUT/scans

The folder is that of the scans which `python benchmarks/generality` keeps. Fitted are `FLOOR` and `QUANTILE`
of `csrd.report.uptake`, at its `CORRELATED_MM3`; also printed is the coverage of intervals from the samples'
own means, which hold the bias of no region. About 8 s a scan on one core.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from csrd.io.images import Image
from csrd.report.uptake import CORRELATED_MM3, FLOOR, LEAST_VOXELS, QUANTILE
from csrd.stages.denoiser import Denoiser
from csrd.virtual.atlas import atlas

sys.path.insert(0, str(Path(__file__).parent / "generality"))
from scans import Scan

SAMPLES = 2
NORMAL_90 = 1.645
FLOORS = np.arange(0.1, 0.5, 0.05)


@dataclass(frozen=True)
class Regions:
    """Regions of scans, arrays (N,): error of the mean, rms of the predicted standard deviation, standard
    deviation of the samples' means, volume in mm³, and true mean."""

    error: np.ndarray
    rms: np.ndarray
    sampled: np.ndarray
    mm3: np.ndarray
    truth: np.ndarray

    def shape(self, floor: float) -> np.ndarray:
        """Return what the rms is multiplied by, up to the quantile."""
        alike = CORRELATED_MM3 / (self.mm3 + CORRELATED_MM3)
        return np.sqrt(floor**2 + (1 - floor**2) * alike)

    def coverage(self, half: np.ndarray) -> float:
        return float(np.mean(np.abs(self.error) < half))


def measured(path: Path) -> Regions:
    """Return the regions of one scan, denoised by the packaged model."""
    scan = Scan.load(path)
    mr = None if scan.mr is None else Image(scan.mr, "the MR")
    method = Denoiser.load(None, mr, True, "cpu", {"samples": SAMPLES}).method
    found = method.posterior(scan.low, scan.mr, None, SAMPLES)
    image, std = found.image(found.mean).array, found.deviation(0.0).array
    samples = [found.image(sample).array for sample in found.samples]
    rows = []
    for label in atlas().regions:
        inside = scan.labels == label
        if inside.sum() < LEAST_VOXELS:
            continue
        mean, truth = image[inside].mean(), scan.truth.array[inside].mean()
        sampled = np.sqrt(np.mean([(sample[inside].mean() - mean) ** 2 for sample in samples]))
        rms = np.sqrt(np.mean(std[inside] ** 2))
        rows.append((mean - truth, rms, sampled, inside.sum() * scan.low.voxel_mm.prod(), truth))
    return Regions(*np.array(rows, float).T)


def joined(parts: list[Regions]) -> Regions:
    names = Regions.__dataclass_fields__
    return Regions(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def fitted(regions: Regions) -> tuple[float, float]:
    """Return the floor and the quantile with the least mean width, relative to the truth, at 90 %."""
    tried = []
    for floor in FLOORS:
        quantile = np.quantile(np.abs(regions.error) / regions.rms / regions.shape(floor), 0.9)
        width = np.mean(quantile * regions.shape(floor) * regions.rms / regions.truth)
        tried.append((width, floor, quantile))
    _, floor, quantile = min(tried)
    return float(floor), float(quantile)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scans", type=Path)
    paths = sorted(parser.parse_args().scans.glob("*.npz"))
    parts = []
    for path in paths:
        parts.append(measured(path))
        print(path.stem, flush=True)
    first, second, every = joined(parts[::2]), joined(parts[1::2]), joined(parts)
    floor, quantile = fitted(first)
    print(f"fitted on {len(parts[::2])} scans: floor {floor:.2f}, quantile {quantile:.2f}")
    held = second.coverage(quantile * second.shape(floor) * second.rms)
    print(f"coverage on the {len(parts[1::2])} others: {held:.0%}")
    half = QUANTILE * every.shape(FLOOR) * every.rms
    print(f"constants in use: {FLOOR}, {QUANTILE}; coverage on all: {every.coverage(half):.0%}")
    order = np.argsort(every.mm3)
    for part in np.array_split(order, 4):
        inside = np.mean(np.abs(every.error[part]) < half[part])
        print(f"{every.mm3[part].min() / 1e3:.1f} to {every.mm3[part].max() / 1e3:.1f} mL: {inside:.0%}")
    print(f"median half width: {np.median(half / every.truth):.1%} of the mean")
    print(f"error of a mean, rms: {np.sqrt(np.mean((every.error / every.truth) ** 2)):.1%}")
    print(f"coverage by the samples' own means: {every.coverage(NORMAL_90 * every.sampled):.0%}")


if __name__ == "__main__":
    main()

"""The scan of the demonstration: a noisy FDG scan of the packaged atlas's head, its MR and its regions."""

from dataclasses import dataclass

import numpy as np
import torch

from csrd.io.volume import Volume
from csrd.resample import resample
from csrd.seeds import generator, key64
from csrd.synthetic.grids import gaussian
from csrd.synthetic.noise import log_normal_factor
from csrd.synthetic.tracers import FAMILIES
from csrd.units import SIGMA_PER_FWHM
from csrd.virtual.atlas import atlas

VOXEL_MM = 2.5
GREY_BQ_PER_ML = 20_000.0
RESOLUTION_MM, NOISE_MM = 5.0, 5.0  # FWHM of the image, and over which its noise is correlated
NOISE, POWER = 0.45, 0.65  # standard deviation in grey matter over the mean there, and its power of the mean
LEAST_MEAN = 1e-3  # of grey matter: the noise's power law holds above it
MR_NOISE = 0.02  # of white matter


@dataclass(frozen=True)
class DemoScan:
    """A simulated scan: `low` and `truth` in Bq/mL, `mr` and `labels`, all on one grid."""

    low: Volume
    truth: Volume
    mr: Volume
    labels: Volume


def demo_scan(seed: int) -> DemoScan:
    """Return the demonstration's scan: uptake by region, blurred, with noise that follows its mean."""
    head = atlas()
    grid = _grid(head.labels)
    labels = resample(head.labels, grid, order=0)
    table = np.array([0.0, *FAMILIES["FDG"]], np.float32)
    uptake = head.labels.like(table[head.labels.array], "")
    sigma = RESOLUTION_MM * SIGMA_PER_FWHM / VOXEL_MM
    clean = gaussian(torch.from_numpy(resample(uptake, grid).array), sigma)
    random = torch.Generator().manual_seed(key64(seed, "demo noise") % 2**63)
    noise = gaussian(torch.randn(grid.shape, generator=random), NOISE_MM * SIGMA_PER_FWHM / VOXEL_MM)
    ratio = NOISE * clean.clamp(min=LEAST_MEAN) ** (POWER - 1)
    noisy = clean * log_normal_factor(noise / noise.std(), ratio)
    low, truth = (grid.like(image.numpy() * np.float32(GREY_BQ_PER_ML), "Bq/mL") for image in (noisy, clean))
    return DemoScan(low, truth, _mr(head.t1, grid, seed), labels)


def _grid(labels: Volume) -> Volume:
    """Return voxels of `VOXEL_MM` over the field of view of the labels, all 0."""
    step = VOXEL_MM / labels.voxel_mm
    shape = np.ceil(np.asarray(labels.shape) / step).astype(int)
    return Volume(np.zeros(shape, np.float32), labels.affine @ np.diag([*step, 1.0]))


def _mr(t1: Volume, grid: Volume, seed: int) -> Volume:
    """Return the T1w image on the grid, with noise."""
    clean = resample(t1, grid).array
    parts = generator(seed, "demo MR").normal(0, MR_NOISE, (2, *grid.shape))
    return grid.like(np.hypot(clean + parts[0], parts[1]).astype(np.float32), "arbitrary")

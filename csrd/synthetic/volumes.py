"""One synthetic PET volume and its MR, each drawn anew from a head, an uptake and a noise texture."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from csrd.rotations import rotation
from csrd.seeds import generator as scalar_generator
from csrd.seeds import key64
from csrd.synthetic import measure, mr
from csrd.synthetic.anatomies import VOXEL_MM, Head
from csrd.synthetic.conditions import conditions, noise_level, residual_unit
from csrd.synthetic.grids import gaussian, random_field, sampled, sampling_grid
from csrd.synthetic.noise import (
    NoiseBank,
    analytic,
    log_normal_factor,
    reconstructed,
    reconstructed_factor,
)
from csrd.synthetic.uptake import uptake
from csrd.units import SIGMA_PER_FWHM

MOST_VOXELS = 1_600_000
RESOLUTION_MM = (2.5, 9.0)  # FWHM of the final image
LEVEL, USUAL_LEVEL = (0.02, 0.8), (0.08, 0.6)  # noise after the filter, relative to grey matter
USUAL = 0.75  # fraction of volumes with a usual level
USUAL_AT_MM = 5.0  # a sharper image is a noisier one
POWER = 0.65  # of the mean that the standard deviation follows; 0.62 to 0.70 in scans of this engine
ANALYTIC = 0.25  # fraction of volumes whose noise is computed
NO_MR = 0.35
MOVED = 0.4  # fraction of MRs that are displaced
FAR = 0.15  # fraction of these that belong elsewhere, as another person's MR does
NEAR_MM, FAR_MM = (0.0, 3.0), (3.0, 15.0)  # displacement
LEAST_MEAN = 1e-4
JITTER = 0.05  # of the scale


@dataclass(frozen=True)
class SyntheticVolume:
    """One training pair, all of it on the device.

    `low`, `truth` (X, Y, Z) over the low dose's mean in the head, `mr` (X, Y, Z) over its mean there and 0
    where there is none, `spots` (X, Y, Z) 1 in a spot and 0 outside. Without axes: `level`, the noise
    measured in `low`, and `variance`, that of the `target` in the head. `labels` (X, Y, Z) uint8
    where they were requested. `facts`: what was drawn.
    """

    low: Tensor
    truth: Tensor
    mr: Tensor
    spots: Tensor
    level: Tensor
    variance: Tensor
    voxel_mm: float
    facts: dict
    labels: Tensor | None = None

    @property
    def inputs(self) -> Tensor:
        """Return what a network is shown, see `csrd.synthetic.conditions`: (C, X, Y, Z)."""
        mr = None if self.facts["mr"] is None else self.mr
        return conditions(self.low, mr, self.level, self.voxel_mm)

    @property
    def target(self) -> Tensor:
        """Return the residual in its unit, (1, X, Y, Z)."""
        return ((self.low - self.truth) / residual_unit(self.level))[None]


def make_volume(
    heads: list[Head], bank: NoiseBank, seed: int, index: int, patch: int, with_labels: bool = False
) -> SyntheticVolume:
    """Return volume number `index` of a seed, no axis shorter than `patch`."""
    device = heads[0].labels.device
    rng = scalar_generator(seed, "synthetic", index)
    generator = torch.Generator(device).manual_seed(key64(seed, "synthetic fields", index) % 2**63)
    head = heads[rng.integers(len(heads))]
    voxel_mm = _voxel(rng)
    shape, to_head = _field_of_view(head.labels.shape, voxel_mm, patch, rng)
    optics = _optics(rng)
    activity, places, drawn = uptake(head, rng, generator)
    activity = _blurred(activity, optics)
    grid = sampling_grid(shape, head.labels.shape, to_head, device)
    clean, spots = sampled(torch.stack([activity, places]), grid)
    clean = clean + optics["air"] * torch.exp(0.3 * random_field(shape, 40 / voxel_mm, generator)[0])
    low, noise_facts = _noisy(clean, voxel_mm, optics, bank, rng, generator)
    sigma = optics["filter_mm"] * SIGMA_PER_FWHM / voxel_mm
    low, clean = gaussian(torch.stack([low, clean]), sigma)
    mask = measure.head_mask(low, voxel_mm)
    scale = measure.mean_inside(low, mask).clamp(min=1e-6) * (1 + rng.uniform(-JITTER, JITTER))
    level = noise_level(low / scale, mask, voxel_mm)
    residual = (low - clean) / scale / residual_unit(level)
    variance = measure.mean_inside(residual.square(), mask)
    anatomy, mr_facts = _mr(head, shape, to_head, grid, mask, voxel_mm, rng, generator)
    facts = {"head": head.name, "voxel_mm": voxel_mm, **optics, **drawn, **noise_facts, **mr_facts}
    labels = sampled(head.labels[None].float(), grid, "nearest")[0].byte() if with_labels else None
    images = low / scale, clean / scale, anatomy, spots
    return SyntheticVolume(*images, level, variance, voxel_mm, facts, labels)


def _voxel(rng: np.random.Generator) -> float:
    """Return a voxel size in mm: 1 to 4, mostly 1.5 to 3."""
    low, high = (1.5, 3.0) if rng.random() < 0.65 else (1.0, 4.0)
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def _optics(rng: np.random.Generator) -> dict:
    """Return what blurs an image: resolution before and width of the filter in mm, ringing, and air."""
    filter_mm = 0.0 if rng.random() < 0.35 else rng.uniform(1.5, 6.5)
    low, high = RESOLUTION_MM
    final = rng.uniform(max(low, math.hypot(filter_mm, 2.3)), high if filter_mm > 4 else 7.5)
    return {
        "filter_mm": float(filter_mm),
        "resolution_mm": float(final),
        "raw_mm": math.sqrt(max(final**2 - filter_mm**2, low**2 * 0.8)),
        "ringing": float(rng.uniform(0.1, 0.5)) if rng.random() < 0.3 else 0.0,
        "air": float(np.exp(rng.uniform(np.log(5e-4), np.log(0.03)))),
    }


def _blurred(activity: Tensor, optics: dict) -> Tensor:
    """Return the activity at the resolution before the filter; a resolution model overshoots at edges."""
    sigma = optics["raw_mm"] * SIGMA_PER_FWHM / VOXEL_MM
    image = gaussian(activity, sigma)
    if optics["ringing"]:
        image = image + optics["ringing"] * (image - gaussian(image, sigma))
    return image.clamp(min=0)


def _field_of_view(
    source: Sequence[int], voxel_mm: float, patch: int, rng: np.random.Generator
) -> tuple[tuple[int, int, int], np.ndarray]:
    """Return the grid's shape and the matrix from its voxels to those of a head: turned, scaled, cropped."""
    size = rng.uniform(0.9, 1.1) * rng.uniform(0.95, 1.05, 3)  # of the head
    extent = np.array(source) * VOXEL_MM * size
    low, high = -rng.uniform(-8, 25, 3), extent + rng.uniform(-8, 25, 3)  # faces of the field of view
    cut = rng.random()
    if cut < 0.15:
        low[2] = rng.uniform(0.05, 0.35) * extent[2]
    elif cut < 0.25:
        high[2] = rng.uniform(0.6, 0.95) * extent[2]
    shape = np.maximum(np.round((high - low) / voxel_mm), patch).astype(int)
    middle = (low + high) / 2
    for axis in (2, 1, 0):
        most = max(patch, int(MOST_VOXELS / (np.prod(shape) / shape[axis])))
        if shape[axis] > most:
            middle[axis] += rng.uniform(-0.5, 0.5) * (shape[axis] - most) * voxel_mm
            shape[axis] = most
    turn = rotation(np.radians(rng.normal(0, 6, 3).clip(-15, 15)))
    to_head = np.eye(4)
    to_head[:3, :3] = np.diag(1 / size) @ turn * (voxel_mm / VOXEL_MM)
    centre = (middle / size) / VOXEL_MM - 0.5
    to_head[:3, 3] = centre - to_head[:3, :3] @ ((shape - 1) / 2)
    x, y, z = (int(n) for n in shape)
    return (x, y, z), to_head


def _noisy(
    clean: Tensor,
    voxel_mm: float,
    optics: dict,
    bank: NoiseBank,
    rng: np.random.Generator,
    generator: Generator,
) -> tuple[Tensor, dict]:
    """Return the clean image before the filter, with noise whose standard deviation follows its mean."""
    usual = np.array(USUAL_LEVEL) * (USUAL_AT_MM / optics["resolution_mm"])
    level = math.exp(rng.uniform(*np.log(usual if rng.random() < USUAL else LEVEL)))
    power = float(np.clip(rng.normal(POWER, 0.12), 0.4, 1.0))
    uneven = rng.uniform(0.0, 0.15) * random_field(clean.shape, 40 / voxel_mm, generator)[0]
    ratio = clean.clamp(min=LEAST_MEAN) ** (power - 1) * torch.exp(uneven)  # where the mean is 1, 1
    texture: str | dict
    if rng.random() < ANALYTIC:
        noise, texture, relative = analytic(clean.shape, voxel_mm, rng, generator), "analytic", level
        left = gaussian(noise, optics["filter_mm"] * SIGMA_PER_FWHM / voxel_mm).std()
        ratio = ratio * level / left
        factor = log_normal_factor(noise, ratio) if rng.random() < 0.5 else 1 + ratio * noise
    else:
        field, relative = bank.choose(rng, level, optics["filter_mm"])
        noise = reconstructed(field, clean.shape, voxel_mm, rng)
        factor = reconstructed_factor(noise, field.facts["relative"], ratio * relative)
        texture = {key: fact for key, fact in field.facts.items() if key != "remaining"}
    return clean * factor, {"level": level, "power": power, "relative": relative, "texture": texture}


def _mr(
    head: Head,
    shape: tuple[int, int, int],
    to_head: np.ndarray,
    grid: Tensor,
    mask: Tensor,
    voxel_mm: float,
    rng: np.random.Generator,
    generator: Generator,
) -> tuple[Tensor, dict]:
    """Return the MR channel (X, Y, Z) on the PET's grid, displaced now and then, or 0 without an MR."""
    if rng.random() < NO_MR:
        return torch.zeros(shape, device=mask.device), {"mr": None}
    image, name = mr.contrast(head, rng)
    shift = np.zeros(3)
    if rng.random() < MOVED:
        shift = rng.normal(0, 1, 3)
        shift *= rng.uniform(*(FAR_MM if rng.random() < FAR else NEAR_MM)) / np.linalg.norm(shift)
        moved = np.eye(4)
        moved[:3, :3] = rotation(np.radians(rng.normal(0, 0.7, 3)))
        middle = (np.array(shape) - 1) / 2
        moved[:3, 3] = middle - moved[:3, :3] @ middle + shift / voxel_mm
        grid = sampling_grid(shape, head.labels.shape, to_head @ moved, mask.device)
    image = mr.acquired(sampled(image[None], grid)[0], voxel_mm, rng, generator)
    scale = measure.mean_inside(image, mask).clamp(min=1e-6)
    return (image / scale).clamp(0, 4), {"mr": name, "mr_shift_mm": float(np.linalg.norm(shift))}

"""What a network is shown of a scan of unknown dose, tracer and scanner: its noise is measured in the image.

All of it in torch: the training, which makes its scans on a GPU, and the denoising of one scan share it.
"""

import math

import torch
from torch import Tensor

from csrd.synthetic.grids import gaussian
from csrd.synthetic.guided import guided

FINE_MM = 6.0  # standard deviation of the filter: what it removes is mostly noise, where there is much noise
BANDS_MM = (2.0, 5.0)  # those that divide the image into bands of detail
UNIT, POWER = 1.9, 1.35
"""The residual's unit is `UNIT` · level^`POWER`, twice the line through the residuals of synthetic scans.

In 80 of them, at any resolution and noise, the residual's standard deviation lay within a factor of 1.46
(one standard deviation) of that line. The power is above 1 since edges are a part of a weak noise's level.
"""
LEVELS = (0.15, 2.5)
"""Noise levels of synthetic scans: the lowest, and the 99th percentile, of 140."""
LEAST_LEVEL = 1e-3
CHANNELS = 9
SKIP = (0.0,) * 8 + (2.0, 0.0)
"""First weights of the noisy residual and the channels in a network's output: the network starts as a filter.

A denoiser's output is half of it, for the residual's deviation of one half.
"""


def noise_level(low: Tensor, mask: Tensor, voxel_mm: float) -> Tensor:
    """Return the standard deviation of what is finer than `FINE_MM` inside the mask, a tensor without axes.

    `low` (X, Y, Z) over its mean inside the head.
    """
    fine = low - gaussian(low, FINE_MM / voxel_mm)
    inside = mask.sum().clamp(min=1)
    mean = (fine * mask).sum() / inside
    return (((fine - mean).square() * mask).sum() / inside).sqrt().clamp(min=LEAST_LEVEL)


def residual_unit(level: Tensor | float) -> Tensor | float:
    """Return what a residual of 1 stands for, as a part of the low dose's mean inside the head."""
    return UNIT * level**POWER


def bands(low: Tensor, unit: Tensor | float, voxel_mm: float) -> Tensor:
    """Return the image's two finest bands of detail in the residual's unit, (2, X, Y, Z)."""
    fine, coarse = (gaussian(low, mm / voxel_mm) for mm in BANDS_MM)
    return torch.stack([low - fine, fine - coarse]) / unit


def conditions(low: Tensor, mr: Tensor | None, level: Tensor | float, voxel_mm: float) -> Tensor:
    """Return a network's inputs (`CHANNELS`, X, Y, Z).

    They are the low dose, the MR, whether there is one, two bands of detail, and what the low dose is above
    each of four regressions on the MR, in the residual's unit. `low` and `mr` (X, Y, Z) are over their means
    inside the head; without an MR its channels are 0.
    """
    there = torch.zeros_like(low) if mr is None else torch.ones_like(low)
    anatomy = there if mr is None else mr
    unit = residual_unit(level)
    with torch.autocast(low.device.type, enabled=False):  # a regression in bf16 has no value
        above = (low - guided(low, mr, voxel_mm)) / unit
        return torch.cat([torch.stack([low, anatomy, there]), bands(low, unit, voxel_mm), above])


def log_level(level: Tensor | float) -> Tensor:
    """Return the network's noise condition."""
    return level.log() if isinstance(level, Tensor) else torch.tensor(math.log(level))

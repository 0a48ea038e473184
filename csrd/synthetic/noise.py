"""Noise textures of unit variance: from reconstructions of this project's engine, or computed."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor

from csrd.synthetic.grids import gaussian, random_field, resampled
from csrd.units import SIGMA_PER_FWHM

STEPS, BEND = 25.0, 2.0  # int8 steps are 1/50 standard deviation at 0 and grow: 127 steps are 40
FILTERS_MM = (0.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)  # FWHM at which a field's remaining noise is noted
CLOSENESS = 0.7  # of a field's own noise to the requested noise, in e-folds
SOME = 30_000  # voxels of noise for moments
LEAST = 1e-3  # of the mean: an image's least voxel
POWERS = (-1.5, 0.5, 40)  # exponents of 10, and how many
RATIO_LOW, RATIO_FINENESS, RATIO_STEPS = -8.0, 4, 56  # ratios from 2^-8 to 2^6, 4 in an octave
FADE = 8  # a part fades into the next over 1/8 of its edge, at most 8 voxels
OWN_VOXELS = (0.65, 1.55)  # a voxel may stand for one of another size within these ratios


def packed(noise: np.ndarray) -> np.ndarray:
    """Return noise in standard deviations as int8; skewed noise has values far out."""
    return np.rint(STEPS * np.arcsinh(BEND * noise)).clip(-127, 127).astype(np.int8)


def unpacked(noise: Tensor) -> Tensor:
    """Return the noise that was `packed`, float32."""
    return torch.sinh(noise.float() / STEPS) / BEND


@dataclass(frozen=True)
class Field:
    """Noise (X, Y, Z) int8 on voxels of `voxel_mm`, and `facts`: how it was reconstructed.

    `facts["relative"]` was its standard deviation over the mean; `remaining` what is left of it, finer than
    6 mm, after Gaussian filters of `FILTERS_MM`.
    """

    noise: Tensor
    voxel_mm: float
    facts: dict
    remaining: tuple[float, ...]

    def relative_for(self, level: float, filter_mm: float) -> float:
        """Return the noise over the mean before a filter of `filter_mm` FWHM that leaves `level` after it."""
        return level / float(np.interp(filter_mm, FILTERS_MM, self.remaining))


class NoiseBank:
    """The fields of a file that `csrd.synthetic.build_noise` wrote."""

    def __init__(self, path: Path, device: torch.device) -> None:
        with np.load(path) as file:
            facts = json.loads(str(file["facts"]))
            self.fields = [
                Field(
                    torch.from_numpy(file[f"field-{number:03d}"]).to(device),
                    one["voxel_mm"],
                    one,
                    tuple(one["remaining"]),
                )
                for number, one in enumerate(facts["fields"])
            ]

    def choose(self, rng: np.random.Generator, level: float, filter_mm: float) -> tuple[Field, float]:
        """Return a field for a noise `level` after a filter, and its noise over the mean before that.

        Fields whose own noise was about as strong are chosen more often: the skewness grows with it.
        """
        wanted = np.array([field.relative_for(level, filter_mm) for field in self.fields])
        own = np.array([field.facts["relative"] for field in self.fields])
        weights = np.exp(-0.5 * (np.log(wanted / own) / CLOSENESS) ** 2) + 1e-6
        number = int(rng.choice(len(weights), p=weights / weights.sum()))
        return self.fields[number], float(wanted[number])


def reconstructed(
    field: Field,
    shape: Sequence[int],
    voxel_mm: float,
    rng: np.random.Generator,
    interpolated: bool | None = None,
) -> Tensor:
    """Return a field's noise (X, Y, Z) on another grid, on its own voxels or interpolated (None: by chance).

    A field is smaller than a head: parts of it, each turned, flipped and shifted by chance, are laid side by
    side, and fade into each other so that the variance is 1 everywhere.
    """
    whole = unpacked(field.noise)
    ratio = voxel_mm / field.voxel_mm
    if interpolated is None:
        interpolated = not OWN_VOXELS[0] < ratio < OWN_VOXELS[1] or rng.random() < 0.5
    if not interpolated:
        ratio = 1.0
    edge = int((min(whole.shape) - 1) / ratio) - 1  # the largest part of the grid that a field covers
    edge = min(edge, max(shape))
    fade = max(min(edge // FADE, 8), 1)
    noise, variance = torch.zeros((2, *shape), device=whole.device)
    for corner in itertools.product(*(_corners(n, edge - fade, rng) for n in shape)):
        box = tuple(slice(max(c, 0), min(c + edge, n)) for c, n in zip(corner, shape, strict=True))
        cut = tuple(slice(b.start - c, b.stop - c) for b, c in zip(box, corner, strict=True))
        if any(part.stop <= part.start for part in box):
            continue
        turned = whole.transpose(0, 1) if rng.random() < 0.5 else whole
        turned = turned.flip([axis for axis in range(3) if rng.random() < 0.5])
        start = [rng.uniform(0, n - 1 - ratio * (edge - 1)) for n in turned.shape]
        start = [float(round(s)) for s in start] if ratio == 1 else start
        size = [part.stop - part.start for part in cut]
        part = resampled(
            turned, size, (ratio,) * 3, [s + ratio * c.start for s, c in zip(start, cut, strict=True)]
        )
        weight = _fading(edge, fade, whole.device)
        x, y, z = (weight[c] for c in cut)
        weight = x[:, None, None] * y[:, None] * z
        noise[box] += part * weight
        variance[box] += weight**2
    return noise / variance.clamp(min=1e-6).sqrt()


def _corners(n: int, step: int, rng: np.random.Generator) -> list[int]:
    """Return where along an axis of n voxels the parts begin; the first is cut by chance."""
    first = -int(rng.integers(0, step)) if n > step else 0
    return list(range(first, n, step))


def _fading(edge: int, fade: int, device: torch.device) -> Tensor:
    """Return weights (edge,) that rise from 0 and fall to 0 within `fade` voxels, 1 between."""
    index = torch.arange(edge, device=device)
    return ((torch.minimum(index, edge - 1 - index) + 0.5) / fade).clamp(max=1)


def reconstructed_factor(noise: Tensor, own: float, ratio: Tensor) -> Tensor:
    """Return factors (X, Y, Z) of mean 1 and standard deviation `ratio`, never negative, of a field's noise.

    1 + `own` · noise is an image of OSEM over its mean. A power of it is one of fewer counts or more: mean,
    variance and skewness, which grows with the ratio, then are those of OSEM, in cold regions too.
    """
    log = (1 + own * noise).clamp(min=LEAST).log()
    some = log.flatten()[:: max(1, log.numel() // SOME)]
    powers = torch.logspace(*POWERS, device=noise.device)
    images = torch.exp(powers[:, None] * some)
    means = images.mean(dim=1)
    ratios = images.std(dim=1) / means
    # both as functions of the ratio's logarithm, on an even grid
    even = torch.arange(RATIO_STEPS, device=noise.device) / RATIO_FINENESS + RATIO_LOW
    right = torch.searchsorted(ratios.log2().cummax(0).values, even).clamp(1, len(powers) - 1)
    low, high = (ratios.log2().index_select(0, right - k) for k in (1, 0))
    weight = ((even - low) / (high - low)).clamp(0, 1)
    table = torch.stack([powers, means.log()], dim=1)
    table = torch.lerp(table.index_select(0, right - 1), table.index_select(0, right), weight[:, None])
    at = ((ratio.log2() - RATIO_LOW) * RATIO_FINENESS).clamp(0, RATIO_STEPS - 1.001).flatten()
    index = at.int()
    below, above = (table.index_select(0, index + k) for k in (0, 1))
    found = torch.lerp(below, above, (at - index)[:, None])
    power, mean = (part.view(ratio.shape) for part in found.unbind(1))
    return torch.exp(power * log - mean)


def log_normal_factor(noise: Tensor, ratio: Tensor) -> Tensor:
    """Return factors (X, Y, Z) of mean 1 and standard deviation `ratio`, positive, of Gaussian noise."""
    variance = torch.log1p(ratio**2)
    return torch.exp(variance.sqrt() * noise - variance / 2)


def analytic(shape: Sequence[int], voxel_mm: float, rng: np.random.Generator, generator: Generator) -> Tensor:
    """Return Gaussian noise (X, Y, Z) correlated over 2.5 to 8 mm, half of it with a negative lobe."""
    fwhm_mm = np.exp(rng.uniform(np.log(2.5), np.log(8.0)))
    sigma = [fwhm_mm * rng.uniform(0.85, 1.15) * SIGMA_PER_FWHM / voxel_mm] * 2
    sigma.append(sigma[0] * rng.uniform(0.75, 1.25))
    if max(sigma) < 0.6:
        noise = gaussian(torch.randn(shape, generator=generator, device=generator.device), sigma)
    else:
        noise = random_field(shape, sigma, generator)[0]
    if rng.random() < 0.5:
        wide = rng.uniform(1.0, 2.0)
        noise = noise - rng.uniform(0.3, 0.95) * gaussian(noise, [wide * s for s in sigma])
    return noise / noise.std()

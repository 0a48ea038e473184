"""Changes of training patches on the fly: spots that only the PET shows, and displaced or missing MRs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))
RADIUS_MM = (2.0, 12.0)
RATIO = (0.3, 3.0)
RATIO_SD = 0.55  # of ln ratio before it is limited, as in the virtual cohort (csrd.virtual.spots)
IN_TISSUE = 0.5  # of the head's mean: where the normal dose is higher, a spot may have its centre
PLACES = 32  # voxels that are tried as a spot's centre
NOISE_POWER = (
    0.57  # of the uptake, to which the noise is proportional: local values in the default cohort's heads
)


@dataclass(frozen=True)
class Augmentation:
    """What is changed: fractions of patches `lesions` and `mr_missing`, and displacements `mr_shift_mm`.

    `lesion_fwhm_mm` is the images' resolution. The first channel of a patch is the low dose; `mr` is the
    MR's channel, None where a method has none. Nothing is drawn for what is 0.
    """

    lesions: float = 0.0
    lesion_fwhm_mm: float = 7.0
    mr_shift_mm: float = 0.0
    mr_missing: float = 0.0
    mr: int | None = None

    def mr_changed(
        self, patch: Tensor, whole: Tensor, box: Sequence[slice], voxel_mm: Sequence[float], rng: Generator
    ) -> Tensor:
        """Return the inputs of a patch (C, x, y, z), its MR displaced, or 0 where it is missing.

        `whole` (C, X, Y, Z) are those of the scan that has the patch in `box`.
        """
        if self.mr is None or not (self.mr_shift_mm or self.mr_missing):
            return patch
        missing, length = torch.rand(2, generator=rng, device=rng.device).tolist()
        direction = torch.randn(3, generator=rng, device=rng.device)
        patch = patch.clone()
        if missing < self.mr_missing:
            patch[self.mr] = 0
        elif self.mr_shift_mm:
            by_mm = (direction / direction.norm() * length * self.mr_shift_mm).tolist()
            by = [mm / edge for mm, edge in zip(by_mm, voxel_mm, strict=True)]
            patch[self.mr] = displaced(whole[self.mr], box, by)
        return patch

    def with_lesion(
        self, low: Tensor, normal: Tensor, voxel_mm: Sequence[float], rng: Generator
    ) -> tuple[Tensor, Tensor]:
        """Return a patch's low and normal dose (1, x, y, z), in a fraction `lesions` with a spot in both."""
        if not self.lesions or torch.rand(1, generator=rng, device=rng.device).item() >= self.lesions:
            return low, normal
        spot = Spot.drawn(normal[0], voxel_mm, rng)
        if spot is None:
            return low, normal
        factor = spot.factor(normal.shape[1:], voxel_mm, self.lesion_fwhm_mm, normal.device)
        return with_uptake(low, normal, factor)


@dataclass(frozen=True)
class Spot:
    """A sphere with `ratio` times the uptake around it; `centre` in voxels of a patch, between voxels too."""

    centre: tuple[float, ...]
    radius_mm: float
    ratio: float

    @classmethod
    def drawn(cls, normal: Tensor, voxel_mm: Sequence[float], rng: Generator) -> Spot | None:
        """Return a spot in the tissue of a normal dose (x, y, z) over the head's mean; None without tissue.

        Along an axis of one voxel the centre may be outside the patch: a slice cuts a sphere anywhere.
        """
        uniform = torch.rand(5, generator=rng, device=rng.device).tolist()
        normally = torch.randn(1, generator=rng, device=rng.device).item()
        tried = torch.rand(PLACES, 3, generator=rng, device=rng.device)
        places = (tried * torch.tensor(normal.shape, device=tried.device)).long()
        tissue = places[(normal[places.unbind(1)] > IN_TISSUE).to(places.device)]
        if not len(tissue):
            return None
        radius = math.exp(math.log(RADIUS_MM[0]) + uniform[0] * math.log(RADIUS_MM[1] / RADIUS_MM[0]))
        ratio = math.exp(min(max(RATIO_SD * normally, math.log(RATIO[0])), math.log(RATIO[1])))
        reach = [radius / mm if n == 1 else 0.5 for mm, n in zip(voxel_mm, normal.shape, strict=True)]
        centre = (
            place + (2 * u - 1) * by
            for place, u, by in zip(tissue[0].tolist(), uniform[1:4], reach, strict=True)
        )
        return cls(tuple(centre), radius, ratio)

    def factor(
        self, shape: Sequence[int], voxel_mm: Sequence[float], fwhm_mm: float, device: torch.device
    ) -> Tensor:
        """Return what uptake is multiplied by, at a resolution: 1 far from the spot, (x, y, z)."""
        squares = [
            ((torch.arange(n, device=device) - middle) * mm).square()
            for n, middle, mm in zip(shape, self.centre, voxel_mm, strict=True)
        ]
        distance = (squares[0][:, None, None] + squares[1][:, None] + squares[2]).sqrt()
        return 1 + (self.ratio - 1) * blurred_ball(distance, self.radius_mm, fwhm_mm / FWHM_PER_SIGMA)


def blurred_ball(distance: Tensor, radius: float, sigma: float) -> Tensor:
    """Return a ball of value 1, smoothed by a Gaussian, at distances from its centre (all in one unit).

    The closed form of the convolution:
    (erf((R+d)/√2σ) + erf((R−d)/√2σ)) / 2 − σ/(d√2π) · (exp(−(R−d)²/2σ²) − exp(−(R+d)²/2σ²)).
    """
    d = distance.double().clamp(min=1e-3 * sigma)
    inner, outer = (radius - d) / sigma, (radius + d) / sigma
    mass = (torch.erf(outer / math.sqrt(2)) + torch.erf(inner / math.sqrt(2))) / 2
    edge = ((-inner.square() / 2).exp() - (-outer.square() / 2).exp()) * sigma / (d * math.sqrt(2 * math.pi))
    return (mass - edge).to(distance.dtype)


def with_uptake(low: Tensor, normal: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
    """Return low and normal dose with `factor` times the uptake, the residual scaled as noise would be.

    The residual is multiplied by the factor to the power `NOISE_POWER`.
    """
    changed = normal * factor
    return (changed + (low - normal) * factor**NOISE_POWER).clamp(min=0), changed


def displaced(whole: Tensor, box: Sequence[slice], by: Sequence[float]) -> Tensor:
    """Return `whole` (X, Y, Z) within `box` after a translation by `by` voxels along each axis.

    Cubic convolution (Keys 1981, a = −1/2) along each axis, exact for polynomials of second degree; the
    volume's last voxels are repeated.
    """
    starts = [math.floor(-step) for step in by]
    around = whole
    for axis, (part, start) in enumerate(zip(box, starts, strict=True)):
        places = torch.arange(part.start + start - 1, part.stop + start + 2, device=whole.device)
        around = around.index_select(axis, places.clamp(0, whole.shape[axis] - 1))
    for axis, (part, start, step) in enumerate(zip(box, starts, by, strict=True)):
        n = part.stop - part.start
        weighted = [w * around.narrow(axis, k, n) for k, w in enumerate(cubic(-step - start))]
        around = torch.stack(weighted).sum(0)
    return around


def cubic(t: float) -> tuple[float, float, float, float]:
    """Return the weights of four neighbours of a point that lies `t` in 0 … 1 beyond the second."""
    return (
        -0.5 * t + t**2 - 0.5 * t**3,
        1 - 2.5 * t**2 + 1.5 * t**3,
        0.5 * t + 2 * t**2 - 1.5 * t**3,
        -0.5 * t**2 + 0.5 * t**3,
    )

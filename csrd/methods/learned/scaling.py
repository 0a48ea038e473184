"""Scaling of images to the networks' inputs and residuals, and noise levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from pydantic import PositiveFloat

from csrd.config.sections import Section
from csrd.errors import InputError

if TYPE_CHECKING:
    from csrd.io.volume import Volume
    from csrd.methods.base import LoadedPair

FINE_MM = 6.0  # finer structures are mostly noise, coarser ones mostly uptake
MR_LIMIT = 4.0  # times the mean inside the head; vessels and fat are brighter, without information on uptake


class ResidualDeviation(Section):
    """Standard deviation of the residual in the head, relative to the low dose's mean there, at any dose.

    log deviation = `intercept` + `slope` · log drf; Poisson noise gives a slope near one half.
    """

    intercept: float
    slope: float

    def at(self, drf: float) -> float:
        """Return the standard deviation at a dose reduction factor."""
        return float(np.exp(self.intercept + self.slope * np.log(drf)))

    @classmethod
    def fit(cls, pairs: list[LoadedPair]) -> Self:
        """Return the line through the training pairs' deviations; of slope 0 where they have one dose.

        Raises InputError where a low-dose image equals its normal dose.
        """
        drfs, deviations = [], []
        for pair in pairs:
            mask = pair.mask.array > 0
            residual = (pair.low.array - pair.normal.array)[mask] / Head.of(pair.low).scale
            drfs.append(pair.drf)
            deviations.append(float(residual.std()))
        if min(deviations) <= 0:
            raise InputError("a low-dose image equals its normal dose; check that the files differ")
        if len(set(drfs)) == 1:
            return cls(intercept=float(np.log(deviations).mean()), slope=0.0)
        slope, intercept = np.polyfit(np.log(drfs), np.log(deviations), 1)
        return cls(intercept=float(intercept), slope=float(slope))


class DoseFromNoise(Section):
    """The dose reduction factor of a scan whose dose is not known, from the noise in its image.

    log drf = `intercept` + `slope` · log `noise_level`, the line through the training pairs. On the embedded
    cohort it is within a quarter of the truth; for another scanner it is the dose of equal noise here.
    """

    intercept: float
    slope: float
    limit: float = 16.0

    def of(self, low: Volume) -> float:
        """Return the estimated factor, from 1 to the `limit`, which is twice the highest fitted."""
        estimate = float(np.exp(self.intercept + self.slope * np.log(noise_level(low))))
        return min(max(1.0, estimate), self.limit)

    @classmethod
    def fit(cls, pairs: list[LoadedPair]) -> Self:
        """Return the line through the training pairs; the mean dose where they have one only."""
        drfs = np.log([pair.drf for pair in pairs])
        limit = 2.0 * max(pair.drf for pair in pairs)
        if len(set(drfs)) == 1:
            return cls(intercept=float(drfs[0]), slope=0.0, limit=limit)
        slope, intercept = np.polyfit(np.log([noise_level(pair.low) for pair in pairs]), drfs, 1)
        return cls(intercept=float(intercept), slope=float(slope), limit=limit)


class StdFactor(Section):
    """The factor of samples' standard deviations, `factor` · noise level^`level` · mm^`voxel`.

    The sampler starts with white noise of a limited size: the wider the errors of the mean reach, in voxels,
    the less of them samples show. Fitted on synthetic scans, so that 90 % intervals hold 90 % of the voxels.
    """

    factor: PositiveFloat = 1.0
    level: float = 0.0
    voxel: float = 0.0

    def of(self, low: Volume, head: Head) -> float:
        """Return the factor of an upright scan."""
        if not (self.level or self.voxel):
            return self.factor
        level, voxel_mm = measured_level(low, head), float(low.voxel_mm.mean())
        return self.factor * level**self.level * voxel_mm**self.voxel


def noise_level(low: Volume, head: Head | None = None) -> float:
    """Return the standard deviation of what is finer than `FINE_MM` in the head, relative to the mean there.

    It is estimated as 1.4826 times the median absolute deviation, which is robust to a few edges. `head` is
    that of the image, where it is known.
    """
    from scipy import ndimage

    fine = low.array - ndimage.gaussian_filter(low.array, FINE_MM / low.voxel_mm)
    head = head or Head.of(low)
    inside = fine[head.mask]
    return 1.4826 * float(np.median(np.abs(inside - np.median(inside)))) / head.scale


def measured_level(low: Volume, head: Head) -> float:
    """Return the standard deviation of what is finer than 6 mm in the head, relative to the mean there."""
    import torch

    from csrd.synthetic.conditions import noise_level

    array = torch.from_numpy((low.array / np.float32(head.scale)).astype(np.float32))
    return float(noise_level(array, torch.from_numpy(head.mask), float(low.voxel_mm.mean())))


@dataclass(frozen=True)
class Head:
    """The head in a low-dose image: its `mask` (X, Y, Z), and `scale`, the image's mean there, in its unit.

    The mean is robust to noise and to single hot voxels.
    """

    mask: np.ndarray
    scale: float

    @classmethod
    def of(cls, low: Volume) -> Self:
        """Return the head of an image.

        Raises InputError where its mean is not above zero.
        """
        from csrd.align.head import head_mask

        mask = head_mask(low)
        scale = float(low.array[mask].mean())
        if not scale > 0:
            raise InputError("the PET image is empty inside the head; check that it is the right file")
        return cls(mask, scale)


def mr_channel(mr: Volume, low: Volume, head: Head) -> np.ndarray:
    """Return the MR over its mean inside the PET's head, cut at `MR_LIMIT`, float32 (X, Y, Z).

    Raises InputError where it is on another grid or empty there.
    """
    from csrd.io.volume import refuse_other_grid

    refuse_other_grid(mr, low, "the MR", "the PET", "align both")
    scale = float(mr.array[head.mask].mean())
    if not scale > 0:
        raise InputError("the MR is empty inside the PET's head; check that it is of the same subject")
    return (mr.array / np.float32(scale)).clip(0, MR_LIMIT).astype(np.float32)

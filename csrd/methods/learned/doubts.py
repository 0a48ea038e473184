"""Sentences about a scan that lies outside what the models of any dose were trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from csrd.methods.learned.scaling import Head, measured_level, mr_channel, noise_level
from csrd.units import FWHM_PER_SIGMA

if TYPE_CHECKING:
    from csrd.io.volume import Volume

HEADS_LITRES = 0.4, 6.0
"""Volumes of heads, or of the parts of them in the field of view, in synthetic scans: 0.4 to 4.6 in 120."""
BRIGHT = 4.0
"""Noise level over the one that is robust to single bright places: 0.9 to 2.5 in 37 synthetic scans."""
MOST_CHANGE = 0.04
"""Change of the mean in the head by denoising, relative to it: up to 0.011 in 37 synthetic scans."""
BRIGHT_SHARE = 0.5
"""Of the mean of the brighter part of a scan, above which a voxel is bright."""
MASKED = 0.1
"""Share of a bright surface beside zeros: 0 in 24 synthetic scans, 0.25 to 0.44 in their brains alone."""
DETAIL_MM = 6.0  # FWHM; finer is detail
SAME_DETAIL = 0.5
"""Correlation of detail in PET and MR: -0.07 to 0.35 in 17 synthetic scans, 1 for a PET and itself."""
DISPLACED_MM = 2.5
"""An MR in its place was found 0.2 to 1.3 mm from it in 20 simulated scans; one 4 mm away, 3.9 mm."""


def doubts(low: Volume, mr: Volume | None) -> list[str]:
    """Return the differences of an upright scan, and of an MR on its grid, from those of the training."""
    head = Head.of(low)
    level = measured_level(low, head)
    found = [_unusual_size(low, head), _unusual_noise(level), _bright_places(level, noise_level(low, head))]
    if mr is not None:
        found.append(_same_image(low, mr, head) or _displaced(low, mr, head))
    return [sentence for sentence in found if sentence]


def _unusual_size(low: Volume, head: Head) -> str:
    """Return a sentence where what is in the image is smaller or larger than a head; else ""."""
    litres = float(head.mask.sum() * low.voxel_mm.prod()) / 1e6
    if HEADS_LITRES[0] <= litres <= HEADS_LITRES[1]:
        return ""
    least, most = HEADS_LITRES
    return (
        f"what it shows takes {litres:.2g} litres, and heads in the training took {least:g} to {most:g}: the "
        "model knows nothing but heads, so compare the image with the scan"
    )


def _unusual_noise(level: float) -> str:
    """Return a sentence where a noise level lies outside those of the training; else ""."""
    from csrd.synthetic.conditions import LEVELS

    if LEVELS[0] <= level <= LEVELS[1]:
        return ""
    kind = "less" if level < LEVELS[0] else "more"
    return (
        f"it has {kind} fine detail and noise ({level:.2g} of the mean in the head) than the scans that "
        f"the model was trained on ({LEVELS[0]:g} to {LEVELS[1]:g}), so compare the image with the scan"
    )


def _bright_places(level: float, robust: float) -> str:
    """Return a sentence where the noise level is that of few bright voxels, not of the noise; else ""."""
    if level <= BRIGHT * robust or robust == 0:
        return ""
    return (
        f"places in it are so bright that its noise seems {level / robust:.2g} times as strong as it is, and "
        "the rest is smoothed accordingly, so compare the image with the scan"
    )


def masked(scan: Volume) -> list[str]:
    """Return a sentence where a scan is zero right beside bright tissue, else none.

    It is about the scan's own voxels: no zero stays in an interpolated image.
    """
    from scipy import ndimage

    bright = scan.array > BRIGHT_SHARE * scan.array[scan.array >= scan.array.mean()].mean()
    surface = bright & ~ndimage.binary_erosion(bright)
    zeros = ndimage.binary_opening(scan.array == 0, np.ones((3, 3, 3)))  # not single ones, in much noise
    beside = surface & ndimage.binary_dilation(zeros)
    if beside.sum() <= MASKED * surface.sum():
        return []
    return [
        "it is zero right beside bright tissue, as where all but the brain was cut away, and the model knows "
        "complete heads only; give the scan as it was reconstructed"
    ]


def changed_mean(low: Volume, image: Volume, mask: np.ndarray) -> list[str]:
    """Return a sentence where denoising has changed the mean in the head `mask`, else none."""
    before, after = (float(volume.array[mask].mean(dtype=float)) for volume in (low, image))
    if abs(after - before) <= MOST_CHANGE * abs(before):
        return []
    return [
        f"denoising has changed the mean in the head by {after / before - 1:+.0%}, which it should keep, so "
        "do not use the image for quantification"
    ]


def _same_image(low: Volume, mr: Volume, head: Head) -> str:
    """Return a sentence where the MR has the PET's own noise; else ""."""
    from scipy import ndimage

    pet, other = (
        volume.array - ndimage.gaussian_filter(volume.array, DETAIL_MM / FWHM_PER_SIGMA / low.voxel_mm)
        for volume in (low, mr)
    )
    pet, other = (detail[head.mask] - detail[head.mask].mean() for detail in (pet, other))
    if np.mean(pet * other, dtype=float) <= SAME_DETAIL * float(pet.std()) * float(other.std()):
        return ""
    return "what was given as the MR has the noise of the PET itself; give the MR, or leave it out"


def _displaced(low: Volume, mr: Volume, head: Head) -> str:
    """Return a sentence where the MR seems not to lie in its place on the PET; else ""."""
    import torch

    from csrd.align.head import box_around
    from csrd.synthetic.displacement import displacement

    box = box_around(head.mask, low.voxel_mm)
    pet = (low.array / np.float32(head.scale)).astype(np.float32)
    shown, anatomy, mask = (
        torch.from_numpy(image[box]) for image in (pet, mr_channel(mr, low, head), head.mask)
    )
    found = displacement(shown, anatomy, mask, float(low.voxel_mm.mean()))
    if found is None or float(found.norm()) < DISPLACED_MM:
        return ""
    return (
        "the MR seems to lie some millimetres from its place on the PET, so the image is less sharp than it "
        "could be; check the registration, or denoise without the MR"
    )

"""Sentences about a scan that lies outside what the models of any dose were trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from csrd.methods.learned.scaling import Head, measured_level, mr_channel, noise_level

if TYPE_CHECKING:
    from csrd.io.volume import Volume

HEADS_LITRES = 0.4, 6.0
"""Volumes of heads, or of the parts of them in the field of view, in synthetic scans: 0.4 to 4.6 in 120."""
BRIGHT = 4.0
"""Noise level over the one that is robust to single bright places: 0.9 to 2.5 in 37 synthetic scans."""
MOST_CHANGE = 0.04
"""Change of the mean in the head by denoising, relative to it: up to 0.011 in 37 synthetic scans."""
DISPLACED_MM = 2.5
"""An MR in its place was found 0.2 to 1.3 mm from it in 20 simulated scans; one 4 mm away, 3.9 mm."""


def doubts(low: Volume, mr: Volume | None) -> list[str]:
    """Return the differences of an upright scan, and of an MR on its grid, from those of the training."""
    head = Head.of(low)
    level = measured_level(low, head)
    found = [_unusual_size(low, head), _unusual_noise(level), _bright_places(level, noise_level(low, head))]
    if mr is not None:
        found.append(_displaced(low, mr, head))
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


def changed_mean(low: Volume, image: Volume, mask: np.ndarray) -> list[str]:
    """Return a sentence where denoising has changed the mean in the head `mask`, else none."""
    before, after = (float(volume.array[mask].mean(dtype=float)) for volume in (low, image))
    if abs(after - before) <= MOST_CHANGE * abs(before):
        return []
    return [
        f"denoising has changed the mean in the head by {after / before - 1:+.0%}, which it should keep, so "
        "do not use the image for quantification"
    ]


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

"""The part of a scan around its head, and what a denoised image has outside that part.

A scanner's field of view can have ten times the voxels of a head, and nothing but air in them.
"""

from functools import reduce

import numpy as np
from scipy import ndimage

from csrd.io.volume import Volume
from csrd.units import FWHM_PER_SIGMA

AIR_MM = 8.0
"""FWHM of the Gaussian that the scan is smoothed with outside the part."""
RAMP_MM = 8.0
"""Distance from the part's faces over which the denoised image passes into the smoothed scan."""

Box = tuple[slice, ...]


def whole(volume: Volume) -> Box:
    """Return the box of all voxels."""
    return tuple(slice(0, n) for n in volume.shape)


def box_facts(volume: Volume, box: Box) -> dict[str, list[list[int]]]:
    """Return the sidecar's fact about a box: first voxel along each axis, and the one after the last."""
    return {} if box == whole(volume) else {"DenoisedVoxels": [[side.start, side.stop] for side in box]}


def in_box(volume: Volume, box: Box) -> Volume:
    """Return the box of a volume; the volume itself if it has all of it."""
    return volume if box == whole(volume) else volume.part(box)


def image_in_place(part: Volume, box: Box, scan: Volume) -> Volume:
    """Return the denoised image `part` of a box of the scan; outside is the smoothed scan, not negative."""
    return _in_place(part, box, scan, np.maximum(_smooth(scan.array, scan.voxel_mm), 0))


def std_in_place(part: Volume, box: Box, scan: Volume) -> Volume:
    """Return the standard deviation `part` of a box of the scan; outside it is that of the scan nearby."""
    mean, square = (_smooth(array, scan.voxel_mm) for array in (scan.array, np.square(scan.array)))
    return _in_place(part, box, scan, np.sqrt(np.maximum(square - mean**2, 0)))


def _smooth(array: np.ndarray, voxel_mm: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(array, AIR_MM / FWHM_PER_SIGMA / voxel_mm, mode="nearest")


def _in_place(part: Volume, box: Box, scan: Volume, outside: np.ndarray) -> Volume:
    share = reduce(np.multiply.outer, map(_share, box, scan.shape, scan.voxel_mm)).astype(np.float32)
    outside[box] += share * (part.array - outside[box])
    return scan.like(outside)


def _share(side: slice, voxels: int, voxel_mm: float) -> np.ndarray:
    """Return the share of the part along one axis: 1, and less towards a face that is not the scan's own."""
    index = np.arange(side.start, side.stop)
    to_first = index - side.start + 1 if side.start > 0 else np.full(len(index), np.inf)
    to_last = side.stop - index if side.stop < voxels else np.full(len(index), np.inf)
    return np.clip(np.minimum(to_first, to_last) * voxel_mm / RAMP_MM, 0, 1)

"""Head mask and scale of a volume, as `csrd.methods.learned.scaling` has them, on the device.

The mask is that of `csrd.align.head` except for two steps, the removal of small components and the closing,
which are approximated by Gaussian filters and thresholds. No value leaves the device.
"""

import torch
from torch import Tensor

from csrd.synthetic.grids import gaussian

SMOOTHING_MM, CLOSING_MM, FLOOR_OF_OTSU = 4.0, 10.0, 0.5  # as in csrd.align.head
BINS = 256
SPECK_MM, SPECK = 6.0, 0.25  # a voxel of the mask with less than this fraction of mask around it is a speck
CLOSING_SIGMAS = 2.5  # the closing's radius over the sigma of the filter that stands for it
CLOSED = 0.0062  # of a half-space filtered with sigma, 2.5 sigma outside its face; 1 - CLOSED is inside


def head_mask(pet: Tensor, voxel_mm: float) -> Tensor:
    """Return where the head is in a PET image (X, Y, Z), bool."""
    smooth = gaussian(pet.clamp(min=0), SMOOTHING_MM / 2 / voxel_mm).clamp(min=0).sqrt()
    mask = (smooth > FLOOR_OF_OTSU * otsu(smooth)).float()
    mask = mask * (gaussian(mask, SPECK_MM / voxel_mm) > SPECK)
    sigma = CLOSING_MM / CLOSING_SIGMAS / voxel_mm
    grown = (gaussian(mask, sigma) > CLOSED).float()
    return (gaussian(grown, sigma) > 1 - CLOSED) | (mask > 0)


def otsu(x: Tensor) -> Tensor:
    """Return Otsu's threshold (1979) of all values, of a histogram of 256 bins, as scikit-image has it."""
    low, high = x.min(), x.max()
    width = ((high - low) / BINS).clamp(min=1e-12)
    counts = torch.histc((x - low) / width, BINS, 0, BINS).double()
    centres = low + (torch.arange(BINS, device=x.device, dtype=torch.float64) + 0.5) * width
    below, above = counts.cumsum(0), counts.flip(0).cumsum(0).flip(0)
    moments = counts * centres
    mean_below = moments.cumsum(0) / below.clamp(min=1)
    mean_above = moments.flip(0).cumsum(0).flip(0) / above.clamp(min=1)
    between = below[:-1] * above[1:] * (mean_below[:-1] - mean_above[1:]) ** 2
    return centres.index_select(0, between.argmax()[None])[0].float()


def mean_inside(x: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of x (X, Y, Z) inside the mask, a tensor without axes."""
    return (x * mask).sum() / mask.sum().clamp(min=1)

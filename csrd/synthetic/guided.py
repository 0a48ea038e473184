"""Local regression of a PET image on the MR, for any tracer and any MR contrast.

This is the guided filter (He, Sun and Tang 2010), with the MR as the guide, in Gaussian windows. There are
two regressors, the MR and the square of its departure from the mean, because uptake need not rise or fall
with the MR's intensity. Both are filtered to about the PET's resolution first, because a blurred function of
the MR is a sum of blurred powers of it.
"""

import itertools

import torch
from torch import Tensor

from csrd.synthetic.grids import gaussian
from csrd.units import SIGMA_PER_FWHM

RESOLUTIONS_MM = (3.0, 6.0)  # FWHM of the filter of the regressors
WINDOWS_MM = (2.5, 5.0)  # standard deviation of the Gaussian window of a regression
RIDGE = 1e-3  # of a regressor's mean variance in a window
LEAST_VARIANCE = 1e-9  # below it a regressor is a constant


def guided(pet: Tensor, mr: Tensor | None, voxel_mm: float) -> Tensor:
    """Return regressions of a PET image on an MR, for each resolution and window (4, X, Y, Z).

    `pet` and `mr` (X, Y, Z) are over their means inside the head. Without an MR they are filtered images.
    """
    widths = [width / voxel_mm for width in WINDOWS_MM]
    if mr is None:
        filtered = [gaussian(gaussian(pet, width), width) for width in widths]
        return torch.stack(filtered * len(RESOLUTIONS_MM))
    shown = [regressors(mr, mm, voxel_mm) for mm in RESOLUTIONS_MM]
    return torch.stack([regressed(pet, *pair) for pair in itertools.product(shown, widths)])


def regressors(mr: Tensor, resolution_mm: float, voxel_mm: float) -> Tensor:
    """Return what a PET is regressed on, (2, X, Y, Z), of an MR (X, Y, Z) over its mean inside the head."""
    return gaussian(torch.stack([mr, (mr - 1).square()]), resolution_mm * SIGMA_PER_FWHM / voxel_mm)


def regressed(y: Tensor, x: Tensor, width: float) -> Tensor:
    """Return y (X, Y, Z) as its least-squares line through x (2, X, Y, Z) in Gaussian windows.

    `width` is the window's standard deviation in voxels; the coefficients of all windows that hold a voxel
    are averaged.
    """
    x0, x1 = x
    moments = gaussian(torch.stack([y, x0, x1, y * x0, y * x1, x0**2, x0 * x1, x1**2]), width)
    mean, means, products, squares = moments[0], moments[1:3], moments[3:5], moments[5:]
    (c0, c1), cross = products - mean * means, squares[1] - means[0] * means[1]
    v0, v1 = _with_ridge(squares[0] - means[0] ** 2), _with_ridge(squares[2] - means[1] ** 2)
    determinant = v0 * v1 - cross**2
    a0, a1 = (v1 * c0 - cross * c1) / determinant, (v0 * c1 - cross * c0) / determinant
    offset, a0, a1 = gaussian(torch.stack([mean - a0 * means[0] - a1 * means[1], a0, a1]), width)
    return offset + a0 * x0 + a1 * x1


def _with_ridge(variance: Tensor) -> Tensor:
    """Return a regressor's variance in each window plus the ridge, never 0."""
    variance = variance.clamp(min=0)
    return variance + RIDGE * variance.mean() + LEAST_VARIANCE

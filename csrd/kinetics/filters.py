"""Noise reduction of a dynamic scan's frames without a network: Gaussian filter, HYPR with a composite."""

import numpy as np
from scipy import ndimage

from csrd.units import FWHM_PER_SIGMA

EMPTY = 1e-3
"""Fraction of the smoothed composite's maximum up to which a voxel has the smoothed frame's value."""


def gaussian(frame: np.ndarray, fwhm_mm: float, voxel_mm: np.ndarray) -> np.ndarray:
    """Return a frame (X, Y, Z) after a Gaussian filter."""
    return ndimage.gaussian_filter(frame, fwhm_mm / FWHM_PER_SIGMA / voxel_mm)


def hypr(smooth_frame: np.ndarray, composite: np.ndarray, smooth_composite: np.ndarray) -> np.ndarray:
    """Return a frame with the composite's structure, (X, Y, Z): C · (F ⊗ I) / (F ⊗ C).

    HYPR-LR (Johnson et al., Magn Reson Med 2008;59:456; of PET: Christian et al., J Nucl Med 2010;51:1147).
    The composite C is an image of all counts of the scan; the frame I and C are smoothed by the same filter
    F, so that the mean over a neighbourhood as wide as F is the frame's own.
    """
    there = smooth_composite > EMPTY * smooth_composite.max()
    ratio = np.divide(composite, smooth_composite, out=np.ones_like(composite), where=there)
    return smooth_frame * ratio

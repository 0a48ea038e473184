"""The noise-free truth of a virtual subject at the resolution of its reconstruction."""

import numpy as np
from scipy import ndimage, optimize

from csrd.io.volume import Volume
from csrd.resample import resample
from csrd.units import FWHM_PER_SIGMA

WIDEST_MM = 20.0  # largest FWHM that is tried
TOLERANCE_MM = 0.02


def blurred(truth: Volume, grid: Volume, fwhm_mm: float) -> np.ndarray:
    """Return the noise-free truth on the voxels of `grid`, smoothed by a Gaussian; (X, Y, Z) in its unit."""
    return _smoothed(resample(truth, grid).array, grid, fwhm_mm)


def resolution(truth: Volume, normal: Volume, mask: np.ndarray) -> float:
    """Return the FWHM in mm of the Gaussian that brings the truth nearest to the normal dose in the mask.

    Least squares over the voxels of `mask` (X, Y, Z). The noise of the normal dose does not depend on the
    truth, so it increases the minimum but hardly changes its position.
    """
    sharp, wanted = resample(truth, normal).array, normal.array[mask]

    def misfit(fwhm_mm: float) -> float:
        return float(np.mean(np.square(_smoothed(sharp, normal, fwhm_mm)[mask] - wanted, dtype=np.float64)))

    found = optimize.minimize_scalar(
        misfit, bounds=(0.0, WIDEST_MM), method="bounded", options={"xatol": TOLERANCE_MM}
    )
    return float(found.x)


def _smoothed(array: np.ndarray, grid: Volume, fwhm_mm: float) -> np.ndarray:
    return ndimage.gaussian_filter(array, fwhm_mm / FWHM_PER_SIGMA / grid.voxel_mm)

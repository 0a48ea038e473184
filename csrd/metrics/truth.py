"""The noise-free truth of a virtual subject, as a reconstruction without noise would show it."""

from pathlib import Path

import numpy as np
from scipy import ndimage, optimize

from csrd.align.derivatives import sidecar_path
from csrd.errors import InputError
from csrd.io.files import write_json
from csrd.io.volume import Volume
from csrd.resample import FWHM_PER_SIGMA, resample

WIDEST_MM = 20.0  # of the Gaussian that is looked for; no brain scanner is blunter
TOLERANCE_MM = 0.02


def blurred(truth: Volume, grid: Volume, fwhm_mm: float) -> np.ndarray:
    """Return the noise-free truth on the voxels of `grid`, smoothed by a Gaussian; (X, Y, Z) in its unit."""
    return _smoothed(resample(truth, grid).array, grid, fwhm_mm)


def resolution(truth: Volume, normal: Volume, mask: np.ndarray) -> float:
    """Return the FWHM in mm of the Gaussian that brings the truth nearest to the normal dose in the mask.

    Least squares over the voxels of `mask` (X, Y, Z). The noise of the normal dose does not depend on the
    truth, so it makes the smallest sum larger but moves its place by hardly anything.
    """
    sharp, wanted = resample(truth, normal).array, normal.array[mask]

    def misfit(fwhm_mm: float) -> float:
        return float(np.mean(np.square(_smoothed(sharp, normal, fwhm_mm)[mask] - wanted, dtype=np.float64)))

    found = optimize.minimize_scalar(
        misfit, bounds=(0.0, WIDEST_MM), method="bounded", options={"xatol": TOLERANCE_MM}
    )
    return float(found.x)


def match_truth(activity: str | Path, normal: str | Path, mask: str | Path, out: str | Path) -> None:
    """Write the truth on the grid and at the resolution of the normal dose; beside it the FWHM as JSON.

    `activity` is the simulated one (Bq/mL, any grid), `mask` the head's.
    Raises InputError where the mask is not on the normal dose's grid, is empty, or the units differ.
    """
    truth, pet, head = Volume.load(activity), Volume.load(normal), Volume.load(mask, unit="mask")
    if not head.same_grid(pet):
        raise InputError(f"{mask} is not on the grid of {normal}; take the mask made from this image")
    if not head.array.any():
        raise InputError(f"{mask} is empty; make it anew from {normal}")
    if truth.unit != pet.unit:
        raise InputError(
            f"{activity} is in {truth.unit} and {normal} in {pet.unit}; have the reconstruction write "
            f"{truth.unit}"
        )
    fwhm_mm = resolution(truth, pet, head.array > 0)
    pet.like(blurred(truth, pet, fwhm_mm)).save(out)
    write_json(sidecar_path(out), {"Description": "noise-free truth", "FWHM_mm": round(fwhm_mm, 3)})


def _smoothed(array: np.ndarray, grid: Volume, fwhm_mm: float) -> np.ndarray:
    return ndimage.gaussian_filter(array, fwhm_mm / FWHM_PER_SIGMA / grid.voxel_mm)

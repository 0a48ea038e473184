"""Mean absolute error, peak signal-to-noise ratio, structural similarity, normalised root mean square error.

One protocol for the four: voxels inside the head mask of the normal-dose reference, and that reference's
maximum inside the mask as the data range. With the image's own maximum or a wide fixed range, noise or
padding would raise PSNR.
"""

import numpy as np
from scipy import ndimage

from csrd.config.sections import Metrics
from csrd.errors import InputError
from csrd.metrics.metric import Metric, Reference

SSIM_SIGMA = 1.5  # in-plane voxels; Wang 2004
SSIM_TRUNCATE = 3.5  # sigmas; an 11 × 11 window, as there
SSIM_WINDOW = 2 * int(SSIM_TRUNCATE * SSIM_SIGMA + 0.5) + 1
K1, K2 = 0.01, 0.03


def mae(reference: np.ndarray, image: np.ndarray, mask: np.ndarray) -> float:
    """Return mean |image − reference| over the mask, in the images' unit.

    >>> mae(np.zeros((2, 2, 2)), np.full((2, 2, 2), 3.0), np.ones((2, 2, 2), bool))
    3.0
    """
    return float(np.mean(np.abs(image[mask].astype(np.float64) - reference[mask])))


def psnr(reference: np.ndarray, image: np.ndarray, mask: np.ndarray, data_range: float) -> float:
    """Return 10 log10(data_range² / mean (image − reference)²) over the mask, in dB; infinite if equal.

    >>> psnr(np.zeros((2, 2, 2)), np.full((2, 2, 2), 0.1), np.ones((2, 2, 2), bool), data_range=1.0)
    20.0
    """
    squared = np.mean(np.square(image[mask].astype(np.float64) - reference[mask]))
    return float("inf") if squared == 0 else float(10 * np.log10(data_range**2 / squared))


def nrmse(reference: np.ndarray, image: np.ndarray, mask: np.ndarray) -> float:
    """Return √(Σ (image − reference)² / Σ reference²) over the mask, without a unit; 0 if equal.

    >>> nrmse(np.full((2, 2, 2), 2.0), np.full((2, 2, 2), 3.0), np.ones((2, 2, 2), bool))
    0.5
    """
    x = reference[mask].astype(np.float64)
    return float(np.sqrt(np.sum(np.square(image[mask] - x)) / np.sum(np.square(x))))


def local_mean(array: np.ndarray, axial_axis: int) -> np.ndarray:
    """Return the Gaussian-weighted mean around each voxel within its axial slice, float64 (X, Y, Z)."""
    sigma = [0.0 if axis == axial_axis else SSIM_SIGMA for axis in range(3)]
    return ndimage.gaussian_filter(array.astype(np.float64), sigma, truncate=SSIM_TRUNCATE, mode="reflect")


def ssim_map(
    x: np.ndarray,
    mean_x: np.ndarray,
    variance_x: np.ndarray,
    y: np.ndarray,
    axial_axis: int,
    data_range: float,
) -> np.ndarray:
    """Return the SSIM of y with x at each voxel, (X, Y, Z) in −1 … 1 (Wang 2004, eq. 13).

    ((2 μx μy + C1)(2 σxy + C2)) / ((μx² + μy² + C1)(σx² + σy² + C2)), Ci = (Ki · data_range)², with moments
    from `local_mean`; those of x are given, since they are the same for every y.
    """
    y = y.astype(np.float64)
    mean_y = local_mean(y, axial_axis)
    variance_y = local_mean(y * y, axial_axis) - mean_y**2
    covariance = local_mean(x * y, axial_axis) - mean_x * mean_y
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return luminance * (2 * covariance + c2) / (variance_x + variance_y + c2)


def refuse_small(reference: Reference, window: int) -> None:
    """Raise InputError where axial slices are smaller than SSIM's window of so many voxels."""
    in_plane = [n for axis, n in enumerate(reference.pet.shape) if axis != reference.axial_axis]
    if min(in_plane) < window:
        raise InputError(
            f"axial slices of {in_plane[0]}×{in_plane[1]} voxels are smaller than SSIM's window of {window}; "
            "crop less"
        )


class MAE(Metric):
    """Mean absolute error: mean |x̂ − x|."""

    key, label, unit, decimals, lower_better = "mae", "MAE", "kBq/mL", 3, True
    data_range = "none: in the unit of the image"
    domain = "voxels of the head mask"

    def compute(self, array: np.ndarray) -> float:
        return mae(self.reference.pet.array, array, self.reference.mask)


class PSNR(Metric):
    """Peak signal-to-noise ratio: 10 log10(max(x)² / mean (x̂ − x)²)."""

    key, label, unit, decimals, lower_better = "psnr", "PSNR", "dB", 2, False
    data_range = "maximum of the normal dose inside the head mask"
    domain = "voxels of the head mask, as one volume"

    def compute(self, array: np.ndarray) -> float:
        return psnr(self.reference.pet.array, array, self.reference.mask, self.reference.data_range)


class SSIM(Metric):
    """Structural similarity: the mean of its map (Wang 2004, eq. 13), in axial slices as in the paper."""

    key, label, unit, decimals, lower_better = "ssim", "SSIM", "", 3, False
    data_range = "maximum of the normal dose inside the head mask"
    domain = "voxels of the head mask; Gaussian windows (σ = 1.5 voxels) within axial slices"

    def __init__(self, reference: Reference, settings: Metrics) -> None:
        super().__init__(reference, settings)
        self.axis = reference.axial_axis
        refuse_small(reference, SSIM_WINDOW)
        self.x = reference.pet.array.astype(np.float64)
        self.mean = local_mean(self.x, self.axis)
        self.variance = local_mean(self.x**2, self.axis) - self.mean**2

    def compute(self, array: np.ndarray) -> float:
        similarity = ssim_map(self.x, self.mean, self.variance, array, self.axis, self.reference.data_range)
        return np.mean(similarity[self.reference.mask])


class NRMSE(Metric):
    """Normalised root mean square error: √(Σ (x̂ − x)² / Σ x²)."""

    key, label, unit, decimals, lower_better = "nrmse", "NRMSE", "", 3, True
    data_range = "root mean square of the normal dose inside the head mask"
    domain = "voxels of the head mask, as one volume"

    def compute(self, array: np.ndarray) -> float:
        return nrmse(self.reference.pet.array, array, self.reference.mask)

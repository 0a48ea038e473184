"""The protocol `released`: the metrics of the authors' published code, which differ from the paper's text.

Only for comparing numbers with theirs. Every metric is a mean over whole axial slices without a mask, the
first and last ten left out; images are divided by the maximum of the *low-dose* volume. Slices that are 0
everywhere in the normal dose, which cropping adds to a short field of view, are left out too.
"""

import numpy as np

from csrd.config.sections import Metrics
from csrd.errors import InputError
from csrd.metrics import haralick, image, perceptual, vgg
from csrd.metrics.metric import Metric, Reference

MARGIN = 10  # slices left out at either end
LEVELS = 255
SSIM_WINDOW = 7
DOMAIN = f"whole axial slices, the first and last {MARGIN} and empty ones left out, no mask; mean over slices"
LOW_MAXIMUM = "maximum of the low-dose volume"


def inner_slices(reference: Reference, array: np.ndarray) -> np.ndarray:
    """Return the axial slices that count, whole, (N, H, W) in the array's unit.

    Raises InputError where the volume has none.
    """
    stack = reference.pet.upright(array).transpose(2, 1, 0)[:, ::-1]
    if len(stack) <= 2 * MARGIN:
        raise InputError(
            f"the volume has {len(stack)} axial slices and the protocol released leaves out {2 * MARGIN}; "
            "crop less, or take the protocol default"
        )
    filled = np.asarray(reference.pet.upright(reference.pet.array).any(axis=(0, 1)))[MARGIN:-MARGIN]
    if not filled.any():
        raise InputError(
            f"the normal dose is empty but for {MARGIN} slices at either end, which the protocol released "
            "leaves out; crop less, or take the protocol default"
        )
    return stack[MARGIN:-MARGIN][filled]


def mean_psnr(x: np.ndarray, y: np.ndarray) -> float:
    """Return the mean over slices (N, H, W) of 10 log10(1 / mean (y − x)²), in dB."""
    squared = np.square(y.astype(np.float64) - x).mean(axis=(1, 2))
    with np.errstate(divide="ignore"):
        return float(np.mean(-10 * np.log10(squared)))


def mean_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """Return the mean over slices of scikit-image's SSIM: 7 × 7 uniform windows, data range 1."""
    from skimage.metrics import structural_similarity

    return float(np.mean([structural_similarity(a, b, data_range=1.0) for a, b in zip(x, y, strict=True)]))


def texture(slices: np.ndarray) -> np.ndarray:
    """Return 13 Haralick features a slice, (N, 13), of levels ⌊255 · max(x, 0)⌋, zeros included."""
    from mahotas.features import haralick as features

    levels = (LEVELS * np.maximum(slices, 0)).astype(np.int32)
    return np.stack([features(level, return_mean=True) for level in levels])


def h_dist(reference: np.ndarray, image: np.ndarray) -> float:
    """Return the mean over slices of Σᵢ |hᵢ(image) − hᵢ(reference)| / |hᵢ(image)|; no terms over 0."""
    zeros = np.zeros_like(image)
    terms = np.divide(np.abs(reference - image), np.abs(image), out=zeros, where=image != 0)
    return float(terms.sum(axis=1).mean())


class _Released(Metric):
    """A metric of whole inner slices `x` of the reference, divided by the low dose's maximum."""

    domain = DOMAIN
    data_range = LOW_MAXIMUM

    def __init__(self, reference: Reference, settings: Metrics) -> None:
        Metric.__init__(self, reference, settings)
        self.x = self.scaled(reference.pet.array)

    def scaled(self, array: np.ndarray) -> np.ndarray:
        return inner_slices(self.reference, array) / np.float32(self.reference.low_maximum)


class ReleasedMAE(_Released, image.MAE):
    """Mean absolute error, of whole slices."""

    data_range = image.MAE.data_range

    def compute(self, array: np.ndarray) -> float:
        x, y = (inner_slices(self.reference, volume) for volume in (self.reference.pet.array, array))
        return np.mean(np.abs(y.astype(np.float64) - x))


class ReleasedPSNR(_Released, image.PSNR):
    """Peak signal-to-noise ratio with the low dose's maximum as the peak; the mean of slices' decibels."""

    def compute(self, array: np.ndarray) -> float:
        return mean_psnr(self.x, self.scaled(array))


class ReleasedSSIM(_Released, image.SSIM):
    """Structural similarity with 7 × 7 uniform windows."""

    def __init__(self, reference: Reference, settings: Metrics) -> None:
        super().__init__(reference, settings)
        image.refuse_small(reference, SSIM_WINDOW)

    def compute(self, array: np.ndarray) -> float:
        return mean_ssim(self.x, self.scaled(array))


class ReleasedHDist(_Released, haralick.HDist):
    """Haralick feature distance: sum of magnitudes over the *denoised* value; zeros included."""

    data_range = f"255 grey levels from 0 to the {LOW_MAXIMUM}"

    def __init__(self, reference: Reference, settings: Metrics) -> None:
        super().__init__(reference, settings)
        self.texture = texture(self.x)

    def compute(self, array: np.ndarray) -> float:
        return h_dist(self.texture, texture(self.scaled(array)))


class ReleasedPDist(_Released, perceptual.PDist):
    """Perceptual distance of the same layer, without ImageNet's mean and deviation and without cutting."""

    def __init__(self, reference: Reference, settings: Metrics) -> None:
        super().__init__(reference, settings)
        self.network = vgg.load(settings.vgg, settings.weights)
        self.features = self.network.features(self.x, standardise=False)

    def compute(self, array: np.ndarray) -> float:
        return perceptual.p_dist(self.features, self.network.features(self.scaled(array), standardise=False))

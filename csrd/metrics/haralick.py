"""H_dist, the distance of Haralick's texture features (the paper's eq. 6; Haralick 1973)."""

import numpy as np

from csrd.config.sections import Metrics
from csrd.errors import InputError
from csrd.metrics.metric import Metric, Reference

LEVELS = 64
ENTROPY = 8  # the place of f9 among the 13 features
FLOOR = 0.01  # of a feature's mean magnitude; the smallest denominator


def grey_levels(slices: np.ndarray, mask: np.ndarray, data_range: float) -> np.ndarray:
    """Return levels 1 … 64 over 0 … data_range inside the mask, 0 outside; uint8 (N, H, W).

    All levels are equally wide; values beyond the range have the level at its end.
    """
    levels = np.floor(slices / data_range * LEVELS) + 1
    return np.where(mask, np.clip(levels, 1, LEVELS), 0).astype(np.uint8)


def texture(levels: np.ndarray) -> np.ndarray:
    """Return Haralick's first 13 features of each slice, the mean of the 4 directions at distance 1; (N, 13).

    Pairs with a pixel of level 0 do not count. A slice where a direction has no pair at all has no features:
    its row is NaN.
    """
    from mahotas.features import haralick

    features = np.full((len(levels), 13), np.nan)
    for row, image in zip(features, levels, strict=True):
        try:
            row[:] = haralick(image, ignore_zeros=True, distance=1, return_mean=True)
        except ValueError:  # mahotas found no pair
            continue
    return features


def h_dist(reference: np.ndarray, image: np.ndarray) -> float:
    """Return the mean over slices of √Σᵢ ((hᵢ(image) − hᵢ(reference)) / hᵢ(reference))²; no unit, 0 if equal.

    Both are `texture` (N, 13) of the same mask; slices without features are left out. |hᵢ(reference)| counts
    as at least 1 % of its mean over the slices, so that a slice where it is nearly zero does not outweigh all
    others; a feature that is 0 in every slice of the reference is left out.
    """
    kept = np.isfinite(reference).all(axis=1)
    h, g = reference[kept], image[kept]
    magnitude = np.maximum(np.abs(h), FLOOR * np.abs(h).mean(axis=0))
    relative = np.divide(g - h, magnitude, out=np.zeros_like(h), where=magnitude > 0)
    return float(np.sqrt(np.square(relative).sum(axis=1)).mean())


class HDist(Metric):
    """Haralick feature distance (eq. 6): √Σᵢ ((hᵢ(x̂) − hᵢ(x)) / hᵢ(x))² of 13 features a slice."""

    key, label, unit, decimals, lower_better = "h_dist", "H_dist", "", 2, True
    data_range = "64 grey levels from 0 to the maximum of the normal dose inside the head mask"
    domain = "neighbouring voxels of the head mask in axial slices; the mean of 4 directions, then of slices"

    def __init__(self, reference: Reference, settings: Metrics) -> None:
        super().__init__(reference, settings)
        self.texture = self._texture(reference.pet.array)
        # correlations are undefined for one grey level, as at the top of a head
        self.texture[self.texture[:, ENTROPY] == 0] = np.nan
        if not np.isfinite(self.texture).any():
            raise InputError(
                "no axial slice of the head mask has neighbouring voxels of different values; make it again"
            )

    def _texture(self, array: np.ndarray) -> np.ndarray:
        reference = self.reference
        return texture(grey_levels(reference.slices(array), reference.mask_slices, reference.data_range))

    def compute(self, array: np.ndarray) -> float:
        return h_dist(self.texture, self._texture(array))

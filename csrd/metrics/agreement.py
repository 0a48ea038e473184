"""Agreement of two reconstructions of one scan: by regions, in place, scale, background and shape.

Regions are cubes of the head, in both images smoothed alike, so that a finer resolution of one of them or its
noise matters little. Of the line ours = a + b · theirs through the cubes' means, a is activity that one of
them has everywhere, as uncorrected scatter is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.ndimage import gaussian_filter

from csrd.units import SIGMA_PER_FWHM

CUBE_MM = 24.0  # 13.8 mL
FILLED = 0.7  # of a cube inside the head
HEAD = 0.2  # of the 99th percentile
ALIKE_FWHM_MM = 12.0
SMOOTHED_MM = 8.0  # FWHM 19 mm: orientation is a matter of the large, not of noise
LIMITS = {"ratio": 0.10, "background": 0.05, "spread": 0.08}
ERRORS = 3.0  # standard errors that a background exceeds; as neighbours are alike, two of the true ones
AXES = "left and right", "front and back", "head and feet"


@dataclass(frozen=True)
class Cube:
    """A region: its centre in mm, volume in mL, and both images' means."""

    centre: tuple[float, float, float]
    volume_ml: float
    ours: float
    theirs: float

    @property
    def ratio(self) -> float:
        """Return our mean over theirs."""
        return self.ours / self.theirs


@dataclass(frozen=True)
class Agreement:
    """Agreement of two images: exchanged axes, ratio of means, background a over the mean, spread of regions.

    The background's standard error is by the cubes' distances from the line, which need not have the same
    deviation (White 1980).
    """

    turned: tuple[int, ...]
    ratio: float
    background: float
    spread: float
    background_error: float

    @property
    def faults(self) -> list[str]:
        """Return what differs by more than `LIMITS` and than noise, or cannot be judged, in words."""
        found = [f"{AXES[axis]} are exchanged" for axis in self.turned]
        noise = ERRORS * self.background_error
        if abs(self.ratio - 1) > LIMITS["ratio"]:
            found.append(f"the scale differs by {self.ratio - 1:+.0%}")
        if abs(self.background) > max(LIMITS["background"], noise):
            found.append(f"a background of {self.background:+.0%} of the mean lies in one image only")
        elif noise > LIMITS["background"]:
            found.append(f"noise hides a background below {noise:.0%} of the mean")
        if self.spread > LIMITS["spread"]:
            found.append(f"ratios of regions deviate by {self.spread:.0%}")
        return found


def compare(ours: np.ndarray, theirs: np.ndarray, affine: np.ndarray) -> tuple[list[Cube], Agreement]:
    """Return the cubes of two images (X, Y, Z) on one upright grid, and their agreement.

    The other measures are of the image as it is, turned or not.
    """
    voxel_mm = np.abs(np.diag(affine)[:3])
    cubes = cubes_of(_alike(ours, voxel_mm), _alike(theirs, voxel_mm), affine)
    assert len(cubes) > 2, "a head of more than two cubes"
    x, y = np.array([[cube.theirs, cube.ours] for cube in cubes]).T
    slope, offset = np.polyfit(x, y, 1)
    left = y - (offset + slope * x)
    weights = 1 / len(x) - x.mean() * (x - x.mean()) / np.square(x - x.mean()).sum()  # offset = weights · y
    error = np.linalg.norm(weights * left)
    figures = y.mean() / x.mean(), *(np.array([offset, left.std(), error]) / y.mean())
    return cubes, Agreement(exchanged(ours, theirs, voxel_mm), *map(float, figures))


def cubes_of(ours: np.ndarray, theirs: np.ndarray, affine: np.ndarray) -> list[Cube]:
    """Return the cubes that lie in the head of both images, mostly; their means are of all voxels in them.

    Means of the head's voxels only would leave out those that noise has lowered.
    """
    voxel_mm = np.abs(np.diag(affine)[:3])
    head = _head(theirs) & _head(ours)
    step = np.maximum(np.round(CUBE_MM / voxel_mm).astype(int), 1)
    found = []
    for corner in np.ndindex(*(np.array(ours.shape) // step)):
        low = np.array(corner) * step
        part = tuple(slice(a, a + n) for a, n in zip(low, step, strict=True))
        if head[part].mean() < FILLED:
            continue
        centre = affine[:3, :3] @ (low + (step - 1) / 2) + affine[:3, 3]
        x, y, z = map(float, centre)
        volume_ml = float(step.prod() * voxel_mm.prod() / 1000)
        found.append(Cube((x, y, z), volume_ml, float(ours[part].mean()), float(theirs[part].mean())))
    return found


def exchanged(ours: np.ndarray, theirs: np.ndarray, voxel_mm: Sequence[float]) -> tuple[int, ...]:
    """Return the axes along which one image has to be flipped to look most like the other."""
    sigma = SMOOTHED_MM / np.asarray(voxel_mm)
    smooth, target = gaussian_filter(ours, sigma), gaussian_filter(theirs, sigma)
    flips = [axes for number in range(4) for axes in combinations(range(3), number)]
    likeness = [np.corrcoef(np.flip(smooth, axes).ravel(), target.ravel())[0, 1] for axes in flips]
    return flips[int(np.argmax(likeness))]


def _alike(image: np.ndarray, voxel_mm: np.ndarray) -> np.ndarray:
    return gaussian_filter(image, ALIKE_FWHM_MM * SIGMA_PER_FWHM / voxel_mm)


def _head(image: np.ndarray) -> np.ndarray:
    return image > HEAD * np.percentile(image, 99)

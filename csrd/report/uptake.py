"""Mean uptake by region of one scan, before and after denoising, with intervals."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from csrd.io.volume import Volume

LEAST_VOXELS = 5
FLOOR, CORRELATED_MM3, QUANTILE = 0.4, 6400.0, 1.3
COVERAGE = (
    "On simulated scans the 90 % intervals held the true mean in 91 % of the regions, 85 to 96 % by their "
    "volume; where the regions' borders are wrong, they hold less."
)


def half_width(std: np.ndarray, mm3: float) -> float:
    """Return half the 90 % interval of a region's mean, from its voxels' standard deviations (N,).

    Errors of voxels are alike over a distance, and a part of them over the whole region (a bias), so that
    their mean has the deviation rms(std) · sqrt(f² + (1 − f²) v / (V + v)) with f = `FLOOR`, v =
    `CORRELATED_MM3`, and V = `mm3`, the region's volume. The interval is `QUANTILE` times that.
    """
    rms = float(np.sqrt(np.mean(np.square(std, dtype=np.float64))))
    alike = CORRELATED_MM3 / (mm3 + CORRELATED_MM3)
    return QUANTILE * rms * float(np.sqrt(FLOOR**2 + (1 - FLOOR**2) * alike))


@dataclass(frozen=True)
class Uptake:
    """A region's name, volume in mL, and mean uptake before and after; the 90 % interval has `half` a width.

    Values have the images' unit; `half` is None without a predicted standard deviation.
    """

    name: str
    ml: float
    before: float
    after: float
    half: float | None

    @property
    def change(self) -> float:
        """Return the change of the mean, relative to that before; NaN where that is not above 0."""
        return (self.after - self.before) / self.before if self.before > 0 else np.nan


def uptake(
    before: Volume, after: Volume, std: Volume | None, labels: np.ndarray, names: Mapping[int, str]
) -> list[Uptake]:
    """Return the uptake of each region of `labels` (X, Y, Z) in the order of `names`; tiny ones are left out.

    A region has at least `LEAST_VOXELS` voxels.
    """
    found = []
    ml = float(before.voxel_mm.prod()) / 1000
    for label, name in names.items():
        inside = labels == label
        voxels = int(inside.sum())
        if voxels < LEAST_VOXELS:
            continue
        half = None if std is None else half_width(std.array[inside], voxels * ml * 1000)
        old, new = (float(image.array[inside].mean()) for image in (before, after))
        found.append(Uptake(name, voxels * ml, old, new, half))
    return found

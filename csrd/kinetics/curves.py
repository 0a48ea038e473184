"""Time-activity curves of regions, from a dynamic scan and labels on its grid."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from csrd.errors import InputError


@dataclass(frozen=True)
class Curves:
    """Mean activity of regions by frame.

    `starts` and `durations` (N,) are in s after TimeZero, `values` (N, R) in the unit that `facts` names
    (Units), a column for each of the R `names`. `facts` are the sidecar's entries.
    """

    starts: np.ndarray
    durations: np.ndarray
    names: tuple[str, ...]
    values: np.ndarray
    facts: dict

    @property
    def ends(self) -> np.ndarray:
        """Return the ends of the frames (N,), s."""
        return self.starts + self.durations

    def of(self, name: str) -> np.ndarray:
        """Return one region's curve (N,).

        Raises InputError where there is no such region.
        """
        if name not in self.names:
            raise InputError(f"there is no region {name!r}; give one of: {', '.join(self.names)}")
        return self.values[:, self.names.index(name)]

    def without(self, frames: Collection[int]) -> "Curves":
        """Return the curves without some frames, by their numbers from 1 on.

        Raises InputError where there is no such frame.
        """
        count = len(self.starts)
        if wrong := [number for number in frames if not 1 <= number <= count]:
            raise InputError(f"there is no frame {wrong[0]} to be excluded; there are frames 1 to {count}")
        kept = ~np.isin(np.arange(1, count + 1), list(frames))
        return replace(
            self, starts=self.starts[kept], durations=self.durations[kept], values=self.values[kept]
        )


def region_means(
    frames: Iterable[np.ndarray], labels: np.ndarray, names: Mapping[int, str]
) -> tuple[np.ndarray, dict[str, int]]:
    """Return the regions' means by frame (N, R), and the number of voxels of each region.

    `labels` (X, Y, Z) are integers from 0 on; labels of one name make one region, in the order of `names`.
    Regions without a voxel are left out. Only one frame is in memory.
    Raises InputError where no region has a voxel.
    """
    regions = list(dict.fromkeys(names.values()))
    table = np.full(int(labels.max(initial=0)) + 1, len(regions))
    for label, name in names.items():
        if 0 <= label < len(table):
            table[label] = regions.index(name)
    belongs = table[labels].ravel()
    counts = np.bincount(belongs, minlength=len(regions) + 1)[: len(regions)]
    there = counts > 0
    if not there.any():
        raise InputError(
            "no voxel of the scan lies in a region; check that the labels are those of this scan"
        )
    inside = np.flatnonzero(belongs < len(regions))
    belongs = belongs[inside]
    sums = [np.bincount(belongs, frame.ravel()[inside], minlength=len(regions)) for frame in frames]
    voxels = {name: int(count) for name, count in zip(regions, counts, strict=True) if count}
    return (np.array(sums) / np.maximum(counts, 1))[:, there], voxels

"""Application of a method to one scan, at the voxel size that the method was fitted on."""

from dataclasses import dataclass

import numpy as np

from csrd.align.head import refuse_slab
from csrd.io.volume import Volume
from csrd.methods.base import VOXEL_TOLERANCE, Method
from csrd.resample import resample


@dataclass(frozen=True)
class Shown:
    """A scan `low` as a method sees it: `seen` and `mr`, on the method's voxels.

    An image with other voxels than the training images is resampled to theirs, and the result is resampled
    back. For the virtual cohort at 4 mm this reduces the error by a quarter.
    """

    method: Method
    low: Volume
    seen: Volume
    mr: Volume | None

    @classmethod
    def to(cls, method: Method, low: Volume, mr: Volume | None) -> "Shown":
        """Return a scan with its MR on the same grid, or without, as it is shown to a method.

        Raises InputError for a volume of only a few slices.
        """
        refuse_slab(low)
        seen = on_voxels_of(method, low)
        return cls(method, low, seen, mr if mr is None or seen is low else resample(mr, seen, order=3))

    def doubts(self) -> list[str]:
        """Return how the scan and its MR differ from the training data, in sentences without its name."""
        return self.method.doubts(self.seen, self.mr)

    def denoised(self, drf: float | None, with_std: bool) -> tuple[float | None, Volume, Volume | None]:
        """Return the dose reduction factor, the denoised image and its predicted standard deviation.

        Where `drf` is None it is estimated from the noise, unless the method does not use it. Without
        `with_std` the standard deviation is None.
        """
        method, seen, low = self.method, self.seen, self.low
        if drf is None and not method.measures_noise:
            drf = method.estimate_drf(seen)
        if with_std:
            out, std = method.apply_with_std(seen, self.mr, drf)
        else:
            out, std = method.apply(seen, self.mr, drf), None
        assert out.same_grid(seen) and out.unit == low.unit and out.array.min() >= 0, (
            f"{method.key} returned an image of another grid or unit, or with negative voxels"
        )
        if seen is not low:
            out = resample(out, low, order=3)
            out = out.like(np.maximum(out.array, 0))
            std = std and resample(std, low, order=1)
        return drf, out, std


def on_voxels_of(denoiser: Method, low: Volume) -> Volume:
    """Return the image on the method's voxel size; the image itself if it has that size."""
    turned = low.canonical()
    voxel_mm = denoiser.voxel_for(turned.voxel_mm)
    if voxel_mm is None or np.allclose(turned.voxel_mm, voxel_mm, rtol=VOXEL_TOLERANCE):
        return low
    step = voxel_mm / turned.voxel_mm
    shape = np.ceil((np.asarray(turned.shape) - 1) / step).astype(int) + 1
    affine = turned.affine @ np.diag([*step, 1.0])
    return resample(turned, Volume(np.broadcast_to(np.float32(0), shape), affine), order=3)

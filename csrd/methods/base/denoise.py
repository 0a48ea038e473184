"""One method on one scan, resampled to the voxels that the method was fitted to and back."""

import numpy as np

from csrd.align.head import refuse_slab
from csrd.io.volume import Volume
from csrd.methods.base import VOXEL_TOLERANCE, Method
from csrd.resample import resample


def applied(
    denoiser: Method, low: Volume, mr: Volume | None, drf: float | None, with_std: bool
) -> tuple[float | None, Volume, Volume | None]:
    """Return the dose reduction factor, image and deviation.

    A factor that is None is estimated from the noise, but for a method that needs none. The deviation is the
    predicted standard deviation, None without `with_std`. A network sees voxels that it was trained on: an
    image of others is resampled to them, and the result back. On the virtual cohort at 4 mm the error is a
    quarter less than on the image's own voxels.
    """
    refuse_slab(low)
    seen = _on_voxels_of(denoiser, low)
    anatomy = mr if mr is None or seen is low else resample(mr, seen, order=3)
    if drf is None and not denoiser.measures_noise:
        drf = denoiser.estimate_drf(seen)
    if with_std:
        out, std = denoiser.apply_with_std(seen, anatomy, drf)
    else:
        out, std = denoiser.apply(seen, anatomy, drf), None
    assert out.same_grid(seen) and out.unit == low.unit and out.array.min() >= 0, (
        f"{denoiser.key} broke its contract"
    )
    if seen is not low:
        out = resample(out, low, order=3)
        out = out.like(np.maximum(out.array, 0))
        std = std and resample(std, low, order=1)
    return drf, out, std


def _on_voxels_of(denoiser: Method, low: Volume) -> Volume:
    """Return the image, upright, with voxels of the size that the method knows; itself if it has them."""
    turned = low.canonical()
    voxel_mm = denoiser.voxel_for(turned.voxel_mm)
    if voxel_mm is None or np.allclose(turned.voxel_mm, voxel_mm, rtol=VOXEL_TOLERANCE):
        return low
    step = voxel_mm / turned.voxel_mm
    shape = np.ceil((np.asarray(turned.shape) - 1) / step).astype(int) + 1
    affine = turned.affine @ np.diag([*step, 1.0])
    return resample(turned, Volume(np.broadcast_to(np.float32(0), shape), affine), order=3)

"""Resampling of an image to the voxels of another."""

import numpy as np
from scipy import ndimage

from csrd.io.volume import Volume
from csrd.units import FWHM_PER_SIGMA


def resample(volume: Volume, grid: Volume, matrix: np.ndarray | None = None, order: int = 1) -> Volume:
    """Return `volume` on the voxels of `grid`, zero outside its field of view.

    `matrix` (4, 4) maps the world of `grid` to that of `volume`, RAS+ mm; None: the same world.
    `order` is the spline's (0 for labels, which keep their type; otherwise float32). Axes along which `grid`
    is coarser are smoothed first, to the coarser voxel's FWHM, so that fine detail does not alias and
    sums are kept; overshoots of the spline are cut.
    """
    if matrix is None and volume.same_grid(grid):
        return volume
    lookup = np.linalg.inv(volume.affine) @ (np.eye(4) if matrix is None else matrix) @ grid.affine
    array = volume.array
    if order > 0:
        coarsening = np.linalg.norm(lookup[:3, :3], axis=1)
        sigma = np.sqrt(np.maximum(coarsening**2 - 1, 0)) / FWHM_PER_SIGMA
        array = ndimage.gaussian_filter(array.astype(np.float32, copy=False), sigma)
    out = ndimage.affine_transform(
        array, lookup[:3, :3], lookup[:3, 3], output_shape=grid.shape, order=order, mode="constant", cval=0
    )
    if order > 1:
        np.clip(out, min(array.min(), 0), max(array.max(), 0), out=out)
    return grid.like(out, volume.unit)

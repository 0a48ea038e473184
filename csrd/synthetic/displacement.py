"""Displacement of an MR from its place on a PET image, from how well it explains the PET when moved."""

import torch
from torch import Tensor

from csrd.synthetic.guided import regressed, regressors

RESOLUTION_MM, WINDOW_MM = 6.0, 5.0  # of the regression, see `csrd.synthetic.guided`
STEP_MM = 5.0  # the MR is tried so far to each side
COARSE_MM = 2.2  # about the voxels that it is measured on: a displacement needs no detail
LEAST_RISE = 0.003  # of the error when moved: an MR that explains hardly anything has no place to be found
LEAST_FALL = 0.01  # of the error when moved: an MR far from its place is better elsewhere


def displacement(pet: Tensor, mr: Tensor, mask: Tensor, voxel_mm: float) -> Tensor | None:
    """Return the MR's displacement along each axis in mm (3,), None where the MR explains too little to say.

    The error of regressing the PET on the MR is a parabola of the MR's displacement near its place. `pet`
    and `mr` (X, Y, Z) are over their means inside the head `mask`. Displacements of more than about
    `STEP_MM` are found too small.
    """
    skip = max(round(COARSE_MM / voxel_mm), 1)
    pet, mr, mask = (image[::skip, ::skip, ::skip] for image in (pet, mr, mask))
    voxel_mm *= skip
    shown, width = regressors(mr, RESOLUTION_MM, voxel_mm), WINDOW_MM / voxel_mm
    step = max(round(STEP_MM / voxel_mm), 1)

    def error(axis: int, by: int) -> Tensor:
        explained = regressed(pet, shown.roll(by, axis + 1), width)
        return (pet - explained)[mask].square().mean()

    here = error(0, 0)
    sides = torch.stack([torch.stack([error(axis, by) for by in (-step, step)]) for axis in range(3)])
    if sides.mean() < (1 + LEAST_RISE) * here and sides.min() > (1 - LEAST_FALL) * here:
        return None
    back, forth = sides.unbind(1)
    bends = (back - 2 * here + forth).clamp(min=1e-12)
    # an MR that is displaced by +d is best moved by -d
    return ((forth - back) / (2 * bends)).clamp(-2, 2) * step * voxel_mm

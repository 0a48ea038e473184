"""The registration's QC picture: PET contours on the MR, three planes."""

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from csrd.io.volume import Volume
from csrd.units import FWHM_PER_SIGMA

if TYPE_CHECKING:
    import PIL.Image

PLANES = ("axial", "coronal", "sagittal")
OFFSETS_MM = (-22.0, 0.0, 22.0)
SMOOTHING_MM = 6.0  # FWHM; the contours of a noisy PET are ragged without it
COLOURS = 64
HEAD_COLOUR, UPTAKE_COLOUR = "#35c4e0", "#ff8a3c"


def registration_picture(pet: Volume, mask: np.ndarray, mr: Volume | None) -> "PIL.Image.Image":
    """Return a picture of the PET's contours (head and high uptake) on the MR, three slices in each plane.

    Without an MR the contours lie on the PET itself. All arrays are (X, Y, Z) on one grid.
    """
    from matplotlib.figure import Figure
    from PIL import Image

    under = pet if mr is None else mr
    top = np.percentile(under.array[mask], 99.5)
    smooth = ndimage.gaussian_filter(pet.array, SMOOTHING_MM / FWHM_PER_SIGMA / pet.voxel_mm)
    level = 0.6 * np.percentile(smooth[mask], 95)
    centre = ndimage.center_of_mass(mask)

    figure = Figure(figsize=(9, 9.4), facecolor="black")
    cells = figure.subplots(3, 3, gridspec_kw={"wspace": 0.02, "hspace": 0.02})
    figure.subplots_adjust(left=0.03, right=0.995, bottom=0.035, top=0.995)
    for row, plane in zip(cells, PLANES, strict=True):
        axis = 2 - PLANES.index(plane)
        for cell, offset in zip(row, OFFSETS_MM, strict=True):
            index = int(np.clip(centre[axis] + offset / pet.voxel_mm[axis], 0, pet.shape[axis] - 1))
            edge_mm = np.delete(pet.voxel_mm, axis)
            _draw(cell, [a.take(index, axis).T for a in (under.array, mask, smooth)], top, level, edge_mm)
        row[0].set_ylabel(plane, color="white", fontsize=11)
    _legend(figure, "MR" if mr is not None else "PET (no MR)")
    drawn = BytesIO()
    figure.savefig(drawn, dpi=90, facecolor="black")
    # greys and two colours: a page with a picture of every subject becomes a third as large
    return Image.open(drawn).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)


def _draw(cell, slices: list[np.ndarray], top: float, level: float, voxel_mm: np.ndarray) -> None:
    """Draw one slice (rows are the second axis) with its two contours."""
    under, mask, smooth = slices
    cell.imshow(
        under,
        cmap="gray",
        vmin=0,
        vmax=top,
        origin="lower",
        aspect=voxel_mm[1] / voxel_mm[0],
        interpolation="bicubic",
    )
    if mask.any():
        cell.contour(mask, [0.5], colors=HEAD_COLOUR, linewidths=1.0)
    if (inside := np.where(mask, smooth, 0)).max() > level:
        cell.contour(inside, [level], colors=UPTAKE_COLOUR, linewidths=0.9)
    cell.set_facecolor("black")
    cell.set(xticks=[], yticks=[])
    for spine in cell.spines.values():
        spine.set_visible(False)


def _legend(figure, under: str) -> None:
    texts = [(0.03, "white", f"grey: {under}"), (0.25, HEAD_COLOUR, "PET: edge of the head")]
    texts.append((0.58, UPTAKE_COLOUR, "PET: 60 % of the high uptake"))
    for x, colour, text in texts:
        figure.text(x, 0.01, text, color=colour, fontsize=11)

"""Figures of volumes side by side: images are columns, planes are rows, and all PET shares one scale."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from csrd.errors import InputError
from csrd.files import whole_file
from csrd.report import paper
from csrd.resample import resample
from csrd.volume import Volume

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

PLANES = ("axial", "coronal", "sagittal")
WIDTH_IN = 13.0
LEFT_IN, RIGHT_IN, TOP_IN, BOTTOM_IN = 0.3, 1.0, 0.6, 0.08
DPI = 130
MARGIN_MM = 6.0
LANDMARK_FWHM_MM = 8.0


@dataclass(frozen=True)
class Panel:
    """One column: an image under its title. `kind` "pet" shares the figure's scale, "mr" has its own."""

    title: str
    volume: Volume
    kind: str = "pet"


def comparison(
    path: str | Path,
    reference: str | Path,
    mask: str | Path,
    *,
    lows: dict[int, str | Path],
    denoised: dict[str, dict[int, str | Path]],
    drf: int,
    mr: str | Path | None = None,
    truth: str | Path | None = None,
) -> None:
    """Write a PNG of one subject: truth, MR, normal dose, low doses, and every method at dose `drf`.

    `denoised` holds the images by method key and dose. Truth and MR are optional.
    """
    normal, head = Volume.load(reference), Volume.load(mask, unit="mask").array > 0
    panels = [] if truth is None else [Panel("truth", _on(Volume.load(truth), normal))]
    panels += [] if mr is None else [Panel("MR", _on(Volume.load(mr, unit="arbitrary"), normal), "mr")]
    panels.append(Panel("normal dose", normal))
    panels += [Panel(f"1/{dose} dose", Volume.load(low)) for dose, low in sorted(lows.items())]
    for method in paper.ordered(list(denoised)):
        title = f"{paper.label(method)}\n1/{drf} dose"
        panels.append(Panel(title, Volume.load(denoised[method][drf])))
    compare(path, panels, normal, head)


def compare(path: str | Path, panels: list[Panel], reference: Volume, mask: np.ndarray) -> None:
    """Write a PNG with a column per panel and a row per plane, cut to the head `mask` (X, Y, Z).

    The planes pass through the centre of the reference's highest uptake. PET is shown inverted, from 0 to
    the reference's 99.8th percentile in the head, in kBq/mL (or its own unit).
    Raises InputError where a panel is on another grid.
    """
    for panel in panels:
        if not panel.volume.same_grid(reference):
            raise InputError(f"the image {panel.title!r} is not on the reference's grid; resample it first")
    factor, unit = (1e-3, "kBq/mL") if reference.unit == "Bq/mL" else (1.0, reference.unit)
    view = _View(
        voxel_mm=reference.voxel_mm,
        centre=_landmark(reference, mask),
        box=_box(mask, reference.voxel_mm),
        top=factor * float(np.percentile(reference.array[mask], 99.8)),
    )
    figure, cells = _layout(len(panels), view.extents_mm)
    for column, panel in zip(cells.T, panels, strict=True):
        if panel.kind == "pet":
            scale = _show(column, panel.volume.array * factor, "gray_r", view.top, view)
        else:
            window = float(np.percentile(panel.volume.array[mask], 99.5)) or 1.0
            _show(column, panel.volume.array, "gray", window, view)
        column[0].set_title(panel.title, fontsize=_title_size(panels), pad=6)
    _row_names(figure, cells)
    _colour_bar(figure, cells, scale, unit)
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=DPI, facecolor="white")


@dataclass(frozen=True)
class _View:
    """What of a volume is shown: its box, the voxel where the planes meet, and the top of the PET scale."""

    voxel_mm: np.ndarray
    centre: np.ndarray
    box: tuple[slice, ...]
    top: float

    @property
    def extents_mm(self) -> np.ndarray:
        return np.array([part.stop - part.start for part in self.box]) * self.voxel_mm


def _layout(columns: int, extents_mm: np.ndarray) -> tuple["Figure", np.ndarray]:
    """Return an empty figure and its cells (3, columns), each row as high as its plane needs."""
    from matplotlib.figure import Figure

    heights = [extents_mm[1], extents_mm[2], extents_mm[2]]
    column_in = _column_in(columns)
    width_in = columns * column_in + LEFT_IN + RIGHT_IN
    height_in = sum(heights) / max(extents_mm[:2]) * column_in + TOP_IN + BOTTOM_IN
    figure = Figure(figsize=(width_in, height_in), facecolor="white")
    grid = {"wspace": 0.03, "hspace": 0.03, "height_ratios": heights}
    cells = figure.subplots(3, columns, squeeze=False, gridspec_kw=grid)
    figure.subplots_adjust(
        left=LEFT_IN / width_in,
        right=1 - RIGHT_IN / width_in,
        bottom=BOTTOM_IN / height_in,
        top=1 - TOP_IN / height_in,
    )
    return figure, cells


def _column_in(columns: int) -> float:
    """Return a column's width in inches: the page's share, but no giant where there are few."""
    return min((WIDTH_IN - LEFT_IN - RIGHT_IN) / columns, 3.0)


def _show(column: np.ndarray, array: np.ndarray, colours: str, top: float, view: _View) -> "AxesImage":
    """Draw the three planes of an array (X, Y, Z), from 0 to `top`, and return the last one's image."""
    for cell, plane in zip(column, PLANES, strict=True):
        axis = 2 - PLANES.index(plane)
        picture = array[view.box].take(view.centre[axis] - view.box[axis].start, axis).T
        edge_mm = np.delete(view.voxel_mm, axis)
        shown = cell.imshow(picture, cmap=colours, vmin=0, vmax=top, origin="lower", interpolation="bicubic")
        # The picture keeps its proportions and its background fills the rest of the cell.
        cell.set_aspect(edge_mm[1] / edge_mm[0], adjustable="datalim")
        cell.set_facecolor(shown.cmap(0.0))
        cell.set(xticks=[], yticks=[])
        for spine in cell.spines.values():
            spine.set_visible(False)
    return shown


def _title_size(panels: list[Panel]) -> float:
    """Return the font size in points at which the longest title line fits its column, at most 12."""
    longest = max(len(line) for panel in panels for line in panel.title.split("\n"))
    return min(12.0, _column_in(len(panels)) * 72 / (0.62 * longest))


def _row_names(figure: "Figure", cells: np.ndarray) -> None:
    for cell, plane in zip(cells[:, 0], PLANES, strict=True):
        place = cell.get_subplotspec().get_position(figure)
        middle = (place.y0 + place.y1) / 2
        figure.text(
            0.5 * place.x0, middle, plane, rotation=90, va="center", ha="center", fontsize=11, color="#444444"
        )


def _colour_bar(figure: "Figure", cells: np.ndarray, scale: "AxesImage", unit: str) -> None:
    top, bottom = (cells[i, -1].get_subplotspec().get_position(figure) for i in (0, -1))
    height, side = top.y1 - bottom.y0, 1 - top.x1
    bar = figure.add_axes((top.x1 + 0.15 * side, bottom.y0 + 0.25 * height, 0.14 * side, 0.5 * height))
    figure.colorbar(scale, cax=bar).set_label(unit, fontsize=11)
    bar.tick_params(labelsize=10)
    bar.locator_params(nbins=6)


def _on(volume: Volume, grid: Volume) -> Volume:
    """Return the volume on the voxels of `grid`, in the same world."""
    return resample(volume, grid)


def _landmark(reference: Volume, mask: np.ndarray) -> np.ndarray:
    """Return the voxel at the centre of the top percent of the uptake in the head, (3,) int."""
    smooth = ndimage.gaussian_filter(reference.array, LANDMARK_FWHM_MM / 2.355 / reference.voxel_mm)
    smooth = np.where(mask, smooth, 0)
    hot = smooth >= np.percentile(smooth[mask], 99)
    return np.rint(ndimage.center_of_mass(hot)).astype(int)


def _box(mask: np.ndarray, voxel_mm: np.ndarray) -> tuple[slice, ...]:
    """Return the head's box with a margin, inside the volume."""
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    margin = np.ceil(MARGIN_MM / voxel_mm).astype(int)
    return tuple(
        slice(max(0, part.start - m), min(n, part.stop + m))
        for part, m, n in zip(box, margin, mask.shape, strict=True)
    )

"""Figures of planes through volumes: images are columns, planes are rows, with common scales."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from scipy import ndimage

from csrd.io.files import whole_file
from csrd.io.volume import Volume
from csrd.units import FWHM_PER_SIGMA

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PLANES = ("axial", "coronal", "sagittal")
WIDTH_IN = 13.0
COLUMN_IN = 3.0  # at most, where there are few columns
LEFT_IN, RIGHT_IN, TOP_IN, BOTTOM_IN = 0.3, 1.0, 0.6, 0.08
DPI = 130
MARGIN_MM = 6.0
LANDMARK_FWHM_MM = 8.0


@dataclass(frozen=True)
class Scale:
    """A colour scale: matplotlib's name of the map, its limits, and the unit beside its bar.

    `cut` marks that values beyond the limits are expected.
    """

    colours: str
    bottom: float
    top: float
    unit: str
    cut: bool = False


@dataclass(frozen=True)
class Row:
    """One plane of several volumes: a cell is an array (X, Y, Z) with its scale, or a text."""

    plane: str
    name: str
    cells: Sequence[tuple[np.ndarray, Scale] | str]


@dataclass(frozen=True)
class Bar:
    """A colour bar beside the rows `first` to `last`."""

    scale: Scale
    first: int = 0
    last: int = -1


@dataclass(frozen=True)
class View:
    """The part of a volume that is shown: its box, and the voxel (3,) where the planes meet."""

    voxel_mm: np.ndarray
    centre: np.ndarray
    box: tuple[slice, ...] = field(repr=False)

    @classmethod
    def of(cls, reference: Volume, mask: np.ndarray) -> Self:
        """Return the view of the head `mask` (X, Y, Z) through the centre of the highest uptake."""
        centre, box = _landmark(reference, mask), _box(mask, reference.voxel_mm)
        return cls(reference.voxel_mm, centre, box)

    @property
    def extents_mm(self) -> np.ndarray:
        return np.array([part.stop - part.start for part in self.box]) * self.voxel_mm

    def height_mm(self, plane: str) -> float:
        """Return the height of a plane's picture in mm."""
        return float(self.extents_mm[1 if plane == "axial" else 2])

    def cut(self, array: np.ndarray, plane: str) -> tuple[np.ndarray, float]:
        """Return a plane of the array as a picture (rows, columns), and its pixels' height over width."""
        axis = 2 - PLANES.index(plane)
        edge_mm = np.delete(self.voxel_mm, axis)
        picture = array[self.box].take(self.centre[axis] - self.box[axis].start, axis).T
        return picture, float(edge_mm[1] / edge_mm[0])


def draw(path: str | Path, titles: list[str], rows: list[Row], view: View, bars: list[Bar]) -> None:
    """Write a PNG of the rows under the columns' titles, with a colour bar for each scale that needs one."""
    figure, cells = _layout(len(titles), rows, view)
    for row, places in zip(rows, cells, strict=True):
        for place, cell in zip(places, row.cells, strict=True):
            if isinstance(cell, str):
                _words(place, cell)
            else:
                _show(place, *view.cut(cell[0], row.plane), cell[1])
        _row_name(figure, places[0], row.name)
    for place, title in zip(cells[0], titles, strict=True):
        place.set_title(title, fontsize=_title_size(titles), pad=6)
    for bar in bars:
        _colour_bar(figure, cells[bar.first : bar.last + 1 or None, -1], bar.scale)
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=DPI, facecolor="white")


def _layout(columns: int, rows: list[Row], view: View) -> tuple["Figure", np.ndarray]:
    """Return an empty figure and its cells (rows, columns), each row as high as its plane needs."""
    from matplotlib.figure import Figure

    heights = [view.height_mm(row.plane) for row in rows]
    column_in = _column_in(columns)
    width_in = columns * column_in + LEFT_IN + RIGHT_IN
    height_in = sum(heights) / max(view.extents_mm[:2]) * column_in + TOP_IN + BOTTOM_IN
    figure = Figure(figsize=(width_in, height_in), facecolor="white")
    grid = {"wspace": 0.03, "hspace": 0.03, "height_ratios": heights}
    cells = figure.subplots(len(rows), columns, squeeze=False, gridspec_kw=grid)
    figure.subplots_adjust(
        left=LEFT_IN / width_in,
        right=1 - RIGHT_IN / width_in,
        bottom=BOTTOM_IN / height_in,
        top=1 - TOP_IN / height_in,
    )
    return figure, cells


def _column_in(columns: int) -> float:
    """Return a column's width in inches: its part of the page, at most `COLUMN_IN`."""
    return min((WIDTH_IN - LEFT_IN - RIGHT_IN) / columns, COLUMN_IN)


def _show(place: "Axes", picture: np.ndarray, aspect: float, scale: Scale) -> None:
    shown = place.imshow(
        picture,
        cmap=scale.colours,
        vmin=scale.bottom,
        vmax=scale.top,
        origin="lower",
        interpolation="bicubic",
    )
    # The picture keeps its proportions; the colour of air fills the rest of the cell.
    place.set_aspect(aspect, adjustable="datalim")
    red, green, blue, opacity = shown.to_rgba(np.zeros(1))[0]
    place.set_facecolor((red, green, blue, opacity))
    _bare(place)


def _words(place: "Axes", text: str) -> None:
    place.text(
        0.5, 0.5, text, transform=place.transAxes, ha="center", va="center", fontsize=11, color="#444444"
    )
    _bare(place)


def _bare(place: "Axes") -> None:
    place.set(xticks=[], yticks=[])
    place.spines[:].set_visible(False)


def _title_size(titles: list[str]) -> float:
    """Return the font size in points at which the longest title line fits its column, at most 12."""
    longest = max(len(line) for title in titles for line in title.split("\n"))
    return min(12.0, _column_in(len(titles)) * 72 / (0.66 * longest))


def _row_name(figure: "Figure", first: "Axes", name: str) -> None:
    spec = first.get_subplotspec()
    assert spec is not None, "every panel is one of subplots"
    place = spec.get_position(figure)
    middle = (place.y0 + place.y1) / 2
    figure.text(
        0.5 * place.x0, middle, name, rotation=90, va="center", ha="center", fontsize=11, color="#444444"
    )


def _colour_bar(figure: "Figure", cells: np.ndarray, scale: Scale) -> None:
    """Draw a bar beside the right-most `cells` (rows,), over the middle half of their height."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    top, bottom = (cells[i].get_subplotspec().get_position(figure) for i in (0, -1))
    height, side = top.y1 - bottom.y0, 1 - top.x1
    bar = figure.add_axes((top.x1 + 0.15 * side, bottom.y0 + 0.2 * height, 0.14 * side, 0.6 * height))
    colours = ScalarMappable(Normalize(scale.bottom, scale.top), scale.colours)
    extend = ("both" if scale.bottom < 0 else "max") if scale.cut else "neither"
    figure.colorbar(colours, cax=bar, extend=extend).set_label(scale.unit, fontsize=11)
    bar.tick_params(labelsize=10)
    bar.locator_params(nbins=6)


def _landmark(reference: Volume, mask: np.ndarray) -> np.ndarray:
    """Return the voxel at the centre of the top percent of the uptake in the head, (3,) int."""
    smooth = ndimage.gaussian_filter(reference.array, LANDMARK_FWHM_MM / FWHM_PER_SIGMA / reference.voxel_mm)
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

"""Planes of volumes as pictures of a page, and contours over them, without matplotlib."""

from base64 import b64encode
from dataclasses import dataclass
from io import BytesIO

import numpy as np

from csrd.report.slices import View

PIXELS_PER_MM = 2.2  # of a picture; a screen shows about 1.4
JPEG_QUALITY = 88


@dataclass(frozen=True)
class Ramp:
    """A colour scale: evenly spaced `colours` as #rrggbb from `bottom` to `top`, and the unit beside it."""

    colours: tuple[str, ...]
    bottom: float
    top: float
    unit: str = ""

    @property
    def css(self) -> str:
        """Return the scale as a gradient for CSS, the bottom at the left."""
        return f"linear-gradient(to right, {', '.join(self.colours)})"

    def over(self, array: np.ndarray) -> np.ndarray:
        """Return the colours of an array's values as uint8 (…, 3)."""
        table = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in self.colours], float)
        where = (array - self.bottom) / (self.top - self.bottom)
        at = np.clip(where, 0, 1) * (len(table) - 1)
        channels = [np.interp(at, np.arange(len(table)), channel) for channel in table.T]
        return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


# The last one is ColorBrewer's RdBu: two hues that people with any colour vision tell apart. `SIZE` follows
# cividis, whose lightness rises evenly.
UPTAKE = ("#ffffff", "#000000")
ANATOMY = ("#000000", "#ffffff")
SIZE = (
    "#00224e",
    "#123570",
    "#3b496c",
    "#575d6d",
    "#707173",
    "#8a8678",
    "#a59c74",
    "#c3b369",
    "#e1cc55",
    "#fee838",
)
SIGNED = ("#2166ac", "#4393c3", "#92c5de", "#d1e5f0", "#f7f7f7", "#fddbc7", "#f4a582", "#d6604d", "#b2182b")


@dataclass(frozen=True)
class Picture:
    """A plane as the address of an `img`, and its size in pixels."""

    source: str
    width: int
    height: int


def picture(array: np.ndarray, view: View, plane: str, ramp: Ramp) -> Picture:
    """Return a plane of `array` (X, Y, Z), upright, the subject's right at the right."""
    from PIL import Image

    rows, aspect = view.cut(array, plane)
    width_mm = rows.shape[1] * view.voxel_mm[1 if plane == "sagittal" else 0]
    width = round(PIXELS_PER_MM * width_mm)
    height = round(width * rows.shape[0] * aspect / rows.shape[1])
    image = Image.fromarray(np.ascontiguousarray(rows[::-1], np.float32), mode="F")
    smooth = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
    stream = BytesIO()
    Image.fromarray(ramp.over(smooth)).save(stream, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return Picture(f"data:image/jpeg;base64,{b64encode(stream.getvalue()).decode()}", width, height)


def contour(array: np.ndarray, level: float, view: View, plane: str) -> str:
    """Return the contour of a plane at `level` as an SVG path, in a box of 1 by 1 with y downwards."""
    from skimage.measure import find_contours

    rows, _ = view.cut(array, plane)
    padded = np.pad(rows[::-1].astype(np.float32), 1, constant_values=0)
    height, width = rows.shape
    parts = []
    for line in find_contours(padded, level):
        x, y = (line[:, 1] - 0.5) / width, (line[:, 0] - 0.5) / height
        points = " ".join(f"{a:.4f},{b:.4f}" for a, b in zip(x, y, strict=True))
        parts.append(f"M{points}{'Z' if (line[0] == line[-1]).all() else ''}")
    return "".join(parts)

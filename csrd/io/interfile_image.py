"""Images in Interfile 3.3, as STIR (.hv, .v) and the HRRT users' software (.i.hdr, .i) write them."""

import math
import re
from pathlib import Path

import numpy as np

from csrd.errors import InputError, notice
from csrd.io.interfile import InterfileHeader, is_file
from csrd.io.volume import Volume

KINDS = {"float": "f", "short float": "f", "long float": "f", "signed integer": "i", "unsigned integer": "u"}
ORDERS = {"littleendian": "<", "bigendian": ">"}
SCALES = ("quantification units", "rescale slope", "data rescale slope")  # by STIR and e7; NEMA; CASToR
OFFSETS = ("rescale offset", "rescale intercept", "data rescale offset")
GROWS_TO_RAS = {"L": -1, "R": 1, "A": 1, "P": -1, "I": -1, "S": 1}


def read_interfile(path: Path, axes: str = "LPS") -> Volume:
    """Return the image whose Interfile header is `path`, its grid centred on the scanner.

    In Interfile x is the fastest axis. The format does not define the axes' directions and units: `axes`
    gives the directions, e.g. "LPS" where x increases to the patient's left, y to the back and z to the head.
    Raises InputError for a header or data file that is missing, unknown or not finite, and where the scale of
    the values is not known.
    """
    header = InterfileHeader.read(path)
    size = [_number(path, header, f"matrix size [{axis}]") for axis in (1, 2, 3)]
    if not all(number.is_integer() for number in size):
        raise InputError(f"{path} has matrix size {size}; give whole numbers")
    shape = tuple(map(int, size))
    voxel_mm = np.array([_number(path, header, f"scaling factor (mm/pixel) [{axis}]") for axis in (1, 2, 3)])
    if min(shape) < 1 or voxel_mm.min() <= 0:
        raise InputError(f"{path} has matrix size {shape} and voxels of {voxel_mm} mm; all must be positive")
    values = _values(path, header, math.prod(shape))
    scale, notes = _scale(path, header, values.dtype)
    array = (values.reshape(shape[::-1]).transpose(2, 1, 0) * scale).astype(np.float32)
    if unusable := np.count_nonzero(~np.isfinite(array)):
        raise InputError(f"{path} has {unusable} voxels that are not finite; replace them, e.g. by 0")
    return Volume(array, affine_of(shape, voxel_mm, axes), notes=notes)


def _scale(path: Path, header: InterfileHeader, stored: np.dtype) -> tuple[float, tuple[str, ...]]:
    """Return the factor to the stored values, and a note where the header has none.

    Raises InputError for integers without a factor, factors that differ, or an offset.
    """
    if any(_number(path, header, key, 0) for key in OFFSETS if key in header):
        raise InputError(f"{path} has a rescale offset; write the image without one")
    named = {key: _number(path, header, key) for key in SCALES if header.get(key)}
    if len(factors := set(named.values()) - {1.0}) > 1:
        text = ", ".join(f"{key} {value:g}" for key, value in named.items())
        raise InputError(f"{path} has two scales ({text}); correct the one that is wrong")
    if named:
        return (factors or {1.0}).pop(), ()
    if stored.kind != "f":
        raise InputError(f"{path} has integers without a scale; add the line 'quantification units' with it")
    return 1.0, (notice(f"{path} lacks 'quantification units': its values are used as stored"),)


def _number(path: Path, header: InterfileHeader, key: str, default: float | None = None) -> float:
    """Return the number of `key`, else `default`."""
    text = header.get(key) or default
    if text is None:
        raise InputError(f"{path} lacks {key!r}; add the line")
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{path} has {key!r} {text!r}; it must be a number")
    return number


def _values(path: Path, header: InterfileHeader, count: int) -> np.ndarray:
    """Return the `count` values of the data file, which is beside the header."""
    named = re.split(r"[/\\]", header.get("name of data file", ""))[-1]
    if not named:
        raise InputError(f"{path} names no data file; add the line 'name of data file' with its name")
    data = path.with_name(named)  # beside the header, even if the header names another folder
    if not is_file(data):
        raise InputError(f"{path} names the data file {data.name!r}, which is not beside it; copy it there")
    dtype = _dtype(path, header)
    offset = int(_number(path, header, "data offset in bytes [1]", 0))
    if offset < 0:
        raise InputError(f"{path} has data offset in bytes {offset}; it must be 0 or more")
    size, expected = data.stat().st_size, offset + count * dtype.itemsize
    if size != expected:
        raise InputError(f"{data} has {size} bytes, but {path.name} says {expected}; write it again")
    return np.fromfile(data, dtype, count, offset=offset)


def _dtype(path: Path, header: InterfileHeader) -> np.dtype:
    """Return the type of the stored values; big-endian, the format's default, without an entry."""
    kind = header.get("number format", "").lower()
    order = header.get("imagedata byte order", "bigendian").lower().replace(" ", "")
    size = int(_number(path, header, "number of bytes per pixel"))
    try:
        return np.dtype(f"{ORDERS[order]}{KINDS[kind]}{size}")
    except (KeyError, TypeError):
        raise InputError(
            f"{path} has number format {kind!r} of {size} bytes, {order!r}; write float or integer, "
            "LITTLEENDIAN or BIGENDIAN"
        ) from None


def affine_of(shape: tuple[int, ...], voxel_mm: np.ndarray, axes: str) -> np.ndarray:
    """Return the affine to RAS+ mm of a grid around the scanner's centre with the directions `axes`."""
    steps = voxel_mm * [GROWS_TO_RAS[letter] for letter in axes]
    affine = np.diag([*steps, 1.0])
    affine[:3, 3] = -(np.asarray(shape) - 1) / 2 * steps
    return affine

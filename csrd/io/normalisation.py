"""Crystal efficiencies of a scanner, in a .npy file."""

from pathlib import Path
from tokenize import TokenError
from typing import BinaryIO

import numpy as np

from csrd.errors import InputError
from csrd.io.files import whole_file

UNREADABLE = (ValueError, TypeError, SyntaxError, TokenError, KeyError, MemoryError, RecursionError, EOFError)


def read_efficiencies(path: str | Path, crystals: int, scanner: str) -> np.ndarray:
    """Return the crystal efficiencies (C,) float32 in a .npy file.

    `scanner` is the scanner's name, for messages.

    Raises InputError for a damaged file, another number of crystals, or values that are not positive.
    """
    try:
        with open(path, "rb") as stream:
            if stream.read(2) == b"PK":
                raise InputError(f"{path} is an archive of arrays; save the efficiencies alone by numpy.save")
            stream.seek(0)
            shape, dtype = _header(stream)
            if shape != (crystals,):
                raise InputError(
                    f"{path} has shape {shape}; give one efficiency for each of the {crystals} crystals "
                    f"of the {scanner}"
                )
            if dtype.kind not in "fiu":
                raise InputError(f"{path} holds {dtype}, not numbers; save them as float32")
            stored = np.frombuffer(stream.read(dtype.itemsize * crystals), dtype)
            with np.errstate(over="ignore"):  # becomes infinite, which is refused below
                efficiencies = stored.astype(np.float32)
    except InputError:
        raise
    except (*UNREADABLE, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is not a readable .npy array ({reason}); save it by numpy.save") from None
    if len(efficiencies) != crystals:
        raise InputError(f"{path} is cut short; copy it again")
    if not (np.isfinite(efficiencies).all() and (efficiencies >= 0).all() and efficiencies.any()):
        raise InputError(f"{path} has efficiencies that are negative or not finite; give numbers from 0 on")
    return efficiencies


def write_efficiencies(efficiencies: np.ndarray, path: str | Path) -> None:
    """Write crystal efficiencies (C,) as a .npy file."""
    with whole_file(path) as temporary:
        np.save(temporary, efficiencies)


def _header(stream: BinaryIO) -> tuple[tuple[int, ...], np.dtype]:
    """Return shape and type in the header of a .npy file, before memory of that size is allocated."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    return shape, dtype

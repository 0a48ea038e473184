"""The scatter of a scan, a table over the scanner's heads, in a .npy file."""

from pathlib import Path

import numpy as np

from csrd.errors import InputError
from csrd.io.files import whole_file
from csrd.io.normalisation import UNREADABLE


def read_scatter(path: str | Path, shape: tuple[int, ...], scanner: str) -> np.ndarray:
    """Return a table of `shape`, float32, from a .npy file; `scanner` is the scanner's name, for messages.

    Raises InputError for a damaged file, another shape, or values that are negative or not finite.
    """
    try:
        table = np.load(path, mmap_mode="r", allow_pickle=False)
    except (*UNREADABLE, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path} is not a readable .npy array ({reason}); write it by csrd scatter"
        ) from None
    if not isinstance(table, np.ndarray) or table.shape != shape or table.dtype != np.float32:
        found = f"{table.dtype} of shape {table.shape}" if isinstance(table, np.ndarray) else "an archive"
        raise InputError(
            f"{path} is {found}, not the float32 of shape {shape} of the {scanner}; write it by csrd scatter"
        )
    table = np.array(table)
    if not (np.isfinite(table).all() and (table >= 0).all()):
        raise InputError(f"{path} has scatter that is negative or not finite; write it by csrd scatter")
    return table


def write_scatter(table: np.ndarray, path: str | Path) -> None:
    """Write a table as a .npy file."""
    with whole_file(path) as temporary:
        np.save(temporary, table)

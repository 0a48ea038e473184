"""Siemens raw data by name and first bytes: known without pydicom, which only opening them takes."""

from pathlib import Path

LISTMODE, NORM, SINOGRAM = "PET_LISTMODE", "PET_NORM", "PET_EM_SINO"
KINDS = {LISTMODE: "list-mode", NORM: "a normalisation", SINOGRAM: "a sinogram"}
SUFFIXES = (".dcm", ".ima", ".bf")


def is_half(path: Path) -> bool:
    """Return whether a file's name is that of one half of a pair."""
    return path.suffix.lower() in SUFFIXES


def is_raw(path: Path) -> bool:
    """Return whether a path names one half of raw data, by its suffix or its first bytes."""
    if is_half(path):
        return True
    try:
        with open(path, "rb") as stream:
            return stream.read(132).endswith(b"DICM")
    except OSError:
        return False

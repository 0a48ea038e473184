"""Normalisations in files: crystal efficiencies as .npy, the components of the Biograph mMR."""

from pathlib import Path
from tokenize import TokenError
from typing import BinaryIO

import numpy as np

from csrd.errors import InputError
from csrd.io.files import header_beside, whole_file
from csrd.io.interfile import InterfileHeader, whole_pair
from csrd.io.raw_names import NORM, is_raw

NORM_SUFFIX = ".n"  # of the components with their Interfile header beside, as other tools extract them
QUANTIFICATION = "scanner quantification factor"
QUANTIFICATION_UNIT = "bq*s/ecatcounts"
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


def is_norm(path: str | Path | None) -> bool:
    """Return whether a normalisation is the mMR's own: .dcm and .bf, or .n with its header."""
    return path is not None and (Path(path).suffix.lower() == NORM_SUFFIX or is_raw(Path(path)))


def read_norm(path: str | Path, values: int) -> tuple[np.ndarray, float | None]:
    """Return the components of an mMR's normalisation, (values,) float32, and its calibration in Bq·s/count.

    `path` is either half of the pair .dcm and .bf, or a .n with its Interfile header beside it. The
    calibration is None where the header has none in that unit.
    Raises InputError for files of another kind or size, or values that cannot be a normalisation.
    """
    header, data, first, size = _norm_files(Path(path), 4 * values)
    if size != 4 * values:
        raise InputError(
            f"{data} has {size} bytes, but a normalisation of the mMR has {4 * values}; copy it again"
        )
    try:
        with open(data, "rb") as stream:
            stream.seek(first)
            found = np.frombuffer(stream.read(4 * values), "<f4").astype(np.float32)
    except OSError as error:
        raise InputError(f"cannot read {data}: {error.strerror}; check the path") from None
    if len(found) != values:
        raise InputError(f"{data} is cut short; copy it again")
    return found, _quantification(header, data)


def copy_norm(path: str | Path, target: Path, values: int) -> None:
    """Write an mMR's normalisation as `target`, a .n file, with its Interfile header beside it."""
    found, _ = read_norm(path, values)
    header = _norm_files(Path(path), 4 * values)[0]
    with whole_pair(target) as (data_part, header_part):
        found.astype("<f4").tofile(data_part)
        header_part.write_bytes(header.replace({"name of data file": target.name}).encode())


def _norm_files(path: Path, size: int) -> tuple[InterfileHeader, Path, int, int]:
    """Return the header of a normalisation, and file, first byte and size of its data."""
    if path.suffix.lower() == NORM_SUFFIX:
        beside = header_beside(path)
        if beside is None or not path.is_file():
            raise InputError(f"{path} or its header {path}.hdr does not exist; put both into one folder")
        return InterfileHeader.read(beside), path, 0, path.stat().st_size
    from csrd.io.dicom.raw import read_raw

    raw = read_raw(path)
    raw.require(NORM)
    data, first = raw.place(size)
    return raw.header, data, first, size


def _quantification(header: InterfileHeader, path: Path) -> float | None:
    """Return the calibration in a normalisation's header in Bq·s/count, None without one in this unit."""
    for key in header:
        name, _, unit = key.partition("(")
        if " ".join(name.split()).lower() != QUANTIFICATION or "".join(unit.split()).lower() != (
            f"{QUANTIFICATION_UNIT})"
        ):
            continue
        try:
            value = float(header[key])
        except ValueError:
            value = 0.0
        if not 0 < value < float("inf"):
            raise InputError(f"the header of {path} has {key!r} := {header[key]!r}; give a positive number")
        return value
    return None


def _header(stream: BinaryIO) -> tuple[tuple[int, ...], np.dtype]:
    """Return shape and type in the header of a .npy file, before memory of that size is allocated."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    return shape, dtype

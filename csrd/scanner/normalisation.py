"""How well each crystal of a scanner detects, from a file."""

from pathlib import Path

import numpy as np

from csrd.errors import InputError
from csrd.scanner.geometry import Scanner


def read_efficiencies(path: Path | None, scanner: Scanner) -> np.ndarray:
    """Return crystal efficiencies (C,) float32 from a .npy file, all 1 without a file.

    Raises InputError for a damaged file, another number of crystals, or values that are not positive.
    """
    if path is None:
        return np.ones(scanner.crystals, np.float32)
    try:
        # mapped, not read: a header that promises more than the file holds is refused, and takes no memory
        efficiencies = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, OverflowError) as error:
        raise InputError(f"{path} is not a readable .npy array ({error}); save it by numpy.save") from None
    if not isinstance(efficiencies, np.ndarray):
        raise InputError(f"{path} is an archive of arrays; save the efficiencies alone by numpy.save")
    if efficiencies.shape != (scanner.crystals,):
        raise InputError(
            f"{path} has shape {efficiencies.shape}; give one efficiency for each of the "
            f"{scanner.crystals} crystals of the {scanner.name}"
        )
    if not (np.isfinite(efficiencies).all() and (efficiencies >= 0).all() and efficiencies.any()):
        raise InputError(f"{path} has efficiencies that are negative or not finite; give numbers from 0 on")
    return efficiencies.astype(np.float32)

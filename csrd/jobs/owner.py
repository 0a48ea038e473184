"""Removal of the lock that a killed workflow left in a folder; the lock of a running one is kept."""

import platform
import sys
from pathlib import Path
from typing import TextIO

from csrd.errors import InputError
from csrd.io import locks

CLAIM = "csrd-owners"
_held: list[TextIO] = []  # open until the process ends, like the kernel's lock


def claim(folder: str | Path) -> list[Path]:
    """Hold snakemake's `folder` until this process ends; delete the locks of dead workflows, and return them.

    The claim is a kernel lock, which ends with its process. Several workflows may hold it at once. Locks are
    deleted only where no other process holds the claim, and where all its holders since the locks were
    written were on this machine: not every shared disk passes locks on to other machines.
    On Windows no lock is deleted. Raises InputError where the folder cannot be written to.
    """
    if sys.platform == "win32":
        return []  # no shared locks: snakemake's own lock stays until `snakemake --unlock`
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = open(folder / CLAIM, "a+")  # noqa: SIM115
    except OSError as error:
        raise InputError(
            f"cannot write {folder} ({error.strerror}); start in a folder that you may write to"
        ) from None
    _held.append(stream)
    cleared = []
    try:
        locks.lock(stream)
        cleared = _clear(folder, stream)
    except BlockingIOError:
        pass  # another workflow is running, and only snakemake can assign the locks
    except OSError:
        return []  # a disk without such locks: snakemake's own lock stays until `snakemake --unlock`
    try:
        print(_here(), file=stream, flush=True)
        locks.lock(stream, shared=True)
    except OSError as error:
        raise InputError(f"cannot write {stream.name} ({error.strerror}); free some space") from None
    return cleared


def _clear(folder: Path, stream: TextIO) -> list[Path]:
    """Delete the locks where all recorded owners were on this machine, and the records of these owners."""
    found = sorted(folder.glob("locks/*.lock"))
    stream.seek(0)
    owners = set(stream.read().split())
    if found and owners != {_here()}:
        if not owners:
            print("unknown", file=stream)
        return []
    for lock in found:
        lock.unlink()
    stream.truncate(0)
    return found


def _here() -> str:
    return platform.node()

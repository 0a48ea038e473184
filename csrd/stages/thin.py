"""Thinning of one scan's list-mode to a low dose."""

from pathlib import Path

from csrd import listmode as library
from csrd.seeds import key64


def thin(
    listmode: str | Path,
    listmode_out: str | Path,
    *,
    drf: float,
    seed: int,
    subject: str,
    nested: bool = False,
) -> dict:
    """Write a list-mode file with 1/drf of the events, and its header beside it; return the counts.

    The events that are kept depend on `seed`, `subject`, `drf` and their index in the file; with `nested` not
    on `drf`, so that a lower dose is a subset of a higher one (see `csrd.listmode.thin`).
    Raises InputError for a source that is not list-mode data, or a target that cannot be written.
    """
    return library.thin(listmode, listmode_out, drf, key64(seed, subject), nested)

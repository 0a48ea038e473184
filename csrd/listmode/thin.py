"""Thinning of list-mode data to a low dose, by random removal of events."""

import math
from collections.abc import Mapping
from pathlib import Path

from csrd.errors import InputError
from csrd.io.raw_names import is_half
from csrd.listmode.base import ListMode
from csrd.listmode.draw import Keep
from csrd.listmode.events import DELAYED, PROMPT, tally
from csrd.listmode.formats import open_listmode
from csrd.listmode.siemens import SiemensListMode

FACTOR = "dose reduction factor"


def thin(source: str | Path, target: str | Path, drf: float, seed: int, nested: bool = False) -> dict:
    """Write a thinned copy of a list-mode file, with its header beside it; return the counts.

    Each prompt and delayed stays with probability 1/drf, each tag and transmission event always; words in
    no valid packet are left out. A thinned Poisson process is the Poisson process of the lower dose, except
    for randoms, which decrease by drf instead of drf². The selection depends on the seed, the event's index
    in the file and, unless `nested`, the drf: the same seed gives the same bytes.
    Raises InputError for a drf below 1, a source that is not list-mode data, or a target that is the source
    or cannot be written.
    """
    keep = Keep.of(drf, seed, nested)
    listmode = open_listmode(source)
    target = Path(target)
    _check_target(listmode, target)
    counts, kept = listmode.write_thinned(target, keep, _notes(listmode, drf, seed, nested))
    return {
        "source": str(listmode.path),
        "target": str(target),
        "drf": drf,
        "seed": seed,
        "nested": nested,
        **tally(counts),
        "prompts_kept": int(kept[PROMPT]),
        "delayeds_kept": int(kept[DELAYED]),
    }


def _check_target(listmode: ListMode, target: Path) -> None:
    """Raise InputError where the target is the source, a folder or the name of a header."""
    if target.suffix.lower() == ".hdr":
        raise InputError(
            f"{target} is a header's name; give the data file's, its header is written beside it"
        )
    if is_half(target) and not isinstance(listmode, SiemensListMode):
        raise InputError(
            f"{target} is half of a Siemens pair, whose DICOM file is made from the source's, but "
            f"{listmode.path} has none; name a file of the source's format"
        )
    for written in listmode.files_at(target):
        if written.is_dir():
            raise InputError(f"{written} is a folder; give the name of a file in it")
        if written.exists() and any(written.samefile(source) for source in listmode.files):
            raise InputError(f"{written} is the source itself; give another name for the thinned file")


def _notes(listmode: ListMode, drf: float, seed: int, nested: bool) -> Mapping[str, object]:
    """Return the header's entries that a thinning changes or adds."""
    return {
        FACTOR: f"{drf_of(listmode) * drf:.12g}",  # relative to the original scan
        "thinning seed": seed,
        "thinning draw": "nested" if nested else "independent",
    }


def drf_of(listmode: ListMode) -> float:
    """Return the factor in a header by which the file was thinned; 1 if never.

    Raises InputError where that is not a number of 1 or more.
    """
    text = listmode.header.get(FACTOR, "1")
    try:
        drf = float(text)
    except ValueError:
        drf = math.nan
    if not 1 <= drf < math.inf:
        raise InputError(
            f"the header of {listmode.path} says {FACTOR} '{text}'; give a number of 1 or more, or remove it"
        )
    return drf

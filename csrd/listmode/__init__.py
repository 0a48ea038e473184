"""List-mode data: opened by format, counted, read as events, thinned, and written.

PETSIRD's names are imported when they are first used: they need a package that most users do without.
"""

from csrd.io.interfile import InterfileHeader
from csrd.listmode.base import ListMode
from csrd.listmode.events import EventBlock
from csrd.listmode.formats import open_listmode
from csrd.listmode.hrrt import HrrtListMode, write_hrrt
from csrd.listmode.petlink import PetlinkListMode, write_petlink
from csrd.listmode.siemens import SiemensListMode
from csrd.listmode.thin import thin

__all__ = [
    "WRITERS",
    "EventBlock",
    "HrrtListMode",
    "InterfileHeader",
    "ListMode",
    "PetlinkListMode",
    "PetsirdListMode",
    "SiemensListMode",
    "open_listmode",
    "thin",
    "write_hrrt",
    "write_petlink",
    "write_petsird",
]

# What a scan of a scanner, by its name, is written as: its format, and the function that writes it.
WRITERS = {
    HrrtListMode.scanner: (HrrtListMode, write_hrrt),
    "Siemens Biograph mMR": (PetlinkListMode, write_petlink),
}


def __getattr__(name: str) -> object:
    """Return one of PETSIRD's names, which need the package `petsird`."""
    if name == "PetsirdListMode":
        from csrd.listmode.petsird import PetsirdListMode

        return PetsirdListMode
    if name == "write_petsird":
        from csrd.listmode.petsird.writer import write_petsird

        return write_petsird
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

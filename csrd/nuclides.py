"""Half-lives and positron branching ratios of PET nuclides, and their names in files."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Nuclide:
    """A positron emitter: half-life in s, and the fraction of its decays that emit a positron."""

    half_life_s: float
    branching: float


# Sources: DDEP and ENSDF evaluations, rounded
NUCLIDES = {
    "C11": Nuclide(1224.0, 0.9976),
    "N13": Nuclide(597.9, 0.9982),
    "O15": Nuclide(122.24, 0.9989),
    "F18": Nuclide(6586.2, 0.9686),
    "CU64": Nuclide(45_723.6, 0.1752),
    "GA68": Nuclide(4057.7, 0.8888),
    "RB82": Nuclide(76.4, 0.9545),
    "ZR89": Nuclide(282_276.0, 0.2274),
    "I124": Nuclide(360_806.0, 0.2269),
}
ELEMENTS = {
    "CARBON": "C",
    "NITROGEN": "N",
    "OXYGEN": "O",
    "FLUORINE": "F",
    "COPPER": "CU",
    "GALLIUM": "GA",
    "RUBIDIUM": "RB",
    "ZIRCONIUM": "ZR",
    "IODINE": "I",
}
# DICOM's context group 4020: SNOMED CT, and the older codes of SNOMED RT
CODES = {
    **{"40565003": "C11", "21576001": "N13", "129504001": "O15", "77004003": "F18", "3932008": "CU64"},
    **{"35337001": "GA68", "79197006": "RB82", "63360001": "ZR89", "40937006": "I124"},
    **{"C-105A1": "C11", "C-107A1": "N13", "C-B1038": "O15", "C-111A1": "F18", "C-127A2": "CU64"},
    **{"C-131A3": "GA68", "C-159A2": "RB82", "C-168A4": "ZR89", "C-114A5": "I124"},
}


def nuclide_named(text: str) -> str | None:
    """Return the nuclide that a text names (F18, 18F, F-18, ^18^Fluorine, or DICOM's code); None if unknown.

    >>> nuclide_named("^18^Fluorine"), nuclide_named("[11C]"), nuclide_named("35337001")
    ('F18', 'C11', 'GA68')
    """
    if text in CODES:
        return CODES[text]
    plain = re.sub(r"[^A-Z0-9]", "", text.upper())
    if not (match := re.fullmatch(r"(\d+)([A-Z]+)|([A-Z]+)(\d+)", plain)):
        return None
    mass, element = match[1] or match[4], match[2] or match[3]
    name = ELEMENTS.get(element, element) + mass
    return name if name in NUCLIDES else None

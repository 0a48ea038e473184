"""The scanner of a list-mode file, by its name or from a PETSIRD file's description."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from csrd.listmode import ListMode, open_listmode
from csrd.scanner.geometry import Scanner, hrrt, scanner_of
from csrd.scanner.response import line_factors
from csrd.seeds import generator

if TYPE_CHECKING:
    from csrd.listmode.petsird.grid import Grid

SAMPLED_LINES = 200_000


def scanner_of_scan(listmode: ListMode) -> Scanner:
    """Return the scanner of a list-mode file.

    Raises InputError for a scanner whose geometry is not known, or that is not made of flat heads.
    """
    grid = getattr(listmode, "grid", None)  # PETSIRD's, which describes its scanner
    return scanner_of(listmode.scanner) if grid is None else petsird_scanner(grid)


def scanner_in(path: str | Path | None) -> Scanner:
    """Return the scanner of the list-mode file at a path; without one the HRRT."""
    return scanner_of_scan(open_listmode(path)) if path else hrrt()


def petsird_scanner(grid: "Grid") -> Scanner:
    """Return the scanner of a grid, with the efficiencies that its file has.

    Efficiencies of module pairs, PETSIRD's geometric component, replace `line_factors`. Their
    scale is the factors' own, on the average of lines: the standard does not fix the unit of their
    calibration.
    """
    plain = _scanner(grid)
    if grid.module_pairs is None:
        return plain
    draw = generator(1, "petsird-scale")
    heads = grid.head_pairs[draw.integers(len(grid.head_pairs), size=SAMPLED_LINES)]
    lines = heads * plain.crystals_per_head + draw.integers(plain.crystals_per_head, size=heads.shape)
    lines = lines[(grid.efficiencies[lines] > 0).all(axis=1)]
    total = grid.module_pairs.of(lines).sum(dtype=float)
    scale = np.float32(line_factors(plain, lines).sum(dtype=float) / total if total > 0 else 0)
    return _scanner(grid, lambda crystals: scale * grid.module_pairs.of(crystals))


def _scanner(grid: "Grid", measured_factors=None) -> Scanner:
    return Scanner(
        energy_window_keV=grid.energy_window_keV or Scanner.energy_window_keV,
        energy_fwhm=grid.energy_fwhm or Scanner.energy_fwhm,
        name=grid.name,
        head_normals=grid.head_normals,
        head_pairs=grid.head_pairs,
        face_radius_mm=grid.face_radius_mm,
        columns=grid.columns,
        rings=grid.rings,
        layers=grid.layers,
        pitch_mm=grid.pitch_mm,
        ring_pitch_mm=grid.ring_pitch_mm,
        max_ring_difference=grid.rings - 1,
        layer_mm=grid.layer_mm,
        efficiencies=grid.efficiencies,
        measured_factors=measured_factors,
    )

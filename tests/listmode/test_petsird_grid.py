"""Crystals of the grid stand where the package's own helpers put their boxes."""

from pathlib import Path

import numpy as np
import petsird
import pytest
from petsird.helpers import expand_detection_bin, get_detection_efficiency
from petsird.helpers.generator import get_scanner_geometry, mtype0_def, mtype1_def
from petsird.helpers.geometry import get_detecting_box

from csrd.errors import InputError
from csrd.listmode.petsird.grid import NO_CRYSTAL, Grid
from csrd.scanner.petsird import petsird_scanner
from csrd.seeds import generator
from tests.petsird_files import cylinder, detection_bins


def grid_of(scanner, tables=()):
    return Grid.of(scanner, Path("scan.petsird"), list(tables))


@pytest.mark.parametrize(
    ("scanner", "shape", "middle_mm"),
    [
        (cylinder(), (12, 1, 6, 4), 0),
        (cylinder(centred=False), (12, 1, 6, 5), 4),  # an empty column for the half crystal it is aside
        (cylinder(crystals=(2, 3, 5), size=(10.0, 8.0, 6.0)), (12, 2, 5, 3), 0),
        (cylinder(along_axis=3, spacing=6 * 8.0), (12, 1, 18, 4), 0),
        (cylinder(along_axis=2, spacing=10 * 8.0), (12, 1, 16, 4), 0),  # a gap of four rings
        (cylinder(along_axis=2, spacing=6 * 8.0 + 1.0, windows=3), (12, 1, 12, 4), 0),  # of an eighth: spread
    ],
)
def test_crystals_stand_where_their_boxes_are(scanner, shape, middle_mm):
    """But along the axis, where the middle of all crystals becomes 0."""
    grid = grid_of(scanner)
    ours = petsird_scanner(grid)
    assert (ours.heads, ours.layers, ours.rings, ours.columns) == shape
    draw = generator(1, "boxes")
    for number in draw.integers(detection_bins(scanner), size=200).tolist():
        box = get_detecting_box(scanner, 0, expand_detection_bin(scanner, 0, number))
        centre = np.mean([corner.c for corner in box.corners], axis=0) - [0, 0, middle_mm]
        crystal = grid.crystal_of_bin[number]
        normal = ours.head_normals[crystal // ours.crystals_per_head]
        deep = ours.layer_mm / 2 - ours.interaction_depths_mm[0]
        np.testing.assert_allclose(ours.crystal_positions[crystal] + deep * normal, centre, atol=0.6)


def test_the_window_of_energy_is_the_files():
    scanner = cylinder(windows=2)
    scanner.energy_resolution_at_511 = [0.12]
    ours = petsird_scanner(Grid.of(scanner, Path("a.petsird"), []))
    assert ours.energy_window_keV == (430.0, 650.0) and ours.energy_fwhm == pytest.approx(0.12)
    scanner.event_energy_bin_edges[0].edges = np.array([0, 1, 2], np.float32)
    scanner.energy_resolution_at_511 = []
    ours = petsird_scanner(Grid.of(scanner, Path("a.petsird"), []))
    assert ours.energy_window_keV == (400.0, 650.0) and ours.energy_fwhm == 0.15, "usual ones"


def test_places_in_a_gap_detect_nothing():
    scanner = cylinder(along_axis=2, spacing=10 * 8.0)
    grid = grid_of(scanner)
    efficiencies = grid.efficiencies.reshape(12, 16, 4)
    assert (efficiencies[:, 6:10] == 0).all() and (efficiencies[:, :6] == 1).all()
    back = grid.bin_of_crystal()
    assert (back[grid.crystal_of_bin] == np.arange(detection_bins(scanner))).all()
    assert (back == NO_CRYSTAL).sum() == 12 * 4 * 4


def test_efficiencies_are_those_of_the_package():
    scanner = cylinder(modules=6, crystals=(1, 2, 2), windows=2)
    draw = generator(1, "pairs")
    efficiencies = scanner.detection_efficiencies
    efficiencies.calibration_factor = 1.0
    efficiencies.detection_bin_efficiencies[0] = draw.uniform(0.2, 1, detection_bins(scanner)).tolist()
    table = efficiencies.module_pair_sgidlut[0][0]
    table[5][0], table[3][0], table[4][1] = -1, 1, 0
    tables = draw.uniform(0.2, 1, (2, 8, 8)).astype(np.float32)
    efficiencies.module_pair_efficiencies_vectors = [
        [[petsird.ModulePairEfficiencies(values=t.tolist(), sgid=n) for n, t in enumerate(tables)]]
    ]
    grid = grid_of(scanner, tables)
    for a, b in draw.integers(24, size=(200, 2)).tolist():  # crystals as the file counts them
        high, low = max(a, b), min(a, b)
        pair = petsird.TypeOfModulePair((0, 0))
        expected = sum(
            get_detection_efficiency(scanner, pair, 2 * high + first, 2 * low + second)
            for first in (0, 1) for second in (0, 1)
        ) if high // 4 != low // 4 else 0.0  # fmt: skip
        lines = grid.crystal_of_bin[[2 * a, 2 * b]][None]
        got = grid.module_pairs.of(lines)[0] * grid.efficiencies[lines].prod()
        assert got == pytest.approx(expected, rel=1e-4, abs=1e-9), (a, b)


def spoiled(name):
    scanner = cylinder()
    module = scanner.scanner_geometry.replicated_modules[0]
    elements = module.object.detecting_elements
    match name:
        case "two types of modules":
            scanner.scanner_geometry = get_scanner_geometry([mtype0_def, mtype1_def])
        case "a wedge":
            elements.object.shape.corners[0].c[0] = 3
        case "not rigid":
            module.transforms[0].matrix[0, 0] = 3
        case "not a number":
            module.transforms[0].matrix[0, 3] = np.nan
        case "tilted":
            turn = np.array([[1, 0, 0, 0], [0, 0.8, -0.6, 0], [0, 0.6, 0.8, 0]], np.float32)
            for transform in elements.transforms:
                transform.matrix = np.column_stack(
                    [turn[:, :3] @ transform.matrix[:, :3], transform.matrix[:, 3]]
                )
        case "nearer":
            module.transforms[0].matrix[:, 3] += [9, 0, 0]
        case "off the grid":
            elements.transforms[3].matrix[2, 3] += 3.5
        case "at one place":
            elements.transforms[3].matrix = elements.transforms[4].matrix
        case "few efficiencies":
            scanner.detection_efficiencies.detection_bin_efficiencies[0] = [1.0]
        case "negative efficiencies":
            scanner.detection_efficiencies.detection_bin_efficiencies[0][3] = -1.0
        case "a short table":
            scanner.detection_efficiencies.module_pair_sgidlut[0][0].pop()
        case "no coincidences":
            for row in scanner.detection_efficiencies.module_pair_sgidlut[0][0]:
                row[:] = [-1] * len(row)
    return scanner


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("two types of modules", "it has 2 types of modules"),
        ("a wedge", "not boxes along the axes"),
        ("not rigid", "not rigid"),
        ("not a number", "not positions in mm"),
        ("tilted", "tilted against the axis"),
        ("nearer", "at different distances"),
        ("off the grid", "not evenly spaced around the middle along the axis"),
        ("at one place", "two of its crystals are at one place"),
        ("few efficiencies", "1 efficiencies for 288 detection bins"),
        ("negative efficiencies", "negative or not finite"),
        ("a short table", "does not have a row for each of 12 modules"),
        ("no coincidences", "no two heads are in coincidence"),
    ],
)
def test_a_scanner_that_is_no_grid_is_refused_in_one_sentence(name, message):
    with pytest.raises(InputError, match=f"the scanner of scan.petsird is not one of flat heads .*{message}"):
        grid_of(spoiled(name))

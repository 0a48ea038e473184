"""The sensitivity image against brute force over every line, and against followed decays."""

from dataclasses import replace

import numpy as np
import pytest

from csrd.io.volume import centred_affine
from csrd.recon.sensitivity import geometric_sensitivity
from csrd.scanner.geometry import hrrt
from csrd.scanner.projector import back
from csrd.scanner.response import line_factors

SMALL = replace(hrrt(), face_radius_mm=60.0, columns=10, rings=8, pitch_mm=8.0, ring_pitch_mm=8.0)


def brute_force(shape: tuple[int, int, int], voxel_mm: float) -> np.ndarray:
    """Return the sum over every single line of the small scanner."""
    total, each = np.zeros(shape), SMALL.crystals_per_head
    origin, positions = centred_affine(shape, voxel_mm)[:3, 3], SMALL.crystal_positions
    for a, b in SMALL.head_pairs:
        grid = np.meshgrid(np.arange(each) + a * each, np.arange(each) + b * each, indexing="ij")
        lines = np.stack(grid, axis=-1).reshape(-1, 2)
        ends = positions[lines[:, 0]], positions[lines[:, 1]]
        total += back(line_factors(SMALL, lines), origin, np.full(3, voxel_mm), *ends, shape)
    return total


@pytest.mark.parametrize(
    "shape, voxel_mm",
    [((18, 22, 12), 4.0), ((14, 14, 9), 8.0), ((17, 20, 13), 4.0), ((8, 8, 6), 16.0), ((7, 7, 5), 16.0)],
)
def test_families_of_lines_sum_to_every_line(shape, voxel_mm):
    exact, reference = geometric_sensitivity(SMALL, shape, voxel_mm).array, brute_force(shape, voxel_mm)
    # Steep lines through the corners take z as Joseph's main axis one by one, but not as a family
    core = tuple(slice(n // 6, n - n // 6) for n in shape)
    np.testing.assert_allclose(exact[core], reference[core], rtol=2e-3)
    assert exact.sum() == pytest.approx(reference.sum(), rel=2e-3)


@pytest.mark.parametrize(
    "shape, voxel_mm", [((24, 24, 20), 3.0), ((16, 16, 12), 5.0), ((22, 22, 18), 3.3), ((10, 10, 8), 11.0)]
)
def test_a_voxel_that_does_not_divide_the_pitch_is_gathered(shape, voxel_mm):
    """OSEM makes bands of a quarter of the image out of a few per cent from slice to slice."""
    exact, reference = geometric_sensitivity(SMALL, shape, voxel_mm).array, brute_force(shape, voxel_mm)
    core = tuple(slice(n // 4, n - n // 4) for n in shape)
    ratio = exact[core] / reference[core]
    np.testing.assert_allclose(ratio, 1, atol=0.02)
    assert ratio.std() < 0.005


def test_sensitivity_is_the_share_of_decays_that_make_a_true(cylinder):
    """Two independent routes to one number: decays followed one by one, and Σ g a ε A."""
    from tests.recon.conftest import ACTIVITY, SCAN

    decay = np.log(2) / SCAN.half_life_s
    lived = SCAN.branching * -np.expm1(-decay * SCAN.duration_s) / decay
    # activity lies on voxels half as large
    shape = cylinder.sensitivity.shape
    share = cylinder.activity.array.reshape(shape[0], 2, shape[1], 2, shape[2], 2).mean((1, 3, 5))
    assert share.max() == ACTIVITY
    expected = (share * 1e-3 * cylinder.sensitivity.array).sum() * lived
    assert cylinder.counts["trues"] == pytest.approx(expected, rel=0.01)

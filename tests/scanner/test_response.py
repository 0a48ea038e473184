"""The line factor and the blur against closed forms."""

import numpy as np
import pytest

from csrd.scanner.geometry import hrrt
from csrd.scanner.response import blur, line_factors


def test_factor_of_two_crystals_face_to_face():
    """g = p⁴ / (2πL²) · P², θ = 0; the back layers are reached by what the front ones let through."""
    scanner = hrrt()
    ring, column = 50, 36
    opposite = scanner.columns - 1 - column  # the columns of opposite heads run against each other
    for layer in (0, 1):
        pair = [
            scanner.crystal_index(0, layer, ring, column),
            scanner.crystal_index(4, layer, ring, opposite),
        ]
        length = 2 * (234.5 + scanner.interaction_depths_mm[layer])
        survive = np.exp(-0.087 * 10)
        stop = survive**layer * (1 - survive)
        expected = 2.4375**4 / (2 * np.pi * length**2) * stop**2
        assert line_factors(scanner, np.array([pair]))[0] == pytest.approx(expected, rel=1e-5)


def test_blur_keeps_the_sum_and_has_its_variance():
    image = np.zeros((41, 41, 41), np.float32)
    image[20, 20, 20] = 1
    voxel = np.array([1.0, 1.0, 1.0])
    spread = blur(image, voxel, 2.0, 4.0, 0.1)
    x = np.arange(41) - 20
    variance = (spread.sum((1, 2)) * x**2).sum() / spread.sum()
    assert spread.sum() == pytest.approx(1, abs=1e-3)
    assert variance == pytest.approx(0.9 * 4 + 0.1 * 16, rel=0.02)


def test_blur_is_its_own_adjoint():
    draw = np.random.default_rng(0)
    x, y = draw.random((2, 15, 16, 17), dtype=np.float32)
    voxel = np.array([1.2, 1.2, 2.4])
    left = (blur(x, voxel, 1.5, 3.0, 0.05) * y).sum()
    right = (x * blur(y, voxel, 1.5, 3.0, 0.05)).sum()
    assert left == pytest.approx(right, rel=1e-5)

"""HYPR on images with known results."""

import numpy as np

from csrd.kinetics.filters import gaussian, hypr

VOXEL = np.array([2.0, 2.0, 2.0])
RNG = np.random.default_rng(3)
STRUCTURE = np.kron(RNG.uniform(1, 5, (4, 4, 4)), np.ones((4, 4, 4)))


def of(frame: np.ndarray, composite: np.ndarray, fwhm: float = 8.0) -> np.ndarray:
    return hypr(gaussian(frame, fwhm, VOXEL), composite, gaussian(composite, fwhm, VOXEL))


def test_a_frame_of_the_composites_shape_is_kept_at_any_strength():
    for fwhm in (2.0, 8.0):
        assert np.allclose(of(0.3 * STRUCTURE, STRUCTURE, fwhm), 0.3 * STRUCTURE)


def test_a_flat_composite_leaves_the_filter_alone():
    frame = RNG.poisson(20, STRUCTURE.shape).astype(float)
    assert np.allclose(of(frame, np.ones_like(frame)), gaussian(frame, 8.0, VOXEL))


def test_noise_falls_and_the_composites_borders_stay():
    frame = 0.5 * STRUCTURE + RNG.normal(0, 0.5, STRUCTURE.shape)
    errors = {
        "frame": np.std(frame - 0.5 * STRUCTURE),
        "gaussian": np.std(gaussian(frame, 8.0, VOXEL) - 0.5 * STRUCTURE),
        "hypr": np.std(of(frame, STRUCTURE) - 0.5 * STRUCTURE),
    }
    assert errors["hypr"] < 0.3 * errors["frame"] and errors["hypr"] < 0.3 * errors["gaussian"]


def test_air_is_not_divided_by_zero():
    composite = STRUCTURE.copy()
    composite[:8] = 0
    assert np.isfinite(of(composite * 0.1, composite, 2.0)).all()

"""Spots put into images by hand: what is kept of them, and which are not in the truth."""

import numpy as np
import pytest
from scipy import ndimage

from csrd.io.volume import Volume, centred_affine
from csrd.metrics.lesions import FALSE_CONTRAST, excess_contrast, false_spots, mean_and_error, spot_recovery
from csrd.virtual.spots import Spot, apply_spot

SHAPE, VOXEL = (40, 40, 40), 2.0
GRID = Volume(np.ones(SHAPE, np.float32), centred_affine(SHAPE, VOXEL), "kBq/mL")
MM = np.full(3, VOXEL)
EVERYWHERE = np.ones(SHAPE, bool)
HOT, COLD = Spot((-14.0, -10.0, 6.0), 6.0, 1.6), Spot((15.0, 12.0, -8.0), 6.0, 0.4)


def seen(*spots: Spot, level: float = 5.0, fwhm_mm: float = 6.0) -> np.ndarray:
    """Return a uniform field with these spots, as a scanner of that resolution shows it."""
    field = np.full(SHAPE, level, np.float32)
    for spot in spots:
        apply_spot(field, GRID.affine, spot)
    return ndimage.gaussian_filter(field, fwhm_mm / 2.3548 / VOXEL)


def test_recovery_is_the_share_of_the_contrast_that_is_left():
    truth, bare = GRID.like(seen(HOT, COLD)), GRID.like(seen())
    faded = GRID.like(bare.array + 0.25 * (truth.array - bare.array))
    assert spot_recovery(truth, truth, bare, [HOT, COLD]) == {"hot": [1.0], "cold": [1.0]}
    assert spot_recovery(bare, truth, bare, [HOT, COLD]) == {"hot": [0.0], "cold": [0.0]}
    found = spot_recovery(faded, truth, bare, [HOT, COLD])
    assert found["hot"] == [pytest.approx(0.25, abs=1e-5)] and found["cold"] == [
        pytest.approx(0.25, abs=1e-5)
    ]


def test_standard_error_is_that_of_the_mean():
    draws = np.random.default_rng(0).normal(3, 2, 400)
    mean, error = mean_and_error(draws)
    assert mean == pytest.approx(draws.mean()) and error == pytest.approx(0.1, rel=0.1)
    assert mean_and_error([0.7])[0] == 0.7 and np.isnan(mean_and_error([0.7])[1])


def test_an_image_as_the_truth_has_no_false_spot():
    assert false_spots(seen(HOT, COLD), seen(HOT, COLD), EVERYWHERE, MM) == 0


def test_spots_that_are_not_in_the_truth_are_counted():
    added = [Spot(centre, 6.0, 1.6) for centre in ((-14.0, 14.0, 0.0), (14.0, -14.0, 0.0), (0.0, 0.0, 14.0))]
    assert false_spots(seen(*added, HOT), seen(HOT), EVERYWHERE, MM) == 3
    assert false_spots(seen(HOT), seen(*added, HOT), EVERYWHERE, MM) == 0, "lost spots are no false ones"
    outside = EVERYWHERE.copy()
    outside[:, :, 20:] = False
    assert false_spots(seen(added[2]), seen(), outside, MM) == 0, "only tissue counts"


def test_faint_spots_biases_and_slow_errors_are_no_spots():
    truth = seen()
    ramp = np.linspace(-0.3, 0.3, SHAPE[0], dtype=np.float32)[:, None, None] * truth
    assert false_spots(seen(Spot((0.0, 0.0, 0.0), 6.0, 1.1)), truth, EVERYWHERE, MM) == 0
    assert false_spots(1.3 * truth, truth, EVERYWHERE, MM) == 0
    assert false_spots(truth + ramp, truth, EVERYWHERE, MM) == 0


def test_the_threshold_is_the_weakest_lesion_of_middle_size():
    peak = excess_contrast(seen(Spot((0.0, 0.0, 0.0), 5.5, 1.4)), seen(), MM).max()
    assert peak == pytest.approx(FALSE_CONTRAST, rel=0.15)


def test_noise_of_a_scan_makes_some_spots_and_more_of_them_at_a_lower_dose():
    rng = np.random.default_rng(1)
    noise = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 1.3)
    noise /= noise.std()
    counts = [false_spots(seen() * (1 + sd * noise), seen(), EVERYWHERE, MM) for sd in (0.05, 0.2, 0.4)]
    assert counts[0] == 0 and 0 < counts[1] < counts[2]

"""The models give back what curves in closed form were made with."""

import numpy as np
import pytest

from csrd.errors import InputError
from csrd.kinetics.models import Fit, Reference, Value, common_k2_reference
from csrd.kinetics.reference import Times
from csrd.seeds import generator
from tests.kinetics.tissue import frame_means, two_tissue

DURATIONS = np.array([10] * 6 + [20] * 3 + [30] * 6 + [60] * 5 + [120] * 5 + [300] * 7, float)
EDGES = np.append(0, DURATIONS.cumsum())
K2_REFERENCE = 0.06 / 60
REGIONS = [(0.1, 1.0), (0.5, 0.9), (1.0, 1.1), (3.0, 0.8)]


def reference() -> Reference:
    curve = frame_means(EDGES, K2_REFERENCE)
    return Reference(EDGES[:-1], DURATIONS, curve, DURATIONS * 2 ** (-EDGES[:-1] / 1224))


def region(bp: float, r1: float) -> np.ndarray:
    return frame_means(EDGES, r1 * K2_REFERENCE / (1 + bp), r1)


@pytest.fixture(scope="module")
def fitted() -> Reference:
    return reference()


@pytest.mark.parametrize("bp, r1", REGIONS)
def test_every_model_gives_back_bp_r1_and_k2prime(fitted, bp, r1):
    curve = region(bp, r1)
    srtm = fitted.srtm(curve)
    assert srtm.bp.value == pytest.approx(bp, rel=2e-3) and not srtm.bounded
    assert srtm.r1.value == pytest.approx(r1, rel=1e-3)
    assert srtm.k2_reference.value == pytest.approx(K2_REFERENCE, rel=2e-3)
    mrtm2, logan = fitted.mrtm2(curve, K2_REFERENCE), fitted.logan(curve, K2_REFERENCE, 1500)
    assert mrtm2.bp.value == pytest.approx(bp, rel=2e-3) and mrtm2.r1.value == pytest.approx(r1, rel=2e-3)
    assert logan.bp.value == pytest.approx(bp, rel=2e-3)


def noisy(fitted: Reference, size: float, count: int) -> list[np.ndarray]:
    """Return `count` curves of one region with noise of this size over the highest value."""
    curve, rng = region(1.0, 1.1), generator(3, "noise")
    sd = size * curve.max() / np.sqrt(fitted.weights / fitted.weights.max())
    return [curve + sd * rng.standard_normal(len(curve)) for _ in range(count)]


def test_standard_errors_of_srtm_are_the_deviations_over_noise(fitted):
    fits = [fitted.srtm(curve) for curve in noisy(fitted, 0.01, 25)]
    for pairs in ([f.bp for f in fits], [f.r1 for f in fits], [f.k2_reference for f in fits]):
        values, errors = np.array(pairs).T
        assert np.median(errors) == pytest.approx(values.std(ddof=1), rel=0.4)  # 14 % of its own


def test_standard_errors_of_linear_models_are_a_little_small(fitted):
    """The same noise is in ∫C_T, which a regression takes as known: 0.85 and 0.93 of 1000 realisations."""
    curves = noisy(fitted, 0.002, 300)
    for fit, expected in (
        (lambda curve: fitted.mrtm2(curve, K2_REFERENCE), 0.85),
        (lambda curve: fitted.logan(curve, K2_REFERENCE, 1500), 0.93),
    ):
        values, errors = np.array([fit(curve).bp for curve in curves]).T
        assert np.sqrt((errors**2).mean()) / values.std(ddof=1) == pytest.approx(expected, abs=0.12)
        assert values.mean() == pytest.approx(1.0, abs=0.003)


def test_two_tissues_bias_models_of_one_as_documented(fitted):
    """Slow binding: SRTM is too high, the linear models too low, less so for late frames; fast: all agree."""
    fast = two_tissue(EDGES, K2_REFERENCE, 1.0, 2 / 60)
    slow = two_tissue(EDGES, K2_REFERENCE, 1.0, 0.1 / 60)
    fits = [
        (fitted.srtm, 0.274),
        (lambda curve: fitted.mrtm2(curve, K2_REFERENCE), -0.101),
        (lambda curve: fitted.mrtm2(curve, K2_REFERENCE, 1200), -0.040),
        (lambda curve: fitted.logan(curve, K2_REFERENCE, 1500), -0.031),
        (lambda curve: fitted.logan(curve, K2_REFERENCE, 2100), -0.019),
    ]
    for fit, bias in fits:
        assert fit(fast).bp.value == pytest.approx(1.0, abs=2e-3)
        assert fit(slow).bp.value - 1 == pytest.approx(bias, abs=3e-3)


def test_common_k2prime_is_that_of_the_regions_known_best():
    fits = [
        Fit(Value(1, 1), k2_reference=Value(k2, k2 * error))
        for k2, error in ((1, 0.01), (2, 0.02), (9, 1), (8, 2))
    ]
    assert common_k2_reference(fits) == 1.5
    assert np.isnan(common_k2_reference([]))


def test_a_gap_is_filled_and_frames_that_overlap_are_refused():
    times = Times.of(np.array([0.0, 10, 40]), np.array([10.0, 10, 20]))
    assert times.edges.tolist() == [0, 10, 20, 40, 60] and times.frames.tolist() == [0, 1, 3]
    assert times.filled(np.array([1.0, 2, 4])) == pytest.approx([1, 2, 2 + 2 * 15 / 35, 4])
    with pytest.raises(InputError, match="frame 2 starts 5 s before frame 1 ends"):
        Times.of(np.array([0.0, 5]), np.array([10.0, 10]))


def test_convolution_with_an_exponential_of_a_constant():
    times = Times.of(np.array([0.0, 10, 20]), np.array([10.0, 10, 10]))
    rate = 0.05
    means = times.convolved(np.full(3, 2.0), np.array([rate]))[0]
    edges = np.array([0, 10, 20, 30.0])
    exact = np.diff(2 / rate * (edges + np.exp(-rate * edges) / rate)) / 10
    assert means == pytest.approx(exact, rel=1e-9)

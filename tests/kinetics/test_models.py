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


def ratio(pairs: list[Value]) -> float:
    """Return the mean standard error over the standard deviation of the estimates."""
    values, errors = np.array(pairs).T
    return float(errors.mean() / values.std(ddof=1))


@pytest.mark.parametrize("bp, r1", REGIONS)
def test_standard_errors_of_linear_models_are_the_deviations_over_noise(fitted, bp, r1):
    """Of 800 realisations with k2' known; the same noise is in C_T and ∫C_T. A ratio is known to 3 %.

    Logan's plot has 4 degrees of freedom here, for which the mean standard error is 0.94 of the deviation.
    """
    curve, rng = region(bp, r1), generator(4, "noise")
    sd = 0.005 * curve.max() / np.sqrt(fitted.weights / fitted.weights.max())
    curves = [curve + sd * rng.standard_normal(len(curve)) for _ in range(800)]
    fits = [(fitted.mrtm2(noisy, K2_REFERENCE), fitted.logan(noisy, K2_REFERENCE, 1500)) for noisy in curves]
    assert ratio([mrtm2.bp for mrtm2, _ in fits]) == pytest.approx(1, abs=0.1)
    assert ratio([mrtm2.r1 for mrtm2, _ in fits]) == pytest.approx(1, abs=0.1)
    assert ratio([logan.bp for _, logan in fits]) == pytest.approx(0.94, abs=0.06)
    assert np.isnan(fits[0][0].k2_reference.error), "k2' is known"


def test_the_standard_error_of_an_estimated_k2prime_is_propagated():
    """k2' is SRTM's, of eight regions, and the reference is noisy too, as one of ten times their volume."""
    rng, found = generator(5, "noise"), []
    bps = (0.1, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 3.0)
    weights = DURATIONS * 2 ** (-EDGES[:-1] / 1224)
    clean = [frame_means(EDGES, K2_REFERENCE), *(region(bp, 1.0) for bp in bps)]
    for _ in range(100):
        sizes = 0.005 * np.array([0.3, *np.ones(len(bps))])
        shape = np.sqrt(weights.max() / weights)
        noise = [size * curve.max() * shape * rng.standard_normal(len(curve))
                 for size, curve in zip(sizes, clean, strict=True)]  # fmt: skip
        curve, *curves = [curve + added for curve, added in zip(clean, noise, strict=True)]
        fitted = Reference(EDGES[:-1], DURATIONS, curve, weights)
        k2 = common_k2_reference([fitted.srtm(curve) for curve in curves])
        linear = [fitted.mrtm2(curve, k2.value, k2_error=k2.error) for curve in curves]
        linear += [fitted.logan(curve, k2.value, 1500, k2.error) for curve in curves]
        found.append([k2, *(fit.bp for fit in linear)])
    k2, *ratios = [ratio(pairs) for pairs in zip(*found, strict=True)]
    mrtm2, logan = ratios[: len(bps)], ratios[len(bps) :]
    assert k2 == pytest.approx(1, abs=0.15)  # 7 % of its own, which all regions share
    assert np.mean(mrtm2) == pytest.approx(1, abs=0.1)
    assert np.mean(logan) == pytest.approx(0.89, abs=0.08), "a little small, as documented"


def test_noise_of_earlier_frames_is_in_the_integral():
    """Columns of the matrix are integrals of curves that are 1 in one frame: 0 before it."""
    times = Times.of(np.array([0.0, 10, 40]), np.array([10.0, 20, 20]))
    assert times.integral_matrix()[:2] == pytest.approx(np.array([[5, 0, 0], [10, 10, 0]]))
    curve = np.array([3.0, 1, 2])
    sums = np.append(0, np.cumsum(times.filled(curve) * times.lengths))
    exact = ((sums[:-1] + sums[1:]) / 2)[times.frames]
    assert times.integral_matrix() @ curve == pytest.approx(exact)


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
    found = common_k2_reference(fits)
    assert found.value == 1.5
    densities = sum(1 / (sd * np.sqrt(2 * np.pi)) for sd in (0.01, 0.04))
    assert found.error == pytest.approx(np.sqrt(2 / 4) / densities), "of the median of the two"
    assert np.isnan(common_k2_reference([]).value)


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

import numpy as np
import pytest
import torch

from csrd.train import ema


def weighing(std: float, time: int) -> np.ndarray:
    """Return how the average of length `std` at `time` weighs steps 1 … time, by its integral."""
    power = ema.exponent(std) + 1
    edges = np.arange(time + 1) / time
    return np.diff(edges**power)


@pytest.mark.parametrize("std, gamma", [(0.10, 6.94), (0.05, 16.97)])
def test_exponents_are_those_published(std, gamma):
    assert ema.exponent(std) == pytest.approx(gamma, abs=0.005)


@pytest.mark.parametrize("std", [0.01, 0.05, 0.1, 0.2, 0.27])
def test_the_weighing_has_the_spread_it_is_named_after(std):
    p = weighing(std, 200_000)
    tau = (np.arange(200_000) + 0.5) / 200_000
    mean = (p * tau).sum()
    assert np.sqrt((p * (tau - mean) ** 2).sum()) == pytest.approx(std, rel=1e-4)


@pytest.mark.parametrize("std", ema.TRACKED)
def test_updates_give_the_weighing(std):
    weights = torch.randn(300, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    average = [torch.full((2,), 1e6, dtype=torch.float64)]  # forgotten at step 1
    assert ema.decay(1, std) == 0
    for step, weight in enumerate(weights, start=1):
        ema.update(average, [weight], ema.decay(step, std))
        if step in (1, 2, 300):
            expected = torch.from_numpy(weighing(std, step)) @ weights[:step]
            torch.testing.assert_close(average[0], expected)


def profile(stds: list[float], times: list[int], std: float) -> np.ndarray:
    """Return the weighing of the sum of snapshots that stands for the average of length `std`."""
    total = max(times)
    pairs = [(t, s) for t in times for s in stds]
    factors = ema.coefficients([t / total for t, _ in pairs], [s for _, s in pairs], 1.0, std)
    out = np.zeros(total)
    for (time, tracked), factor in zip(pairs, factors, strict=True):
        out[:time] += factor * weighing(tracked, time)
    return out


TIMES = [125 * (i + 1) for i in range(8)]


@pytest.mark.parametrize("std", ema.TRACKED)
def test_a_tracked_average_is_its_own_last_snapshot(std):
    np.testing.assert_allclose(profile(ema.TRACKED, TIMES, std), weighing(std, 1000), atol=1e-12)
    factors = ema.coefficients([0.5, 1.0, 1.0], [std, 0.2, std], 1.0, std)
    np.testing.assert_allclose(factors, [0, 0, 1], atol=1e-9)


@pytest.mark.parametrize("std, error", [(0.07, 0.02), (0.15, 0.05), (0.03, 0.15)])
def test_another_length_is_approached(std, error):
    difference = profile(ema.TRACKED, TIMES, std) - weighing(std, 1000)
    assert abs(difference).sum() < error
    # the nearer tracked length alone would be much farther off
    nearest = min(ema.TRACKED, key=lambda s: abs(np.log(s / std)))
    assert abs(weighing(nearest, 1000) - weighing(std, 1000)).sum() > 3 * abs(difference).sum()


@pytest.mark.parametrize("std", [0.02, 0.03, 0.07, 0.15, 0.2])
def test_weights_that_never_change_are_their_own_average(std):
    assert profile(ema.TRACKED, TIMES, std).sum() == pytest.approx(1, abs=1e-9)


def test_inner_products_of_weighings_have_their_closed_form():
    # against the integral of the product by quadrature
    tau = (np.arange(400_000) + 0.5) / 400_000
    for (ta, ga), (tb, gb) in [((1.0, 6.9), (1.0, 17.0)), ((0.5, 17.0), (0.875, 6.9)), ((0.9, 7), (0.3, 17))]:
        pa = (ga + 1) * tau**ga / ta ** (ga + 1) * (tau < ta)
        pb = (gb + 1) * tau**gb / tb ** (gb + 1) * (tau < tb)
        assert ema._product(ta, ga, tb, gb) == pytest.approx((pa * pb).mean(), rel=1e-3)

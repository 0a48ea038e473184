import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from csrd.networks.edm2 import (
    EDM2,
    Fourier,
    MPConv,
    MPLinear,
    fold,
    mp_cat,
    mp_silu,
    mp_sum,
    pixel_norm,
    unfold,
)

SMALL = {"channels": (4, 8), "stem": 2}
PERCENT = 0.01


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(*[st.integers(1, 3)] * 5),
    st.integers(1, 3),
)
def test_fold_and_unfold_are_inverses(shape, size):
    b, c, *cells = shape
    x = gaussian(b, c, *(n * size for n in cells))
    folded = fold(x, size)
    assert folded.shape == (b, c * size**3, *cells)
    assert torch.equal(unfold(folded, size), x)
    # a cell holds its own voxels, and no others
    assert torch.equal(folded[0, : size**3, 0, 0, 0], x[0, 0, :size, :size, :size].flatten())


def test_silu_has_unit_mean_square():
    # E[silu(n)²] by quadrature: an implementation other than the one under test
    n = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    density = (-(n**2) / 2).exp() / math.sqrt(2 * math.pi)
    mean_square = torch.trapezoid(mp_silu(n) ** 2 * density, n)
    assert mean_square == pytest.approx(1, abs=PERCENT / 2)


@pytest.mark.parametrize("t", [0.0, 0.3, 0.5, 1.0])
def test_sums_keep_unit_variance(t):
    a, b = gaussian(400_000), gaussian(400_000, seed=1)
    total = mp_sum(a, b, t)
    assert total.var() == pytest.approx(1, abs=PERCENT)
    # shares are t to 1 − t
    assert (total * b).mean() * (1 - t) == pytest.approx(float((total * a).mean()) * t, abs=PERCENT)


def test_concatenation_weighs_both_parts_alike():
    a, b = gaussian(1, 3, 40, 40, 40), gaussian(1, 13, 40, 40, 40, seed=1)
    both = mp_cat(a, b)
    assert both.var() == pytest.approx(1, abs=PERCENT)
    powers = both[:, :3].square().sum(), both[:, 3:].square().sum()
    assert powers[0] / powers[1] == pytest.approx(1, abs=3 * PERCENT)


def test_pixel_norm_gives_each_voxel_unit_mean_square():
    out = pixel_norm(gaussian(2, 8, 3, 4, 5) * 100)
    torch.testing.assert_close(out.square().mean(1), torch.ones(2, 3, 4, 5))
    assert pixel_norm(torch.zeros(1, 8, 1, 1, 1)).abs().max() == 0


@pytest.mark.parametrize("gain", [1.0, 2.5])
def test_convolution_keeps_unit_variance_times_its_gain(gain):
    torch.manual_seed(5)
    with torch.no_grad():
        inner = MPConv(16, 32, 3)(gaussian(1, 16, 20, 20, 20), gain)[
            :, :, 1:-1, 1:-1, 1:-1
        ]  # zeros lie beyond
    assert inner.std() == pytest.approx(gain, rel=2 * PERCENT)


def test_linear_layer_and_fourier_features_have_unit_variance():
    torch.manual_seed(5)
    features = Fourier(4096)(torch.tensor([0.3, -1.2]))
    assert features.var() == pytest.approx(1, abs=5 * PERCENT)
    with torch.no_grad():
        assert MPLinear(64, 512)(gaussian(500, 64)).var() == pytest.approx(1, abs=3 * PERCENT)


def test_normalise_weights_gives_unit_rows_and_undoes_what_training_did_to_their_length(awake):
    network = awake(EDM2(2, **SMALL))
    x, noise, dose = gaussian(1, 2, 8, 8, 8), torch.zeros(1), torch.ones(1)
    layers = [layer for layer in network.modules() if isinstance(layer, MPConv | MPLinear)]
    with torch.no_grad():
        before = network(x, noise, dose)
        for i, layer in enumerate(layers):
            layer.weight *= 1 + i
        network.normalise_weights()
        after = network(x, noise, dose)
    for layer in layers:
        mean_square = layer.weight.square().flatten(1).mean(1)
        torch.testing.assert_close(mean_square, torch.ones_like(mean_square), atol=PERCENT, rtol=0)
    torch.testing.assert_close(before, after, atol=0.02 * float(before.std()), rtol=0)


def test_the_network_starts_at_zero():
    out = EDM2(2, **SMALL)(gaussian(1, 2, 8, 8, 8), torch.zeros(1), torch.zeros(1))
    assert out.abs().max() == 0


@pytest.mark.parametrize("stem, blocks, shape", [(1, 2, (6, 4, 8)), (2, 1, (8, 4, 12))])
def test_any_size_divisible_by_the_factor_keeps_its_shape(awake, stem, blocks, shape):
    network = awake(EDM2(3, 2, channels=(4, 8), stem=stem, blocks=blocks, dose=False))
    assert network.factor == 2 * stem
    assert network(gaussian(2, 3, *shape), torch.zeros(2)).shape == (2, 2, *shape)


def test_noise_level_and_dose_reach_the_output(awake):
    network = awake(EDM2(2, **SMALL))
    x = gaussian(1, 2, 8, 8, 8).expand(4, -1, -1, -1, -1)
    noise, dose = torch.tensor([0.0, 1.0, 0.0, 1.0]), torch.tensor([1.4, 1.4, 2.3, 2.3])
    with torch.no_grad():
        out = network(x, noise, dose)
    for i in range(4):
        for j in range(i):
            assert (out[i] - out[j]).abs().max() > 1e-2 * out.std()


def test_a_voxel_beyond_the_receptive_field_changes_nothing(awake):
    network = awake(EDM2(1, **SMALL)).double()
    # one voxel to either side for each convolution, times its stride: in and out 1 · 2 each, the finest level
    # 2 · 2 twice, the coarse one (encoder and middle) 4 · 4; and 3 for where in its cell of 4 a voxel lies
    reach = 2 * 2 + 2 * 4 + 16 + 3
    x = gaussian(1, 1, 128, 8, 8).double().requires_grad_()
    network(x, torch.zeros(1), torch.ones(1))[0, 0, 64].sum().backward()
    touched = x.grad[0, 0].abs().amax((1, 2)).nonzero()[:, 0]
    assert 64 - reach <= touched.min() < 64 - reach + 8
    assert 64 + reach - 8 < touched.max() <= 64 + reach


def test_a_patch_and_a_volume_see_the_same_network(awake):
    network = awake(EDM2(1, **SMALL)).double()
    x = gaussian(1, 1, 128, 8, 8).double()
    with torch.no_grad():
        whole = network(x, torch.zeros(1), torch.ones(1))
        part = network(x[:, :, :64], torch.zeros(1), torch.ones(1))
    torch.testing.assert_close(part[:, :, :32], whole[:, :, :32], atol=1e-10, rtol=0)
    assert (part - whole[:, :, :64]).abs().max() > 1e-3  # the border is felt within the receptive field

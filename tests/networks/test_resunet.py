"""The network without normalisation: what it returns before training, and that all of it learns."""

import pytest
import torch

from csrd.networks.resunet import Fourier, ResUNet

SMALL = {"channels": (8, 16), "blocks": 1, "stem": 2}


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(2, 3, 8, 12, 16, generator=torch.Generator().manual_seed(2))


NOISE, LEVEL = torch.tensor([0.1, 0.2]), torch.tensor([-1.0, -2.0])


def test_an_untrained_network_returns_the_shares_of_its_inputs(x):
    network = ResUNet(3, **SMALL, skip=(0.0, 2.0, -1.0))
    assert torch.allclose(network(x, NOISE, LEVEL), (2 * x[:, 1] - x[:, 2])[:, None], atol=1e-6)
    assert (ResUNet(3, **SMALL)(x, NOISE, LEVEL) == 0).all()


def test_every_weight_learns_within_four_steps(x):
    """Three layers on the way from the embedding to the output start at 0; each step wakes one of them."""
    network = ResUNet(3, **SMALL)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(4):
        optimiser.zero_grad()
        (network(x, NOISE, LEVEL) - torch.randn(2, 1, 8, 12, 16)).square().mean().backward()
        optimiser.step()
    still = [name for name, p in network.named_parameters() if not p.grad.abs().max() > 0]
    assert not still


@torch.no_grad()
def test_noise_and_level_change_the_output(x, awake):
    network = awake(ResUNet(3, **SMALL))
    base = network(x, NOISE, LEVEL)
    assert not torch.allclose(base, network(x, NOISE + 1, LEVEL), atol=1e-3)
    assert not torch.allclose(base, network(x, NOISE, LEVEL + 1), atol=1e-3)
    alone = network(x[:1], NOISE[:1], LEVEL[:1])
    # one scan of a batch does not change another's
    assert torch.allclose(alone, base[:1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("stem", "channels"), [(2, (8, 8, 8)), (1, (4, 8, 8, 8))])
def test_its_factor_is_what_its_shape_must_divide(stem, channels):
    network = ResUNet(3, 2, channels=channels, stem=stem, blocks=2)
    assert network.factor == 8
    assert network(torch.zeros(1, 3, 8, 16, 24), NOISE[:1], LEVEL[:1]).shape == (1, 2, 8, 16, 24)


def test_features_of_a_scalar_have_unit_variance():
    torch.manual_seed(5)
    assert Fourier(4096)(torch.tensor([0.3, -1.2])).var() == pytest.approx(1, abs=0.05)


def test_a_voxel_beyond_the_receptive_field_changes_nothing(awake):
    network = awake(ResUNet(1, **SMALL)).double()
    # one voxel to either side for each convolution, times its stride: in and out 1 · 2 each, the finest level
    # 2 · 2 twice, the coarse one 2 · 4; and 3 for where in its cell of 4 a voxel lies
    reach = 2 * 2 + 2 * 4 + 8 + 3
    x = torch.randn(1, 1, 128, 8, 8, dtype=torch.float64).requires_grad_()
    network(x, NOISE[:1], LEVEL[:1])[0, 0, 64].sum().backward()
    touched = x.grad[0, 0].abs().amax((1, 2)).nonzero()[:, 0]
    assert 64 - reach <= touched.min() < 64 - reach + 8
    assert 64 + reach - 8 < touched.max() <= 64 + reach


@torch.no_grad()
def test_a_patch_and_a_volume_see_the_same_network(awake):
    network = awake(ResUNet(1, **SMALL)).double()
    x = torch.randn(1, 1, 128, 8, 8, dtype=torch.float64)
    whole, part = (network(image, NOISE[:1], LEVEL[:1]) for image in (x, x[:, :, :64]))
    torch.testing.assert_close(part[:, :, :32], whole[:, :, :32], atol=1e-10, rtol=1e-10)
    assert (part - whole[:, :, :64]).abs().max() > 1e-3  # the border is felt within the receptive field

"""The network without normalisation: what it returns before training, and that all of it learns."""

import pytest
import torch

from csrd.networks.resunet import ResUNet

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


def test_its_factor_is_what_its_shape_must_divide(x):
    network = ResUNet(3, channels=(8, 8, 8), stem=2)
    assert network.factor == 8
    assert network(torch.zeros(1, 3, 8, 16, 24), NOISE[:1], LEVEL[:1]).shape == (1, 1, 8, 16, 24)

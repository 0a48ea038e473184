"""Networks as they are after training: what starts at zero is not zero any more."""

import pytest
import torch
from torch import nn


@pytest.fixture(autouse=True)
def one_thread():
    """These tests are tiny: threads cost more than they give."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def awake():
    """Return a function that draws every weight of a network anew, at unit gain."""

    def wake(network: nn.Module) -> nn.Module:
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for weight in network.parameters():
                fan_in = weight[0].numel() if weight.ndim > 1 else 1
                weight.copy_(torch.randn(weight.shape, generator=generator) / fan_in**0.5)
        return network.eval()

    return wake

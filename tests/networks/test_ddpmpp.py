import pytest
import torch
from torch import nn

from csrd.networks.ddpmpp import Attention, DDPMpp, group_norm

SMALL = {"channels": (8, 16, 16), "blocks": 1}


def conv(inner: int, outer: int, kernel: int = 3) -> int:
    return kernel**3 * inner * outer + outer


def block(inner: int, outer: int, *, resampled: bool = False) -> int:
    """Return the parameters of one block of Karras 2022, Table 7, by hand."""
    norms, embedding = 2 * inner + 2 * outer, 256 * outer + outer
    skip = conv(inner, outer, 1) if inner != outer or resampled else 0
    return norms + conv(inner, outer) + embedding + conv(outer, outer) + skip


def test_the_paper_preset_has_41_million_parameters():
    with torch.device("meta"):
        count = sum(weight.numel() for weight in DDPMpp(6).parameters())
    down, up = block(128, 128, resampled=True), block(128, 128, resampled=True)
    encoder = conv(6, 64) + 4 * block(64, 64) + block(64, 64, resampled=True)
    encoder += block(64, 128) + 3 * block(128, 128) + 2 * (down + 4 * block(128, 128))
    middle = 2 * block(128, 128) + 2 * 128 + conv(128, 3 * 128, 1) + conv(128, 128, 1)
    # skips of width 128 and, where the level above begins, of width 64
    decoder = 2 * (5 * block(256, 128) + up) + 4 * block(256, 128) + block(192, 128) + up
    decoder += block(128 + 64, 64) + 4 * block(64 + 64, 64)
    ends = (64 * 256 + 256) + (256 * 256 + 256) + 2 * 64 + conv(64, 1)
    assert count == encoder + middle + decoder + ends
    assert round(count / 1e6, 2) == 41.25


@pytest.mark.parametrize("shape", [(4, 4, 4), (8, 4, 12)])
def test_any_size_divisible_by_the_factor_keeps_its_shape(shape):
    network = DDPMpp(3, 2, **SMALL, dose=True)
    assert network.factor == 4
    out = network(torch.randn(2, 3, *shape), torch.zeros(2), torch.zeros(2))
    assert out.shape == (2, 2, *shape)


def test_the_network_starts_near_zero():
    torch.manual_seed(0)
    out = DDPMpp(2, **SMALL)(torch.randn(1, 2, 8, 8, 8), torch.zeros(1))
    assert 0 < out.abs().max() < 1e-3


def test_attention_is_in_the_bottleneck_only():
    with torch.device("meta"):
        network = DDPMpp(6)
    found = [name for name, module in network.named_modules() if isinstance(module, Attention)]
    assert found == ["middle.0.attention"]


def test_noise_level_and_dose_reach_the_output(awake):
    network = awake(DDPMpp(2, **SMALL, dose=True))
    x = torch.randn(1, 2, 8, 8, 8).expand(4, -1, -1, -1, -1)
    noise, dose = torch.tensor([0.0, 1.0, 0.0, 1.0]), torch.tensor([1.4, 1.4, 2.3, 2.3])
    with torch.no_grad():
        out = network(x, noise, dose)
    for i in range(4):
        for j in range(i):
            assert (out[i] - out[j]).abs().max() > 1e-3 * out.std()


def test_dropout_is_off_when_evaluating(awake):
    network = awake(DDPMpp(1, **SMALL, dropout=0.5))
    x = torch.randn(1, 1, 4, 4, 4)
    with torch.no_grad():
        assert torch.equal(network(x, torch.zeros(1)), network(x, torch.zeros(1)))
        network.train()
        assert not torch.equal(network(x, torch.zeros(1)), network(x, torch.zeros(1)))


def test_attention_is_softmax_of_scaled_products(awake):
    attention = awake(Attention(8))
    x = torch.randn(2, 8, 2, 3, 2)
    with torch.no_grad():
        flat = attention.norm(x).flatten(2)
        weight, bias = attention.qkv.weight[:, :, 0, 0, 0], attention.qkv.bias
        q, k, v = (torch.einsum("oc,bcn->bon", weight, flat) + bias[:, None]).split(8, 1)
        share = (torch.einsum("bcn,bcm->bnm", q, k) / 8**0.5).softmax(-1)
        y = torch.einsum("bnm,bcm->bcn", share, v)
        weight, bias = attention.project.weight[:, :, 0, 0, 0], attention.project.bias
        y = torch.einsum("oc,bcn->bon", weight, y) + bias[:, None]
        torch.testing.assert_close(attention(x), y.reshape(x.shape), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("channels, groups", [(64, 16), (128, 32), (192, 32), (256, 32)])
def test_groups_of_the_paper_preset(channels, groups):
    assert group_norm(channels).num_groups == groups


@pytest.mark.parametrize("channels", [(2,), (6, 10), (12, 136)])
def test_any_even_number_of_channels_makes_a_network(channels):
    network = DDPMpp(1, channels=channels, blocks=1)
    assert all(m.num_channels % m.num_groups == 0 for m in network.modules() if isinstance(m, nn.GroupNorm))
    out = network(torch.randn(1, 1, 4, 4, 4), torch.ones(1))
    assert out.isfinite().all()

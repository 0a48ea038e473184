import warnings
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from csrd.train import device as module
from csrd.train.device import bf16_is_right, pick_device, precision

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def forget():
    """What was found out of the hardware is kept for the process: forget it before and after."""
    for cached in (bf16_is_right, module._has_bf16):
        cached.cache_clear()
    yield
    for cached in (bf16_is_right, module._has_bf16):
        cached.cache_clear()


def broken(conv3d, spoil):
    """Return a convolution whose bf16 result is spoiled."""
    return lambda x, *rest, **options: (
        spoil(conv3d(x, *rest, **options)) if x.dtype == torch.bfloat16 else conv3d(x, *rest, **options)
    )


def test_a_right_convolution_is_trusted():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bf16_is_right("cpu")


SPOILS = {
    "scaled": lambda y: y * 1.1,
    "one channel zero": lambda y: torch.cat([y[:, :1] * 0, y[:, 1:]], 1),
    "no number": lambda y: y * float("nan"),
    "infinite": lambda y: y / 0,
}


@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS)
def test_a_wrong_convolution_is_found_out_and_not_used(monkeypatch, spoil):
    monkeypatch.setattr(nn.functional, "conv3d", broken(nn.functional.conv3d, spoil))
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    with pytest.warns(
        UserWarning, match="bf16 convolutions of 16 voxels on this cpu are wrong; fp32 is used"
    ):
        assert isinstance(precision(CPU), nullcontext)
    assert not bf16_is_right("cpu")


def test_small_maps_are_checked_where_they_are_trained(monkeypatch):
    right = nn.functional.conv3d

    def wrong_at_two(x, *rest, **options):
        y = right(x, *rest, **options)
        return y * 1.1 if x.dtype == torch.bfloat16 and x.shape[2] == 2 else y

    monkeypatch.setattr(nn.functional, "conv3d", wrong_at_two)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert not isinstance(precision(CPU), nullcontext) and not isinstance(precision(CPU, 4), nullcontext)
    with pytest.warns(UserWarning, match="of 2 voxels"):
        assert isinstance(precision(CPU, 2), nullcontext)


def test_memory_that_nobody_has_written_is_found_out(monkeypatch):
    class Unwritten(torch.autograd.Function):
        @staticmethod
        def forward(ctx, weight):
            return weight.clone()

        @staticmethod
        def backward(ctx, gradient):
            return torch.empty_like(gradient)

    right = nn.functional.conv3d
    monkeypatch.setattr(
        nn.functional,
        "conv3d",
        lambda x, w, **o: right(x, Unwritten.apply(w) if w.dtype == torch.bfloat16 else w, **o),
    )
    with pytest.warns(UserWarning, match="are wrong"):
        assert not bf16_is_right("cpu")


def test_a_wrong_gradient_is_found_out(monkeypatch):
    class Halved(torch.autograd.Function):
        @staticmethod
        def forward(ctx, y):
            return y.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient / 2

    monkeypatch.setattr(nn.functional, "conv3d", broken(nn.functional.conv3d, Halved.apply))
    with pytest.warns(UserWarning, match="are wrong"):
        assert not bf16_is_right("cpu")


@pytest.mark.parametrize(("tiles", "dots"), [(True, False), (False, True), (False, False)])
def test_bf16_is_used_where_the_hardware_has_it(monkeypatch, tiles, dots):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: dots)
    has = tiles or dots
    layer, x = nn.Conv3d(1, 1, 1), torch.ones(1, 1, 2, 2, 2)
    for _ in range(2):  # a fresh context each time
        with precision(CPU):
            assert layer(x).dtype == (torch.bfloat16 if has else torch.float32)


def test_a_device_that_is_absent_is_not_given(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device() == pick_device("cpu") == CPU
    with pytest.raises(RuntimeError, match="no CUDA device"):
        pick_device("cuda")


def test_processes_spread_over_the_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cpu") == CPU
    for rank, index in (("0", 0), ("1", 1), ("2", 0)):
        monkeypatch.setenv("LOCAL_RANK", rank)
        assert pick_device() == torch.device("cuda", index)

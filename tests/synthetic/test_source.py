"""The source of patches: what a batch depends on, what is in it, and what it needs to run."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from csrd.synthetic import Synthetic
from csrd.synthetic.conditions import residual_unit
from csrd.synthetic.noise import log_normal_factor, packed, reconstructed_factor, unpacked

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def source(anatomies, noise_bank) -> Synthetic:
    return Synthetic(anatomies, noise_bank, CPU, seed=7, patch=32, volumes=3)


def test_a_batch_depends_on_seed_and_step_alone(source, anatomies, noise_bank):
    for step in range(1, 4):
        batch = source.draw(step, range(4))
    fresh = Synthetic(anatomies, noise_bank, CPU, seed=7, patch=32, volumes=3)
    halves = [fresh.draw(3, samples) for samples in (range(0, 2), range(2, 4))]
    for name in ("inputs", "target", "dose", "weight"):
        joined = torch.cat([getattr(half, name) for half in halves])
        assert torch.equal(joined, getattr(batch, name))
    assert torch.equal(torch.cat([half.noise() for half in halves]), batch.noise())
    other = Synthetic(anatomies, noise_bank, CPU, seed=8, patch=32, volumes=3).draw(3, range(4))
    assert not torch.equal(other.inputs, batch.inputs)


def test_a_batch_does_not_depend_on_autocast(source, anatomies, noise_bank):
    expected = source.draw(1, range(2))
    with torch.autocast("cpu", torch.bfloat16):
        found = Synthetic(anatomies, noise_bank, CPU, seed=7, patch=32, volumes=3).draw(1, range(2))
    assert torch.equal(found.inputs, expected.inputs)


def test_a_batch_holds_finite_patches_of_its_volumes(source):
    batch = source.draw(1, range(16))
    assert batch.inputs.shape == (16, 9, 32, 32, 32)
    assert batch.target.shape == (16, 1, 32, 32, 32)
    assert batch.dose.shape == (16,)
    assert all(torch.isfinite(part).all() for part in (batch.inputs, batch.target, batch.dose))
    assert len(set(batch.dose.tolist())) <= 3  # volumes in the pool


def test_channels_say_whether_there_is_an_mr(source):
    volumes = {float(v.level.log()): v for v in (source.volume(i) for i in range(1, 9))}
    kinds = set()
    for step in range(1, 7):
        batch = source.draw(step, range(4))
        for inputs, dose in zip(batch.inputs, batch.dose.tolist(), strict=True):
            has = volumes[dose].facts["mr"] is not None
            assert (inputs[2] == float(has)).all()
            assert has or (inputs[1] == 0).all()
            assert float(inputs[1].min()) >= 0 and float(inputs[1].max()) <= 4
            kinds.add(has)
    assert kinds == {True, False}


def test_target_and_level_lead_from_the_low_dose_to_the_truth(source):
    for index in range(5):
        volume = source.volume(index)
        unit = residual_unit(float(volume.level))
        assert torch.allclose(volume.inputs[0] - unit * volume.target[0], volume.truth, atol=1e-4)
        assert float(volume.truth.min()) >= 0
        ratio = float(volume.low.sum() / volume.truth.sum())
        assert ratio == pytest.approx(1, abs=0.1)  # noise adds nothing to the mean


def test_each_volume_serves_as_many_patches_as_requested(anatomies, noise_bank):
    source = Synthetic(anatomies, noise_bank, CPU, seed=7, patch=32, volumes=2, steps_per_volume=2)
    pools = []
    for step in range(4):
        source.draw(step, range(1))
        pools.append(list(source._pool))
    assert pools == [[0, 1], [0, 1], [1, 2], [1, 2]]


def test_packed_noise_is_itself_again():
    noise = np.concatenate([np.linspace(-3, 3, 50), [8.0, 20.0, 39.0]])
    found = unpacked(torch.from_numpy(packed(noise))).numpy()
    assert np.allclose(found, noise, rtol=0.03, atol=0.02)


@pytest.mark.parametrize("make", ["reconstructed", "log-normal"])
def test_noise_factors_have_mean_1_and_the_ratio_for_deviation(make):
    gaussian = torch.randn((60, 60, 60), generator=torch.Generator().manual_seed(0))
    skewed = torch.exp(0.5 * gaussian)
    skewed = (skewed - skewed.mean()) / skewed.std()
    for ratio in (0.05, 0.3, 0.6, 1.5):
        ratios = torch.full_like(gaussian, ratio)
        if make == "reconstructed":
            factor = reconstructed_factor(skewed, 0.5, ratios)
        else:
            factor = log_normal_factor(gaussian, ratios)
        assert float(factor.min()) >= 0
        assert float(factor.mean()) == pytest.approx(1, abs=0.02)
        assert float(factor.std()) == pytest.approx(ratio, rel=0.06)


def test_the_generator_needs_torch_and_numpy_alone(anatomies, noise_bank):
    code = (
        "import sys\n"
        "for name in ('scipy', 'nibabel', 'pydantic', 'skimage', 'ants', 'numba', 'pandas'):\n"
        "    sys.modules[name] = None\n"
        "from pathlib import Path\n"
        "import torch\n"
        "from csrd.synthetic import Synthetic\n"
        f"source = Synthetic(Path({str(anatomies)!r}), Path({str(noise_bank)!r}), torch.device('cpu'), 1,\n"
        "                   patch=16, volumes=1)\n"
        "print(tuple(source.draw(1, range(2)).inputs.shape))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "(2, 9, 16, 16, 16)", done.stderr


class _StaysOnTheDevice(TorchDispatchMode):
    """Raises where an operation waits for the device: for a number, or a shape that depends on one."""

    WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "equal")

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        assert name not in self.WAITS, f"{name} waits for the device"
        if name.startswith("index"):
            indices = [part for part in args[1:] if isinstance(part, list | tuple)]
            assert all(i is None or i.dtype != torch.bool for part in indices for i in part), name
        return function(*args, **(kwargs or {}))


def test_no_value_leaves_the_device_and_none_is_made_on_another(anatomies, noise_bank):
    """A CUDA device is not at hand here: any tensor made without naming the device would be a meta tensor."""
    source = Synthetic(anatomies, noise_bank, CPU, seed=7, patch=16, volumes=2)
    torch.set_default_device("meta")
    try:
        with _StaysOnTheDevice():
            for step in range(4):
                batch = source.draw(step, range(2))
    finally:
        torch.set_default_device(None)
    assert batch.inputs.device == CPU
    with pytest.raises(AssertionError, match="waits"), _StaysOnTheDevice():
        float(batch.dose[0])

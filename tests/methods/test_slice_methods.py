"""The 2D methods: what they are built of, what they take, and that they learn."""

import numpy as np
import pytest
import torch
from torch import nn

from csrd.config import load
from csrd.errors import InputError
from csrd.io.volume import Volume, centred_affine
from csrd.methods import FitContext, TrainingPair, method
from csrd.methods.base.train import train
from csrd.methods.learned.slices import residual_of
from csrd.train.device import bf16_is_right
from csrd.train.patches import Batch

SHAPE = (21, 26, 9)
COMMON = {"mixed": 0.3, "training": {"steps": 8, "batch": 2, "lr": 0.002}}
SETTINGS = {
    key: load({key: {"channels": channels, **COMMON}}).of_method(key)
    for key, channels in (("unet", 4), ("restormer", 8))
}
KEYS = list(SETTINGS)
CONTEXT = FitContext(seed=1)


def head(seed: int, noise: float = 0.0) -> Volume:
    """Return a noisy ellipsoid with a hot spot off its middle, so that no axis is like another."""
    affine = centred_affine(SHAPE, 5.0)
    x, y, z = np.moveaxis(np.indices(SHAPE), 0, -1).reshape(-1, 3).T - (np.array(SHAPE)[:, None] - 1) / 2
    inside = (x / 9) ** 2 + (y / 11) ** 2 + (z / 4) ** 2 < 1
    hot = (x - 4) ** 2 + (y + 3) ** 2 + (z - 1) ** 2 < 6
    array = 1e4 * inside + 2e4 * hot
    array = array + noise * np.random.default_rng(seed).standard_normal(array.size) * (0.1e4 + array)
    return Volume(array.reshape(SHAPE).astype(np.float32).clip(0), affine, "Bq/mL")


def pairs() -> list[TrainingPair]:
    normal = head(0)
    mask, mr = normal.like((normal.array > 0).astype(np.uint8), "mask"), normal.like(normal.array / 7, "MR")
    return [
        TrainingPair(subject, drf, head(seed, 0.1 * drf), normal, mr, mask, split)
        for seed, (subject, drf, split) in enumerate(
            [("sub-01", 4, "train"), ("sub-01", 6, "train"), ("sub-02", 4, "validation")], start=1
        )
    ]


def untrained(key: str):
    torch.manual_seed(0)
    one = method(key)(SETTINGS[key])
    return method(key)(SETTINGS[key], network=one.build())


def built(key: str, **settings) -> nn.Module:
    return method(key)(load({key: settings}).of_method(key)).build()


def conv(size: int, before: int, after: int, bias: bool = True) -> int:
    return size**2 * before * after + bias * after


def test_unet_has_the_weights_of_four_levels():
    c = 64
    blocks = [(2, c)] + [(c * 2**k, c * 2 ** (k + 1)) for k in range(4)]  # down
    blocks += [(c * 2 ** (k + 1), c * 2**k) for k in (3, 2, 1)] + [(3 * c, c)]  # up, beside what was skipped
    ups = [(c * 2 ** (k + 1), c * 2**k) for k in (3, 2, 1)] + [(2 * c, 2 * c)]
    expected = sum(conv(3, i, o) + conv(3, o, o) for i, o in blocks) + sum(conv(2, i, o) for i, o in ups)
    with torch.device("meta"):
        network = built("unet", channels=c)
    assert sum(weight.numel() for weight in network.parameters()) == expected + conv(1, c, 1)


@pytest.mark.parametrize("stem", [1, 2])
def test_restormer_has_the_weights_of_four_levels(stem):
    c, numbers, refinement = 16, (2, 1, 1, 3), 4

    def block(d: int, heads: int) -> int:
        hidden = int(2.66 * d)
        attention = 3 * d * d + 9 * 3 * d + d * d + heads
        return 4 * d + attention + 2 * d * hidden + 9 * 2 * hidden + hidden * d

    encoder = sum(n * block(c * 2**k, 2**k) for k, n in enumerate(numbers))
    decoder = sum(
        n * block(d, 2**k) for k, (n, d) in enumerate(zip(numbers, (2 * c, 2 * c, 4 * c), strict=False))
    )
    resampling = sum(conv(3, d, d // 2, False) + conv(3, 2 * d, 4 * d, False) for d in (c, 2 * c, 4 * c))
    skips = sum(2 * d * d for d in (2 * c, 4 * c))
    ends = conv(3, 2 * stem**2, c, False) + conv(3, 2 * c, stem**2, False)
    with torch.device("meta"):
        network = built("restormer", channels=c, blocks=numbers, refinement=refinement, stem=stem)
    expected = encoder + decoder + refinement * block(2 * c, 1) + resampling + skips + ends
    assert sum(weight.numel() for weight in network.parameters()) == expected


def test_restormer_normalises_channels_not_slices():
    network = untrained("restormer").build()
    assert not [part for part in network.modules() if isinstance(part, nn.InstanceNorm2d)]
    norm = network[1].latent[0].norm1
    x = torch.randn(2, norm.normalized_shape[0], 3, 4) * 5 + 7
    y = norm(x)
    torch.testing.assert_close(y.mean(1), torch.zeros(2, 3, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var(1, correction=0), torch.ones(2, 3, 4), atol=1e-3, rtol=0)


@pytest.mark.parametrize("key", KEYS)
def test_overfits_one_slice(key):
    generator = torch.Generator().manual_seed(3)
    inputs = torch.rand(1, 2, 32, 24, 1, generator=generator)
    target = torch.rand(1, 1, 32, 24, 1, generator=generator) - 0.5
    task = untrained(key)
    task.network.train()
    batch = Batch(inputs, target, torch.zeros(1), [])
    optimiser = torch.optim.Adam(task.network.parameters(), lr=0.004)
    losses = []
    for _ in range(200):
        optimiser.zero_grad()
        loss = task.losses(batch).mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] > 0.2 and np.mean(losses[-5:]) < 0.4 * losses[0]  # of white noise: learned by heart


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("size", [(1, 1), (5, 37), (33, 48)])
def test_any_slice_size(key, size):
    one = untrained(key)
    with torch.no_grad():
        out = residual_of(one.network, torch.rand(3, 2, *size), one.factor)
    assert out.shape == (3, 1, *size) and out.dtype == torch.float32 and torch.isfinite(out).all()


def test_slices_that_fit_are_seen_as_they_are():
    seen = []

    def network(slices):
        seen.append(slices)
        return slices[:, :1]

    fits, odd = torch.rand(1, 2, 32, 48), torch.rand(1, 2, 33, 30)
    assert torch.equal(residual_of(network, fits, 16), fits[:, :1]) and torch.equal(seen[0], fits)
    assert torch.equal(residual_of(network, odd, 16), odd[:, :1]) and seen[1].shape == (1, 2, 48, 32)
    assert torch.equal(seen[1][..., :33, 31], odd[..., 29])  # the border, repeated


class SliceMean(nn.Module):
    """Says of every pixel the mean of its slice."""

    def forward(self, slices):
        return slices[:, :1].mean((2, 3), keepdim=True).expand(-1, 1, *slices.shape[2:])


def test_slices_are_axial_and_the_residual_is_subtracted():
    class Stub(method("unet")):
        factor = 1

    low = head(1, 0.3)
    plain = SETTINGS["unet"].updated(mirror=False, shift=False)
    out = Stub(plain, network=SliceMean()).apply(low, low, 4)
    expected = np.maximum(low.array - low.array.mean((0, 1)), 0)
    np.testing.assert_allclose(out.array, expected, rtol=1e-2, atol=50)  # the CPU's network may be in bf16


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_a_turned_file_gives_the_same_image(key, order):
    low, mr = head(1, 0.3), head(0)
    turned = []
    for volume in (low, mr):
        matrix = volume.affine[:, [*order, 3]].copy()
        matrix[:, 3] += matrix[:, 1] * (volume.shape[order[1]] - 1)
        matrix[:, 1] *= -1
        turned.append(Volume(volume.array.transpose(order)[:, ::-1], matrix, volume.unit))
    one = untrained(key)
    straight, other = one.apply(low, mr, 4), one.apply(*turned, 4)
    assert other.same_grid(turned[0]) and not np.array_equal(straight.array, low.array)
    assert np.array_equal(other.array, straight.array.transpose(order)[:, ::-1])


@pytest.mark.parametrize("key", KEYS)
def test_a_mirrored_head_gives_the_mirrored_image(key):
    # padding, too, must be alike on both sides: as wide as a multiple of the factor
    low = head(1, 0.3)
    low = Volume(np.pad(low.array, ((6, 5), (3, 3), (0, 0))), centred_affine((32, 32, 9), 5.0), low.unit)
    mr = low.like(low.array[:, ::-1] / 7, "MR")
    method_, mirrored = untrained(key), [v.like(v.array[::-1].copy()) for v in (low, mr)]
    difference = {}
    for mirror in (True, False):
        method_.settings = method_.settings.updated(mirror=mirror)
        image, other = method_.apply(low, mr, 4).array, method_.apply(*mirrored, 4).array
        difference[mirror] = abs(other[::-1] - image).max() / image.max()
    assert difference[True] < 1e-5 < 1e-3 < difference[False]


@pytest.mark.parametrize("key", KEYS)
def test_a_moved_head_is_one_of_the_views(key):
    low, mr = head(1, 0.3), head(0)
    slices, scale = untrained(key).slices(low, mr)
    further = torch.nn.functional.pad(slices, (1, 0, 1, 0), mode="replicate")
    one, array = untrained(key), np.full(SHAPE, 1e6, np.float32)  # nowhere near the cut at zero
    beyond = np.full((SHAPE[0] + 1, SHAPE[1] + 1, SHAPE[2]), 1e6, np.float32)
    one.settings = one.settings.updated(mirror=False, shift=False)
    there, moved = one.denoised(array, slices, scale), one.denoised(beyond, further, scale)[1:, 1:]
    one.settings = one.settings.updated(shift=True)
    both = 1e6 - one.denoised(array, slices, scale)
    np.testing.assert_allclose(both, 1e6 - (there + moved) / 2, atol=1)
    assert abs(there - moved).max() > 10


@pytest.mark.parametrize("key", KEYS)
def test_a_missing_mr_gets_one_sentence(key):
    with pytest.raises(InputError, match=f"^{key} needs the MR; give it with --mr"):
        untrained(key).apply(head(1, 0.3), None, 4)


@pytest.mark.parametrize("key", KEYS)
def test_what_is_fitted_is_loaded_and_applied(key, tmp_path):
    train(key, pairs(), SETTINGS[key], tmp_path / key, CONTEXT)
    model = method(key).read_model(tmp_path / key)
    assert model["training"]["step"] == COMMON["training"]["steps"]
    assert model["parameters"] == sum(p.numel() for p in untrained(key).network.parameters())
    assert all({"mae", "psnr"} <= scores.keys() for scores in model["validation"].values())
    low, mr = pairs()[0].low, pairs()[0].mr
    out = method(key).load(tmp_path / key).apply(low, mr, 10)
    assert out.same_grid(low) and out.unit == "Bq/mL" and out.array.dtype == np.float32
    assert out.array.min() >= 0 and not np.array_equal(out.array, low.array)
    again = method(key).load(tmp_path / key).apply(low, mr, 10)
    assert np.array_equal(again.array, out.array)


def test_training_does_not_depend_on_the_axes_of_the_files(tmp_path):
    def flipped(volume: Volume) -> Volume:
        matrix = volume.affine.copy()
        matrix[:, 3] += matrix[:, 0] * (volume.shape[0] - 1)
        matrix[:, 0] *= -1
        return Volume(volume.array[::-1], matrix, volume.unit)

    turned = [
        TrainingPair(p.subject, p.drf, *map(flipped, (p.low, p.normal, p.mr, p.mask)), p.split)
        for p in pairs()
    ]
    train("unet", pairs(), SETTINGS["unet"], tmp_path / "a", CONTEXT)
    train("unet", turned, SETTINGS["unet"], tmp_path / "b", CONTEXT)
    a, b = (method("unet").load(tmp_path / name).network.state_dict() for name in "ab")
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_slices_of_two_sizes_are_not_trained_on_together(tmp_path):
    def cut(volume: Volume) -> Volume:
        return Volume(volume.array[1:], volume.affine, volume.unit)

    first, *others = pairs()
    parts = map(cut, (first.low, first.normal, first.mr, first.mask))
    odd = TrainingPair("sub-99", first.drf, *parts, first.split)
    with pytest.raises(InputError, match="in sub-99 .*trains on one size; crop alike"):
        train("unet", [odd, *others], SETTINGS["unet"], tmp_path / "model", CONTEXT)


def test_precision_can_be_asked_for_without_gradients():
    bf16_is_right.cache_clear()
    with torch.no_grad():
        assert bf16_is_right("cpu") in (True, False)


@pytest.mark.parametrize("key", KEYS)
def test_the_default_settings_build(key):
    assert residual_of(built(key), torch.rand(1, 2, 8, 8), 16).shape == (1, 1, 8, 8)

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch.nn import functional

from csrd.config.sections import Metrics
from csrd.errors import InputError
from csrd.io.volume import Volume, centred_affine
from csrd.metrics import perceptual
from csrd.metrics.evaluate import metrics_of
from csrd.metrics.metric import Reference
from csrd.metrics.perceptual import Lpips, PDist, with_backbone

torch.set_num_threads(1)
SHAPE = (40, 44, 4)


@pytest.fixture(scope="module")
def reference() -> Reference:
    draw = np.random.default_rng(3)
    array = gaussian_filter(draw.random(SHAPE), (2, 2, 1))
    array = (10 * (array - array.min()) / np.ptp(array)).astype(np.float32)
    x, y, _ = np.indices(SHAPE)
    return Reference(Volume(array, centred_affine(SHAPE, 2.0), "kBq/mL"), np.hypot(x - 19.5, y - 21.5) < 17)


@pytest.fixture(scope="module")
def metric(reference) -> PDist:
    return PDist(reference, Metrics())


@pytest.mark.parametrize("kind", ["noise", "blur"])
def test_rises_with_noise_and_with_blur(reference, metric, kind):
    noise = np.random.default_rng(5).standard_normal(SHAPE).astype(np.float32)
    found = []
    for strength in (0, 0.5, 1.0, 1.5, 2.0):
        array = reference.pet.array
        array = (
            array + strength * noise if kind == "noise" else gaussian_filter(array, (strength, strength, 0))
        )
        found.append(metric(reference.pet.like(array)))
    assert found[0] == 0 and all(b > a for a, b in zip(found, found[1:], strict=False)), found


def test_neither_the_unit_nor_the_outside_counts(reference, metric):
    noise = np.random.default_rng(6).standard_normal(SHAPE).astype(np.float32)
    noisy, changed = reference.pet.array + noise, reference.pet.array.copy()
    changed[~reference.mask] = 1e3
    assert metric(reference.pet.like(changed)) == 0
    doubled = PDist(Reference(reference.pet.like(reference.pet.array * 4), reference.mask), Metrics())
    assert doubled(reference.pet.like(noisy * 4)) == pytest.approx(
        metric(reference.pet.like(noisy)), rel=1e-6
    )


@pytest.fixture(scope="module")
def alexnet() -> dict:
    """Return tensors by torchvision's names for AlexNet's features, made for the test."""
    shapes = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
    draw, state = torch.Generator().manual_seed(0), {}
    for layer, (after, before, size) in shapes.items():
        weight = torch.randn((after, before, size, size), generator=draw) / (before * size**2) ** 0.5
        state |= {f"features.{layer}.weight": weight, f"features.{layer}.bias": torch.zeros(after)}
    return state


def test_lpips_has_the_given_backbone_and_the_packages_heads(reference, alexnet, monkeypatch):
    """Zhang 2018, eq. 1, written out; the ScalingLayer's numbers are ImageNet's for images in −1 … 1."""
    monkeypatch.setattr(perceptual, "alex_lpips", lambda folder: with_backbone(alexnet, "test"))
    metric = Lpips(reference, Metrics(vgg="vgg19", lpips=True))
    noisy = reference.pet.array + np.random.default_rng(6).standard_normal(SHAPE).astype(np.float32)
    package = find_spec("lpips").submodule_search_locations[0]
    heads = torch.load(f"{package}/weights/v0.1/alex.pth", map_location="cpu", weights_only=True)
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])

    def layers(array):
        grey = np.clip(reference.slices(array) / reference.data_range, 0, 1)
        x = (torch.from_numpy(grey).float()[:, None] * 2 - 1 - shift.view(3, 1, 1)) / scale.view(3, 1, 1)
        for layer, (stride, padding) in {0: (4, 2), 3: (1, 2), 6: (1, 1), 8: (1, 1), 10: (1, 1)}.items():
            x = functional.max_pool2d(x, 3, 2) if layer in (3, 6) else x
            weight, bias = (alexnet[f"features.{layer}.{part}"] for part in ("weight", "bias"))
            x = functional.relu(functional.conv2d(x, weight, bias, stride, padding))
            yield functional.normalize(x, dim=1, eps=1e-10)

    expected = 0.0
    for i, (a, b) in enumerate(zip(layers(reference.pet.array), layers(noisy), strict=True)):
        head = heads[f"lin{i}.model.1.weight"]
        expected += ((a - b) ** 2 * head).sum(dim=1).mean(dim=(1, 2)).mean().item()
    assert metric(reference.pet.like(noisy)) == pytest.approx(expected, rel=1e-4) and expected > 0.005
    assert metric(reference.pet) == 0


def test_a_backbone_that_lacks_a_layer_is_refused(alexnet):
    part = {key: value for key, value in alexnet.items() if key != "features.8.bias"}
    with pytest.raises(InputError, match="lacks features.8.bias; take torchvision's AlexNet"):
        with_backbone(part, "test.pth")


def test_absent_weights_stop_before_anything_is_computed(reference, tmp_path):
    for settings, network in (({}, "vgg19"), ({"lpips": True}, "vgg19")):
        chosen = Metrics(vgg="vgg19", weights=str(tmp_path), **settings)
        with pytest.raises(InputError, match=f"run: csrd weights {network} {tmp_path}"):
            metrics_of(reference.pet, reference.mask, chosen)

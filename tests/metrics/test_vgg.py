import numpy as np
import onnxruntime
import pytest
import torch
from scipy.ndimage import gaussian_filter

from csrd import imagenet
from csrd.errors import InputError
from csrd.imagenet import Weights, verified
from csrd.metrics import vgg
from csrd.metrics.operators import import_torchvision

torch.set_num_threads(1)


@pytest.fixture
def slices() -> np.ndarray:
    grey = gaussian_filter(np.random.default_rng(1).random((2, 64, 48)), (0, 2, 2))
    return ((grey - grey.min()) / np.ptp(grey)).astype(np.float32)


@pytest.fixture(scope="module")
def state() -> dict:
    """Return tensors by torchvision's names for VGG-19's features, made for the test."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = import_torchvision().models.vgg19(weights=None).features
    return {f"features.{key}": value for key, value in network.state_dict().items()}


@pytest.fixture
def stored(state, tmp_path, monkeypatch):
    """Return a folder that holds `state` as VGG-19's file, with its hash as the expected one."""
    torch.save(state, tmp_path / "vgg19-test.pth")
    digest = imagenet.sha256(tmp_path / "vgg19-test.pth")
    monkeypatch.setitem(imagenet.WEIGHTS, "vgg19", Weights("VGG-19", "vgg19-test.pth", digest))
    vgg.load.cache_clear()
    yield tmp_path
    vgg.load.cache_clear()


def test_vgg19_is_torchvisions_up_to_conv5_4_before_its_rectifier(stored, state, slices):
    ours = vgg.load("vgg19", str(stored))
    single = vgg.Vgg("vgg19", [(w.float().numpy(), b.float().numpy()) for w, b in ours.filters], bf16=False)
    torchvision = import_torchvision()
    theirs = torchvision.models.vgg19(weights=None).features
    rounded = {key.removeprefix("features."): value.to(ours.dtype).float() for key, value in state.items()}
    theirs.load_state_dict(rounded)
    grey = torch.from_numpy(slices)[:, None].expand(-1, 3, -1, -1)
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    for standardise in (True, False):
        shown = torchvision.transforms.functional.normalize(grey, mean, std) if standardise else grey
        with torch.inference_mode():
            expected = theirs[:35](shown).numpy()
        found = single.features(slices, standardise)
        assert found.shape == (2, 512, 4, 3) and (expected < 0).any(), "not rectified"
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


def test_other_content_is_refused(stored, state):
    (stored / "vgg19-test.pth").write_bytes(b"something else")
    with pytest.raises(InputError, match="is not the VGG-19 expected"):
        vgg.load("vgg19", str(stored))


def test_a_file_of_other_layers_is_refused(stored, state, monkeypatch):
    for broken, message in (
        ({k: v for k, v in state.items() if "34" not in k}, "lacks features.34"),
        (state | {"features.0.weight": torch.zeros(64, 1, 3, 3)}, r"has filters \(64, 1, 3, 3\)"),
    ):
        torch.save(broken, stored / "vgg19-test.pth")
        digest = imagenet.sha256(stored / "vgg19-test.pth")
        monkeypatch.setitem(imagenet.WEIGHTS, "vgg19", Weights("VGG-19", "vgg19-test.pth", digest))
        with pytest.raises(InputError, match=message):
            vgg.load("vgg19", str(stored))


def test_vgg16_is_the_packaged_model_up_to_conv5_3():
    """onnxruntime on the same file, its graph extended by one output: conv5_3 before the rectifier."""
    path = verified("vgg16", "")
    layer = b"functional_1/block5_conv3_1/BiasAdd:0"
    # concatenated protobuf messages merge: model.graph (7) .output (12) .name (1)
    output = bytes([10, len(layer)]) + layer
    graph = bytes([98, len(output)]) + output
    model = path.read_bytes() + bytes([58, len(graph)]) + graph
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    image = gaussian_filter(np.random.default_rng(2).random((1, 240, 240)), (0, 4, 4))
    image = ((image - image.min()) / np.ptp(image)).astype(np.float32)
    shown = 255 * image[..., None] - np.array([103.939, 116.779, 123.68], np.float32)
    expected = session.run([layer.decode()], {"input": shown})[0]

    found = vgg.Vgg("vgg16", vgg._onnx_filters("vgg16", path), bf16=False).features(image)
    assert found.shape == (1, 512, 15, 15) and (expected < 0).any() and (expected > 0).any()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_bf16_agrees_with_single_precision(slices):
    """P_dist of a noisy image; docs/metrics.md states 2 %."""
    filters = vgg._onnx_filters("vgg16", verified("vgg16", ""))
    noisy = slices + 0.05 * np.random.default_rng(4).standard_normal(slices.shape)
    noisy = np.clip(noisy, 0, 1).astype(np.float32)
    distances = []
    for bf16 in (True, False):
        network = vgg.Vgg("vgg16", filters, bf16)
        distances.append(np.mean(np.square(network.features(noisy) - network.features(slices))))
    assert distances[0] == pytest.approx(distances[1], rel=0.02)
    assert distances[0] != distances[1], "both ran in one precision"


def test_slices_do_not_depend_on_their_batch(slices):
    network = vgg.load("vgg16", "")
    many = np.concatenate([slices] * 9)
    assert np.array_equal(network.features(many)[-2:], network.features(many[:2]))

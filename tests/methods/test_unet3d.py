"""The supervised 3D network: what it is built of, what it takes, and that it learns."""

import numpy as np
import pytest
import torch

from csrd.config import load
from csrd.config.sections import Augment
from csrd.errors import InputError
from csrd.io.volume import Volume
from csrd.methods import FitContext
from csrd.methods.learned.scaling import Head, ResidualDeviation
from csrd.methods.unet3d import UNet3d, Unet3dCalibration
from csrd.networks.folded import Folded
from csrd.train.patches import Batch
from tests.methods.conftest import ONE_THREAD, head

DRF = 4
SMALL = {
    "channels": [16, 16], "stem": 1, "patch": 16, "training": {"steps": 160, "batch": 2, "lr": 0.003}
}  # fmt: skip
CALIBRATION = Unet3dCalibration(residual_sd=ResidualDeviation(intercept=-3.0, slope=0.5))


def untrained(**differs) -> UNet3d:
    torch.manual_seed(0)
    settings = load({"unet3d": {**SMALL, **differs}}).of_method("unet3d")
    return UNet3d(settings, CALIBRATION, network=UNet3d(settings).build())


@pytest.fixture(scope="module")
def model(pairs, tmp_path_factory) -> UNet3d:
    folder = tmp_path_factory.mktemp("unet3d")
    UNet3d.fit(pairs, load({"unet3d": SMALL}).of_method("unet3d"), folder, ONE_THREAD)
    return UNet3d.load(folder)


@pytest.mark.parametrize(("stem", "dose", "coordinates"), [(2, True, True), (1, False, False)])
def test_the_network_has_two_resolutions_of_residual_units(stem, dose, coordinates):
    a, b, ends = 16, 16, stem**3

    def conv(inner: int, outer: int, size: int = 3) -> int:
        return size**3 * inner * outer + outer

    inputs = (2 + dose + 3 * coordinates) * ends
    first = conv(inputs, a) + conv(a, a) + conv(inputs, a, 1)  # two convolutions, and one past them
    second = conv(a, b) + conv(b, b) + conv(a, b)
    bottom = conv(b, b) + conv(b, b)
    slopes = 2 + 2 + 2 + 2 + 1  # of the activations: two a unit and one after each step up but the last unit
    up = conv(b + b, a) + conv(a, a) + conv(a + a, a) + conv(a, a) + conv(a, ends, 1)
    network = untrained(stem=stem, dose=dose, coordinates=coordinates).network
    assert sum(weight.numel() for weight in network.parameters()) == first + second + bottom + up + slopes
    assert isinstance(network, Folded) and network.factor == 2 * stem


def test_a_stem_is_undone():
    x = torch.randn(2, 3, 4, 8, 12)
    assert torch.equal(Folded(torch.nn.Identity(), 2, 4, 1.0)(x), x)


@pytest.mark.parametrize(("loss", "expected"), [("absolute", 2.0), ("squared", 5.0)])
def test_the_loss_is_the_residuals_error(loss, expected):
    one = untrained(loss=loss)
    torch.nn.utils.vector_to_parameters(
        torch.zeros(sum(p.numel() for p in one.network.parameters())), one.network.parameters()
    )  # it returns 0
    target = torch.tensor([1.0, 3.0]).repeat(256).reshape(1, 1, 8, 8, 8)
    batch = Batch(torch.rand(1, 5, 8, 8, 8), target, torch.ones(1), [])
    assert one.losses(batch).tolist() == pytest.approx([expected])


def test_the_residual_is_subtracted_in_the_unit_of_its_dose():
    class Ones(torch.nn.Module):
        def forward(self, x):
            return torch.ones_like(x[:, :1])

    one, low = untrained(), head(4, DRF).low
    one.network = Folded(Ones(), 1, 2, 1.0)
    inside = low.array > 8000  # nowhere near the cut at zero
    taken = [(low.array - one.apply(low, head(4, DRF).mr, drf).array)[inside] for drf in (4, 16)]
    np.testing.assert_allclose(taken[0], Head.of(low).scale * np.exp(-3) * 2, rtol=1e-3)
    np.testing.assert_allclose(taken[1] / taken[0], 2, rtol=1e-3)  # slope one half


def test_denoises_a_head_it_has_not_seen(model):
    pair = head(4, DRF)
    inside = pair.mask.array > 0
    out = model.apply(pair.low, pair.mr, DRF)
    before, after = (np.abs(image.array - pair.normal.array)[inside].mean() for image in (pair.low, out))
    assert out.same_grid(pair.low) and out.unit == pair.low.unit and out.array.min() >= 0
    assert after < 0.6 * before


def test_a_turned_file_gives_the_same_image(model):
    pair, order = head(4, DRF), (2, 0, 1)
    turned = [
        Volume(image.array.transpose(order), image.affine[:, [*order, 3]], image.unit)
        for image in (pair.low, pair.mr)
    ]
    straight, other = model.apply(pair.low, pair.mr, DRF), model.apply(*turned, DRF)
    assert np.array_equal(other.array, straight.array.transpose(order))


def test_tiles_equal_the_complete_volume(model, monkeypatch):
    pair = head(4, DRF)
    low, mr = (
        Volume(np.tile(image.array, (4, 1, 1)), image.affine, image.unit) for image in (pair.low, pair.mr)
    )  # 88 voxels long
    whole = model.apply(low, mr, DRF).array
    seen, predicted = [], model._predicted
    monkeypatch.setattr("csrd.diffusion.posterior.tile_that_fits", lambda *_: 64)
    monkeypatch.setattr(model, "_predicted", lambda x, dose: seen.append(x.shape[2]) or predicted(x, dose))
    np.testing.assert_allclose(model.apply(low, mr, DRF).array, whole, atol=1)  # the halo covers its field
    assert max(seen) == 64 and len(seen) == 3 * 4, "three tiles of each of the views"


def test_the_mr_and_the_dose_are_inputs(model):
    pair = head(4, DRF)
    images = [
        model.apply(pair.low, mr, drf).array
        for mr, drf in ((pair.mr, 4), (pair.mr, 8), (pair.mr.like(pair.mr.array[::-1].copy()), 4))
    ]
    assert not np.array_equal(images[0], images[1]) and not np.array_equal(images[0], images[2])
    with pytest.raises(InputError, match="^unet3d needs the MR"):
        model.apply(pair.low, None, DRF)


def test_a_model_that_was_trained_without_mr_in_part_takes_a_scan_without(pairs, model, tmp_path):
    pair, short = head(4, DRF), load({"unet3d": {**SMALL, "training": {"steps": 4}}}).of_method("unet3d")
    augment = Augment(lesions=0.5, mr_shift_mm=2.0, mr_missing=0.5)
    UNet3d.fit(pairs, short, tmp_path, FitContext(seed=1, augment=augment))
    found = UNet3d.load(tmp_path)
    assert found.card["augment"] == augment.model_dump()
    without, beside = (found.apply(pair.low, mr, DRF).array for mr in (None, pair.mr))
    assert np.isfinite(without).all() and not np.array_equal(without, beside)


def test_a_patch_that_the_network_cannot_halve_is_refused():
    with pytest.raises(InputError, match=r"unet3d: patch is 30; this network needs a multiple of 8"):
        load({"unet3d": {"patch": 30}})

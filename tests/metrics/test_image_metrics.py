import numpy as np
import pytest
import torch
from skimage.metrics import (
    mean_squared_error,
    normalized_root_mse,
    peak_signal_noise_ratio,
    structural_similarity,
)

from csrd.config.sections import Metrics
from csrd.errors import InputError
from csrd.io.volume import Volume, centred_affine
from csrd.metrics import PROTOCOLS
from csrd.metrics.evaluate import metrics_of
from csrd.metrics.metric import Reference
from csrd.metrics.operators import import_torchvision

SHAPE, SETTINGS = (24, 20, 16), Metrics()


@pytest.fixture
def reference() -> Volume:
    x, y, z = np.indices(SHAPE)
    array = 5 + 3 * np.sin(x / 3) + 2 * np.cos(y / 4) + np.sin(z / 2)
    return Volume(array.astype(np.float32), centred_affine(SHAPE, 2.0), "kBq/mL")


@pytest.fixture
def mask() -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[3:20, 4:17, 2:14] = True
    return mask


@pytest.fixture
def noisy(reference) -> Volume:
    noise = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
    return reference.like(reference.array + noise)


def values(reference, mask, image) -> dict:
    return {key: metric(image) for key, metric in metrics_of(reference, mask, SETTINGS).items()}


def test_equal_images(reference, mask):
    equal = {
        "mae": 0.0,
        "psnr": np.inf,
        "ssim": pytest.approx(1.0),
        "h_dist": 0.0,
        "p_dist": 0.0,
        "nrmse": 0.0,
    }
    assert values(reference, mask, reference) == equal


def test_a_constant_shift(reference, mask):
    found = values(reference, mask, reference.like(reference.array + np.float32(0.25)))
    peak = float(reference.array[mask].max())
    assert found["mae"] == pytest.approx(0.25, rel=1e-5)
    assert found["psnr"] == pytest.approx(20 * np.log10(peak / 0.25), abs=1e-4)


def test_nrmse_agrees_with_skimage(reference, mask, noisy):
    expected = normalized_root_mse(reference.array[mask], noisy.array[mask], normalization="euclidean")
    assert values(reference, mask, noisy)["nrmse"] == pytest.approx(expected, rel=1e-6)


def test_agrees_with_torchmetrics(reference, mask, noisy):
    import_torchvision()  # which torchmetrics imports
    from torchmetrics import functional
    from torchmetrics.functional.image import peak_signal_noise_ratio

    found = values(reference, mask, noisy)
    x, y = (torch.from_numpy(volume.array[mask]).double() for volume in (reference, noisy))
    assert found["mae"] == pytest.approx(functional.mean_absolute_error(y, x).item(), rel=1e-9)
    peak = float(reference.array[mask].max())
    assert found["psnr"] == pytest.approx(peak_signal_noise_ratio(y, x, data_range=peak).item(), abs=1e-6)
    # over the norm, not over the root of the mean square
    over_norm = functional.normalized_root_mean_squared_error(y, x, normalization="l2").item()
    assert found["nrmse"] == pytest.approx(over_norm * np.sqrt(mask.sum()), rel=1e-6)


def test_agrees_with_skimage(reference, mask, noisy):
    found = values(reference, mask, noisy)
    peak = float(reference.array[mask].max())
    x, y = reference.array.astype(float), noisy.array.astype(float)
    assert found["psnr"] == pytest.approx(
        peak_signal_noise_ratio(x[mask], y[mask], data_range=peak), abs=1e-6
    )
    assert found["psnr"] == pytest.approx(
        10 * np.log10(peak**2 / mean_squared_error(x[mask], y[mask])), abs=1e-6
    )
    maps = [
        structural_similarity(
            x[..., k],
            y[..., k],
            data_range=peak,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )[1]
        for k in range(SHAPE[2])
    ]
    assert found["ssim"] == pytest.approx(np.stack(maps, axis=-1)[mask].mean(), abs=1e-9)


def test_only_voxels_of_the_mask_count(reference, mask, noisy):
    changed = noisy.array.copy()
    changed[0, 0, 0] = 1e6  # in an axial slice that the mask does not reach
    before, after = values(reference, mask, noisy), values(reference, mask, noisy.like(changed))
    assert before == after


def test_axial_slices_follow_the_affine(reference, mask, noisy):
    # The same images with the array's axes permuted: the world, and so every value, is the same.
    order = (2, 0, 1)
    affine = reference.affine[:, [*order, 3]]

    def permuted(volume):
        return Volume(np.ascontiguousarray(volume.array.transpose(order)), affine, volume.unit)

    assert Reference(permuted(reference), mask.transpose(order)).axial_axis == 0
    turned = values(permuted(reference), mask.transpose(order), permuted(noisy))
    assert turned == pytest.approx(values(reference, mask, noisy), rel=1e-9)


def test_values_do_not_depend_on_the_unit_where_they_should_not(reference, mask, noisy):
    # by a power of two, so that no voxel changes its grey level by rounding
    bq = values(reference.like(reference.array * 1024), mask, noisy.like(noisy.array * 1024))
    kbq = values(reference, mask, noisy)
    assert bq.pop("mae") == pytest.approx(1024 * kbq.pop("mae"), rel=1e-5)
    assert bq == pytest.approx(kbq, rel=1e-5)


def test_what_cannot_be_compared_is_refused(reference, mask, noisy):
    for message, pet, head, image in (
        ("mask is empty", reference, np.zeros_like(mask), noisy),
        ("no voxel above zero", reference.like(np.zeros(SHAPE, np.float32)), mask, noisy),
        ("mask has shape", reference, mask[1:], noisy),
        ("grid", reference, mask, Volume(noisy.array, centred_affine(SHAPE, 1.0), "kBq/mL")),
        ("not finite", reference, mask, noisy.like(np.where(mask, np.nan, noisy.array))),
        ("not finite", noisy.like(np.where(mask, np.inf, noisy.array)), mask, noisy),
        ("is in Bq/mL", reference, mask, noisy.like(noisy.array, "Bq/mL")),
    ):
        with pytest.raises(InputError, match=message):
            values(pet, head, image)


def test_slices_smaller_than_the_window_are_refused():
    small = Volume(np.ones((10, 30, 30), np.float32), centred_affine((10, 30, 30), 1.0))
    with pytest.raises(InputError, match="smaller than SSIM's window"):
        metrics_of(small, np.ones(small.shape, bool), SETTINGS)


def test_every_metric_says_what_it_is():
    for metrics in PROTOCOLS.values():
        for key, metric in metrics.items():
            assert metric.key == key and metric.__doc__ and metric.data_range and metric.domain
            assert isinstance(metric.lower_better, bool)
    released, ours = PROTOCOLS["released"], PROTOCOLS["default"]
    differ = {key for key in ours if released[key].domain != ours[key].domain}
    assert differ == {"mae", "psnr", "ssim", "h_dist", "p_dist"}

"""The released protocol written out with skimage and mahotas."""

import mahotas
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from csrd.config.sections import Metrics
from csrd.errors import InputError
from csrd.io.volume import Volume, centred_affine
from csrd.metrics import vgg
from csrd.metrics.evaluate import metrics_of
from csrd.metrics.released import h_dist

torch.set_num_threads(1)
SHAPE = (32, 32, 23)
SETTINGS = Metrics(protocol="released")


@pytest.fixture(scope="module")
def volumes() -> dict[str, Volume]:
    draw = np.random.default_rng(0)
    normal = gaussian_filter(draw.random(SHAPE), 2)
    normal = 5e3 * (normal - normal.min()) / np.ptp(normal)
    noise = draw.standard_normal(SHAPE) * 400
    arrays = {
        "normal": normal,
        "low": np.maximum(normal + noise, 0),
        "image": np.maximum(normal + noise / 4, 0),
    }
    affine = centred_affine(SHAPE, 2.0)
    return {name: Volume(array.astype(np.float32), affine, "Bq/mL") for name, array in arrays.items()}


@pytest.fixture(scope="module")
def found(volumes) -> dict[str, float]:
    mask = np.zeros(SHAPE, bool)
    mask[10:20, 10:20, 10:12] = True  # which must not matter
    metrics = metrics_of(volumes["normal"], mask, SETTINGS, volumes["low"])
    return {key: metric(volumes["image"]) for key, metric in metrics.items()}


@pytest.fixture(scope="module")
def pairs(volumes) -> list[tuple[np.ndarray, np.ndarray]]:
    peak = volumes["low"].array.max()
    return [tuple(volumes[name].array[..., z] / peak for name in ("normal", "image")) for z in (10, 11, 12)]


def test_mae_is_of_whole_inner_slices(volumes, found):
    x, y = (volumes[name].array[..., 10:-10] for name in ("normal", "image"))
    assert found["mae"] == pytest.approx(np.abs(x - y).mean(), rel=1e-5)


def test_psnr_and_ssim_are_skimages_a_slice(pairs, found):
    expected = np.mean([peak_signal_noise_ratio(x, y, data_range=1) for x, y in pairs])
    assert found["psnr"] == pytest.approx(expected, abs=1e-4)
    expected = np.mean([structural_similarity(x, y, data_range=1) for x, y in pairs])
    assert found["ssim"] == pytest.approx(expected, rel=1e-5)


def test_h_dist_sums_magnitudes_over_the_denoised_value(pairs, found):
    distances = []
    for pair in pairs:
        h, g = (mahotas.features.haralick((255 * x).astype(int)).mean(axis=0) for x in pair)
        distances.append(np.sum(np.abs(h - g) / np.abs(g)))
    assert found["h_dist"] == pytest.approx(np.mean(distances), rel=1e-6)
    assert h_dist(np.array([[1.0, 5.0]]), np.array([[4.0, 0.0]])) == 0.75


def test_p_dist_is_not_standardised(pairs, found):
    network = vgg.load("vgg16", SETTINGS.weights)
    upright = [np.stack([pair[i].T[::-1] for pair in pairs]) for i in (0, 1)]
    x, y = (network.features(s, standardise=False) for s in upright)
    assert found["p_dist"] == pytest.approx(np.mean((x - y) ** 2), rel=1e-5)
    x, y = (network.features(s) for s in upright)
    assert found["p_dist"] != pytest.approx(np.mean((x - y) ** 2), rel=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda low: None, "give the low-dose image"),
        (lambda low: low.like(low.array * 0), "low dose has no voxel above zero"),
        (lambda low: low.like(low.array * np.nan), "low dose has 23552 voxels that are not finite"),
        (lambda low: Volume(low.array, np.eye(4)), "the low dose is not on the grid of the reference"),
    ],
)
def test_a_low_dose_that_cannot_scale_is_refused(volumes, change, message):
    with pytest.raises(InputError, match=message):
        metrics_of(volumes["normal"], np.ones(SHAPE, bool), SETTINGS, change(volumes["low"]))


def test_too_few_slices_are_refused(volumes):
    thin = Volume(volumes["normal"].array[..., :20], np.eye(4))
    with pytest.raises(InputError, match="20 axial slices and the protocol released leaves out 20"):
        metrics_of(thin, np.ones(thin.shape, bool), SETTINGS, thin)


def test_slices_beyond_a_short_field_of_view_do_not_count(volumes, found):
    shape = (*SHAPE[:2], 60)  # 10 slices are left out at either end, 27 of these 40 are empty

    def padded(volume: Volume) -> Volume:
        array = np.zeros(shape, np.float32)
        array[..., 20:43] = volume.array
        return Volume(array, centred_affine(shape, 2.0), volume.unit)

    normal, low, image = (padded(volumes[name]) for name in ("normal", "low", "image"))
    metrics = metrics_of(normal, normal.array > 0, SETTINGS, low)
    stacks = [volumes[name].array.T / low.array.max() for name in ("normal", "image")]
    expected = [peak_signal_noise_ratio(x, y, data_range=1) for x, y in zip(*stacks, strict=True)]
    assert metrics["psnr"](image) == pytest.approx(np.mean(expected), abs=1e-4)


def test_slices_smaller_than_a_window(volumes):
    small = {name: Volume(v.array[:6], v.affine, v.unit) for name, v in volumes.items()}
    with pytest.raises(InputError, match="6×32 voxels are smaller than SSIM's window of 7"):
        metrics_of(small["normal"], small["normal"].array > 0, SETTINGS, small["low"])["ssim"]

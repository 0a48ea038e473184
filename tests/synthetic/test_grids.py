"""Filters, fields and resampling against scipy."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from csrd.synthetic.grids import gaussian, random_field, resampled, sampled, sampling_grid


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).random((19, 24, 15)).astype(np.float32)


@pytest.mark.parametrize("sigma", [0.6, 2.3, 5.0, (1.0, 0.5, 3.0)])
def test_gaussian_is_scipys(image, sigma):
    found = gaussian(torch.from_numpy(image), sigma).numpy()
    assert np.allclose(found, ndimage.gaussian_filter(image, sigma), atol=1e-5)


def test_resampling_is_linear_and_mirrored(image):
    shape, step, start = (30, 20, 40), (0.7, 1.9, 1.0), (5.3, -4.6, 31.25)
    found = resampled(torch.from_numpy(image), shape, step, start).numpy()
    places = np.meshgrid(
        *(first + by * np.arange(n) for n, by, first in zip(shape, step, start, strict=True)), indexing="ij"
    )
    assert np.allclose(found, ndimage.map_coordinates(image, places, order=1, mode="reflect"), atol=1e-4)


def test_sampling_follows_the_matrix(image):
    matrix = np.eye(4)
    matrix[:3, :3] = np.diag([0.8, 1.3, 0.9]) @ [[0.98, 0.17, 0], [-0.17, 0.98, 0], [0, 0, 1]]
    matrix[:3, 3] = 1.5, 4.0, 2.25
    shape = (12, 10, 9)
    grid = sampling_grid(shape, image.shape, matrix, torch.device("cpu"))
    found = sampled(torch.from_numpy(image)[None], grid)[0].numpy()
    expected = ndimage.affine_transform(image, matrix[:3, :3], matrix[:3, 3], shape, order=1, cval=np.nan)
    inside = np.isfinite(expected)
    assert inside.mean() > 0.5
    assert np.allclose(found[inside], expected[inside], atol=1e-4)


def test_random_field_has_unit_variance_and_a_gaussian_covariance():
    generator = torch.Generator().manual_seed(1)
    field = random_field((64, 64, 64), 2.0, generator, channels=4).numpy()
    assert field.std() == pytest.approx(1, abs=0.05)
    assert field[:, [0, -1]].std() == pytest.approx(1, abs=0.15)  # at the border as elsewhere
    covariance = (field[:, :-4] * field[:, 4:]).mean() / field.var()
    assert covariance == pytest.approx(np.exp(-(4**2) / (4 * 2.0**2)), abs=0.05)

"""Regression of a PET on an MR in Gaussian windows, against weighted least squares by numpy."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from csrd.synthetic.guided import RIDGE, WINDOWS_MM, guided, regressed

VOXEL_MM = 2.0
SHAPE = (20, 22, 24)


def single(array: np.ndarray) -> torch.Tensor:
    return torch.tensor(array, dtype=torch.float32)


@pytest.fixture
def images() -> tuple[np.ndarray, np.ndarray]:
    """Smooth random regressors (2, X, Y, Z), and an image that is partly a line through them."""
    rng = np.random.default_rng(5)
    x = np.stack([ndimage.gaussian_filter(rng.normal(1, 4, SHAPE), 1.5) for _ in range(2)])
    return x, 2 + 0.7 * x[0] - 0.4 * x[1] + rng.normal(0, 0.3, SHAPE)


def test_a_line_through_the_regressors_is_found(images):
    x, _ = images
    line = 2 + 0.7 * x[0] - 0.4 * x[1]
    found = regressed(single(line), single(x), 2.0).numpy()
    assert np.abs(found - line).max() < 0.02 * line.std()  # the ridge makes the slopes a little too small


def test_the_coefficients_are_those_of_weighted_least_squares(images):
    """A window's line, and the mean of the lines of all windows that hold a voxel."""
    x, y = images
    width, radius = 1.0, 4
    unit = np.zeros((2 * radius + 1,) * 3)
    unit[radius, radius, radius] = 1
    weights = ndimage.gaussian_filter(unit, width, truncate=4.0)
    ridge = [RIDGE * np.mean(ndimage.gaussian_filter(one**2, width, mode="reflect")
             - ndimage.gaussian_filter(one, width, mode="reflect") ** 2) for one in x]  # fmt: skip

    def line(at: np.ndarray) -> np.ndarray:
        box = tuple(slice(i - radius, i + radius + 1) for i in at)
        w, columns = np.sqrt(weights).ravel(), np.stack([np.ones_like(x[0][box]), *(one[box] for one in x)])
        matrix, values = (columns.reshape(3, -1) * w).T, y[box].ravel() * w
        penalty = np.diag([0.0, *np.sqrt(ridge)])
        return np.linalg.lstsq(np.vstack([matrix, penalty]), np.append(values, np.zeros(3)), rcond=None)[0]

    centre = np.array([10, 11, 12])
    lines = {
        offset: line(centre + offset - radius) for offset in np.ndindex(weights.shape) if weights[offset]
    }
    mean = sum(weights[offset] * found for offset, found in lines.items())
    expected = mean @ [1, *x[(slice(None), *centre)]]
    found = regressed(single(y), single(x), width)[tuple(centre)]
    assert float(found) == pytest.approx(expected, rel=1e-4)


def test_edges_that_only_the_mr_shows_come_back_from_a_noisy_image():
    rng = np.random.default_rng(6)
    ball = (np.add.outer(np.add.outer(*(np.linspace(-1, 1, 40)[None] ** 2).repeat(2, 0)),
            np.linspace(-1, 1, 40) ** 2) < 0.5).astype(float)  # fmt: skip
    truth = ndimage.gaussian_filter(2 - ball, 6 / 2.355 / VOXEL_MM)  # dark where the MR is bright
    noisy = truth + ndimage.gaussian_filter(rng.normal(0, 2, truth.shape), 1)
    pet, mr = single(noisy), single(0.5 + ball)
    with_mr, without = guided(pet, mr, VOXEL_MM), guided(pet, None, VOXEL_MM)
    errors = [float((one - torch.tensor(truth)).square().mean()) for one in (*with_mr, *without)]
    assert min(errors[:4]) < 0.4 * min(errors[4:])


def test_without_an_mr_the_images_are_filtered_twice():
    pet = torch.zeros(24, 24, 24)
    pet[12, 12, 12] = 1
    found = guided(pet, None, VOXEL_MM)
    for one, sigma_mm in zip(found, WINDOWS_MM * 2, strict=True):
        expected = ndimage.gaussian_filter(pet.numpy(), sigma_mm * np.sqrt(2) / VOXEL_MM)
        assert np.abs(one.numpy() - expected).max() < 0.03 * expected.max()


def test_a_constant_mr_tells_nothing():
    pet = torch.rand(16, 16, 16)
    found, without = guided(pet, torch.ones_like(pet), VOXEL_MM), guided(pet, None, VOXEL_MM)
    assert torch.isfinite(found).all() and (found - without).abs().max() < 0.02

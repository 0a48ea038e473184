import numpy as np
import pytest
from scipy import ndimage

from csrd.seeds import generator
from csrd.virtual.mr import random_misplacement, rician, simulate_mr
from csrd.virtual.regions import REGIONS

COARSE = (3.0, 3.0, 3.5)


@pytest.fixture(scope="module")
def scan(anatomy):
    return simulate_mr(anatomy, 7, "01", COARSE)


def on_pet_grid(image, grid, matrix) -> np.ndarray:
    """Return the MR resampled onto the PET grid with `matrix`, PET world <- MR world."""
    to_mr = np.linalg.inv(matrix @ image.affine) @ grid.affine
    return ndimage.affine_transform(
        image.array, to_mr[:3, :3], to_mr[:3, 3], output_shape=grid.shape, order=1
    )


def test_the_matrix_lays_the_mr_onto_the_head(anatomy, scan):
    image, matrix = scan
    brain = anatomy.brain.array
    truth = anatomy.t1.array[brain]

    def agreement(guess):
        return np.corrcoef(on_pet_grid(image, anatomy.labels, guess)[brain], truth)[0, 1]

    assert agreement(matrix) > 0.85
    assert agreement(matrix) > agreement(np.eye(4)) + 0.1
    assert agreement(matrix) > agreement(np.linalg.inv(matrix)) + 0.1


@pytest.mark.parametrize("n", range(5))
def test_the_misplacement_is_rigid_and_within_its_range(n):
    matrix = random_misplacement(generator(n, "test"))
    turn = matrix[:3, :3]
    assert np.allclose(turn @ turn.T, np.eye(3)) and np.linalg.det(turn) == pytest.approx(1)
    assert 2 <= np.degrees(np.arccos((np.trace(turn) - 1) / 2)) <= 6
    assert 3 <= np.linalg.norm(matrix[:3, 3]) <= 8


def test_the_mr_has_a_space_of_its_own_that_holds_the_head(anatomy, scan):
    image, matrix = scan
    assert np.allclose(image.voxel_mm, COARSE)
    directions = image.affine[:3, :3] / image.voxel_mm
    assert directions[0, 0] < 0 and np.abs(directions).max() < 1  # to the left, oblique
    head = (
        np.argwhere(anatomy.labels.array > 0) @ anatomy.labels.affine[:3, :3].T + anatomy.labels.affine[:3, 3]
    )
    to_voxels = np.linalg.inv(matrix @ image.affine)
    places = head @ to_voxels[:3, :3].T + to_voxels[:3, 3]
    assert np.all(places >= 0) and np.all(places <= np.array(image.shape) - 1)


def test_skull_is_dark_and_scalp_bright(anatomy, scan):
    seen = on_pet_grid(*[scan[0], anatomy.labels, scan[1]])
    labels = anatomy.labels.array
    mean = {name: seen[labels == label].mean() for name, label in REGIONS.items()}
    assert mean["bone"] < 0.5 * mean["scalp"]
    assert mean["white_matter"] > mean["frontal"] > mean["csf"] > mean["bone"]
    assert seen[ndimage.binary_erosion(labels == 0, iterations=3)].mean() < 0.1 * mean["white_matter"]


def test_the_mr_repeats_and_subjects_differ(anatomy, scan):
    again, matrix = simulate_mr(anatomy, 7, "01", COARSE)
    assert again.array.tobytes() == scan[0].array.tobytes() and np.array_equal(matrix, scan[1])
    _, other = simulate_mr(anatomy, 7, "02", COARSE)
    assert not np.allclose(other, matrix)


def test_noise_in_air_is_rayleigh_and_in_tissue_nearly_normal():
    air = rician(generator(1, "x"), np.zeros((40, 40, 40), np.float32), 0.02)
    tissue = rician(generator(2, "x"), np.ones((40, 40, 40), np.float32), 0.02)
    assert air.mean() == pytest.approx(0.02 * np.sqrt(np.pi / 2), rel=0.01)
    assert tissue.std() == pytest.approx(0.02, rel=0.02)
    assert tissue.mean() == pytest.approx(1 + 0.02**2 / 2, abs=3e-4)

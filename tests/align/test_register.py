import numpy as np
import pytest
from head_phantom import displacement_mm, grid_points, rigid, rotation

from csrd.align.register import crop, register
from csrd.errors import InputError
from csrd.io.volume import Volume, centred_affine
from csrd.resample import resample


def oblique(shape, spacing, angles_deg, centre_mm) -> np.ndarray:
    """Return an affine with turned and partly mirrored axes whose grid has its middle at `centre_mm`."""
    affine = np.eye(4)
    affine[:3, :3] = rotation(*angles_deg) @ np.diag(spacing)
    affine[:3, 3] = centre_mm - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def in_brain(pet) -> np.ndarray:
    points = grid_points(pet.shape, pet.affine).reshape(-1, 3)
    return points[np.linalg.norm(points / (66, 84, 70), axis=1) < 1]


@pytest.mark.parametrize(
    ("angles", "shift", "axes", "spacing"),
    [
        ((10, -6, 8), (15, -12, 9), (0, 0, 0), (1.8, 1.8, 1.8)),
        ((-10, 10, -10), (-15, 15, -15), (12, -7, 20), (-1.6, 2.2, 1.6)),
    ],
    ids=["straight grid", "oblique and mirrored grid"],
)
def test_registration_finds_the_true_matrix(pet, make_mr, angles, shift, axes, spacing):
    truth, shape = rigid(angles, shift), (116, 104, 124)
    mr = make_mr(truth, shape, oblique(shape, spacing, axes, np.array(shift) + (3, -5, 8)))
    found = register(mr, pet, seed=2024, threads=2)
    assert displacement_mm(found, truth, in_brain(pet)).mean() < 0.7
    assert np.allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3), atol=1e-5)


def test_registration_is_reproducible_whatever_the_threads(pet, make_mr):
    mr = make_mr(rigid((4, 3, -5), (6, 2, -4)), (60, 70, 62), centred_affine((60, 70, 62), 3.2))
    first, second = register(mr, pet, 7, threads=1), register(mr, pet, 7, threads=2)
    assert (first == second).all()


def test_registration_refuses_what_it_cannot_use(pet):
    with pytest.raises(InputError, match="no voxel above zero"):
        register(pet.like(np.zeros(pet.shape, np.float32)), pet, 1, 1)
    sheared = pet.affine.copy()
    sheared[0, 1] = 1.0
    with pytest.raises(InputError, match="sheared"):
        register(Volume(pet.array, sheared), pet, 1, 1)


def linear(points) -> np.ndarray:
    return (points @ (0.3, -0.2, 0.5) + 40).astype(np.float32)


@pytest.mark.parametrize("order", [1, 3])
def test_resampling_a_linear_function_is_exact(order):
    # Finer target: no smoothing, and splines of order 1 and 3 reproduce linear functions.
    source_affine = oblique((60, 60, 60), (2.0, -2.5, 2.0), (20, -10, 30), (5, 5, 5))
    source = Volume(linear(grid_points((60, 60, 60), source_affine)), source_affine)
    grid = Volume(np.zeros((21, 23, 25), np.float32), centred_affine((21, 23, 25), 1.0))
    matrix = rigid((5, -4, 3), (2, -3, 4))
    out = resample(source, grid, matrix, order)
    where = grid_points(grid.shape, grid.affine) @ matrix[:3, :3].T + matrix[:3, 3]
    assert np.allclose(out.array, linear(where), atol=2e-3)
    assert out.same_grid(grid) and out.array.dtype == np.float32


def test_resampling_labels_keeps_labels():
    rng = np.random.default_rng(0)
    source = Volume(
        rng.integers(0, 9, (20, 20, 20), dtype=np.int16), centred_affine((20, 20, 20), 1.0), "label"
    )
    grid = Volume(np.zeros((20, 20, 20)), centred_affine((20, 20, 20), 1.5))
    out = resample(source, grid, np.eye(4), 0)
    assert out.array.dtype == np.int16 and out.unit == "label"


def test_detail_finer_than_the_grid_does_not_alias():
    n = 96
    stripes = np.where(np.arange(n) % 2, 100.0, 0.0).astype(np.float32)  # 1 mm, up and down
    fine = Volume(np.broadcast_to(stripes[:, None, None], (n, n, n)).copy(), centred_affine((n, n, n), 1.0))
    coarse = Volume(np.zeros((20, 20, 20), np.float32), centred_affine((20, 20, 20), 3.0))
    smoothed = resample(fine, coarse, np.eye(4), 1).array
    naive = fine.array[18:78:3, 48, 48]
    assert np.std(naive) == 50
    assert np.abs(smoothed - 50).max() < 1


def test_outside_the_field_of_view_is_zero():
    source = Volume(np.ones((5, 5, 5), np.float32), centred_affine((5, 5, 5), 1.0))
    grid = Volume(np.zeros((9, 9, 9), np.float32), centred_affine((9, 9, 9), 1.0))
    out = resample(source, grid, np.eye(4), 1).array
    assert out[4, 4, 4] == 1 and out[0, 0, 0] == 0


@pytest.mark.parametrize("centre", [(0, 0, 0), (13.2, -7.4, 21.9), (60, 0, 0), (500, 0, 0)])
def test_crop_copies_voxels_and_keeps_their_place(centre):
    affine = oblique((30, 31, 32), (2.0, 2.5, -3.0), (10, 20, 30), (1, 2, 3))
    points = grid_points((30, 31, 32), affine)
    volume = Volume(linear(points), affine, "Bq/mL")
    box = crop(volume, (12, 9, 10), np.array(centre))
    there = grid_points(box.shape, box.affine)
    index = (there - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    inside = ((index > -0.5) & (index < np.array(volume.shape) - 0.5)).all(axis=-1)
    assert np.allclose(box.array[inside], linear(there[inside]), atol=1e-4)
    assert (box.array[~inside] == 0).all()
    middle = there.reshape(-1, 3).mean(axis=0)
    offset = np.linalg.solve(affine[:3, :3], middle - centre)
    assert (np.abs(offset) <= 0.5 + 1e-6).all() and box.unit == "Bq/mL"


def test_displacement_of_a_shift_and_of_a_turn():
    points = np.array([[0.0, 0, 0], [0, 100, 0]])
    assert np.allclose(displacement_mm(rigid((0, 0, 0), (3, 4, 0)), np.eye(4), points), [5, 5])
    turned = displacement_mm(rigid((10, 0, 0), (0, 0, 0)), np.eye(4), points)
    assert np.allclose(turned, [0, 2 * 100 * np.sin(np.deg2rad(5))])

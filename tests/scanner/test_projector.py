"""Joseph's projector against closed forms, its adjoint, and its twin for CUDA."""

import os
import subprocess
import sys

import numpy as np
import pytest

from csrd.scanner.projector import back, em_back, forward, private_images

SHAPE = (40, 36, 30)
VOXEL = np.array([2.0, 2.5, 3.0])
ORIGIN = -(np.array(SHAPE) - 1) / 2 * VOXEL


def random_lines(number: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return segments between random points of a sphere around the image."""
    draw = np.random.default_rng(seed)
    ends = draw.normal(size=(2, number, 3))
    ends *= 150 / np.linalg.norm(ends, axis=2, keepdims=True)
    return ends[0].astype(np.float32), ends[1].astype(np.float32)


def grid() -> list[np.ndarray]:
    axes = [ORIGIN[i] + np.arange(SHAPE[i]) * VOXEL[i] for i in range(3)]
    return np.meshgrid(*axes, indexing="ij")


def test_gaussian_blob_has_its_analytic_line_integrals():
    """∫ of exp(−r²/2σ²) along a line at distance d is σ√(2π) exp(−d²/2σ²)."""
    sigma, centre = 11.0, np.array([3.0, -4.0, 2.0])
    x, y, z = grid()
    image = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2) / (2 * sigma**2))
    starts, ends = random_lines(20_000)
    along = (ends - starts) / np.linalg.norm(ends - starts, axis=1, keepdims=True)
    apart = centre - starts
    square = (apart**2).sum(1) - (apart * along).sum(1) ** 2
    expected = sigma * np.sqrt(2 * np.pi) * np.exp(-square / (2 * sigma**2))
    near = square < (2 * sigma) ** 2
    values = forward(image, ORIGIN, VOXEL, starts, ends)
    assert near.sum() > 50
    np.testing.assert_allclose(values[near], expected[near], rtol=0.02)


@pytest.mark.parametrize("axis", range(3))
def test_lines_along_an_axis_sum_the_voxels(axis):
    image = np.random.default_rng(1).random(SHAPE, dtype=np.float32)
    starts = np.array([ORIGIN + VOXEL * [5, 6, 7]], np.float32)
    ends = starts.copy()
    starts[0, axis], ends[0, axis] = -200, 200
    row = image[tuple(slice(None) if i == axis else (5, 6, 7)[i] for i in range(3))]
    assert forward(image, ORIGIN, VOXEL, starts, ends)[0] == pytest.approx(row.sum() * VOXEL[axis], rel=1e-5)


def test_forward_and_back_are_adjoint():
    """⟨A x, y⟩ = ⟨x, Aᵀ y⟩."""
    draw = np.random.default_rng(2)
    image = draw.random(SHAPE, dtype=np.float32)
    starts, ends = random_lines(20_000)
    values = draw.random(len(starts), dtype=np.float32)
    left = forward(image, ORIGIN, VOXEL, starts, ends).astype(float) @ values
    right = (back(values, ORIGIN, VOXEL, starts, ends, SHAPE).astype(float) * image).sum()
    assert left == pytest.approx(right, rel=1e-6)


def test_direction_does_not_matter():
    image = np.random.default_rng(3).random(SHAPE, dtype=np.float32)
    starts, ends = random_lines(1000)
    there = forward(image, ORIGIN, VOXEL, starts, ends)
    np.testing.assert_allclose(forward(image, ORIGIN, VOXEL, ends, starts), there, rtol=1e-3, atol=1e-3)


def test_lines_that_miss_or_have_no_length_are_zero():
    image = np.ones(SHAPE, np.float32)
    starts = np.array([[200, 0, 0], [1, 1, 1], [-200, 60, 0]], np.float32)
    ends = np.array([[200, 50, 9], [1, 1, 1], [200, 60, 0]], np.float32)
    assert (forward(image, ORIGIN, VOXEL, starts, ends) == 0).all()


def test_a_line_stops_at_its_ends():
    """Planes beyond the segment's ends do not count."""
    image = np.ones(SHAPE, np.float32)
    starts, ends = np.array([[-21, 0, 0]], np.float32), np.array([[21, 0, 0]], np.float32)
    assert forward(image, ORIGIN, VOXEL, starts, ends)[0] == pytest.approx(42, abs=2.01)


def test_fused_pass_is_forward_ratio_back():
    draw = np.random.default_rng(4)
    starts, ends = random_lines(500)
    positions = np.concatenate([starts, ends])
    crystals = np.stack([np.arange(500), np.arange(500, 1000)], 1).astype(np.uint32)
    additive = draw.random(500, dtype=np.float32) + 0.1
    image = draw.random(SHAPE, dtype=np.float32)
    images = private_images(SHAPE)
    fused = em_back(image, crystals, positions, additive, ORIGIN, VOXEL, images)
    ratio = 1 / (forward(image, ORIGIN, VOXEL, starts, ends) + additive)
    np.testing.assert_allclose(fused, back(ratio, ORIGIN, VOXEL, starts, ends, SHAPE), rtol=1e-4, atol=1e-5)


def test_threads_do_not_change_a_bit(tmp_path):
    starts, ends = random_lines(5000)
    values = np.random.default_rng(5).random(5000, dtype=np.float32)
    program = (
        "import sys, numpy as np; from csrd.scanner.projector import back\n"
        "d = np.load(sys.argv[1]); np.save(sys.argv[2], back(d['v'], d['o'], d['x'], d['s'], d['e'], d['n']))"
    )
    images = []
    for threads in ("1", "2"):
        folder = tmp_path / threads
        folder.mkdir()
        np.savez(folder / "in.npz", v=values, o=ORIGIN, x=VOXEL, s=starts, e=ends, n=np.array(SHAPE))
        arguments = [sys.executable, "-c", program, str(folder / "in.npz"), str(folder / "out.npy")]
        subprocess.run(arguments, check=True, env={**os.environ, "NUMBA_NUM_THREADS": threads})
        images.append(np.load(folder / "out.npy"))
    assert (images[0] == images[1]).all()


CUDA_PROGRAM = """
import numpy as np
from csrd.scanner import projector, projector_cuda
draw = np.random.default_rng(0)
shape, voxel = (12, 14, 10), [8.0, 8.0, 9.0]
origin = [-44.0, -52.0, -40.5]
ends = draw.normal(size=(2, 30, 3)).astype(np.float32) * 80
image, values = draw.random(shape, dtype=np.float32), draw.random(30, dtype=np.float32)
crystals = np.stack([np.arange(30), np.arange(30, 60)], 1).astype(np.uint32)
positions, additive = ends.reshape(-1, 3), values + 1
images = projector.private_images(shape)
for name, arguments in {
    "forward": (image, origin, voxel, *ends),
    "back": (values, origin, voxel, *ends, shape),
    "em_back": (image, crystals, positions, additive, origin, voxel, images),
}.items():
    cpu, gpu = (getattr(room, name)(*arguments) for room in (projector, projector_cuda))
    assert cpu.any(), name
    np.testing.assert_allclose(gpu, cpu, rtol=1e-4, atol=1e-4, err_msg=name)
print("equal")
"""


def test_cuda_kernels_equal_the_cpu():
    """The CUDA kernels run in numba's simulator, so that the test needs no GPU."""
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
    run = subprocess.run(
        [sys.executable, "-c", CUDA_PROGRAM], env=environment, capture_output=True, text=True
    )
    assert run.stdout.strip().endswith("equal"), run.stderr

"""Two reconstructions of one head: planted faults are found, and nothing else."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from csrd.io.volume import centred_affine
from csrd.metrics.agreement import AXES, compare
from csrd.seeds import generator

SHAPE, VOXEL = (44, 52, 44), 4.0
AFFINE = centred_affine(SHAPE, VOXEL)


@pytest.fixture(scope="module")
def head() -> np.ndarray:
    """Return a head without any symmetry: a tilted ellipsoid of patches of uptake."""
    at = np.moveaxis(np.indices(SHAPE), 0, -1) * VOXEL + AFFINE[:3, 3]
    draw = generator(1, "agreement")
    image = 6000 * (1 + 0.5 * gaussian_filter(draw.standard_normal(SHAPE), 4) * 50)
    inside = ((at - [4, -6, 3]) / [68, 86, 70]) ** 2
    return (np.clip(image, 1500, 15_000) * (inside.sum(-1) < 1)).astype(np.float32)


def noisy(image: np.ndarray, seed: int) -> np.ndarray:
    """Return the image with correlated noise of 15 % in its voxels."""
    noise = gaussian_filter(generator(seed, "noise").standard_normal(image.shape), 1)
    return image * (1 + 0.15 * noise / noise.std()).astype(np.float32)


def test_images_of_one_scan_agree(head):
    cubes, agreement = compare(noisy(head, 1), noisy(head, 2), AFFINE)
    assert agreement.faults == [] and agreement.ratio == pytest.approx(1, abs=0.03)
    assert len(cubes) > 50 and min(cube.volume_ml for cube in cubes) > 5


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1)])
def test_a_turned_image_is_found(head, axes):
    faults = compare(np.flip(noisy(head, 1), axes), noisy(head, 2), AFFINE)[1].faults
    assert [fault for fault in faults if "exchanged" in fault] == [
        f"{AXES[axis]} are exchanged" for axis in axes
    ]


@pytest.mark.parametrize(("factor", "text"), [(1.25, "+25%"), (0.8, "-20%")])
def test_another_scale_is_found(head, factor, text):
    (fault,) = compare(factor * noisy(head, 1), noisy(head, 2), AFFINE)[1].faults
    assert "the scale differs by" in fault and float(fault.split("by ")[1].strip("%")) == pytest.approx(
        float(text.strip("%")), abs=3
    )


def test_scatter_left_in_is_found(head):
    """A smooth fifth of the counts, everywhere in the head."""
    scatter = gaussian_filter(head, 12)
    faults = compare(noisy(head + 0.25 * head.mean() / scatter.mean() * scatter, 1), noisy(head, 2), AFFINE)
    assert any("background" in fault for fault in faults[1].faults)


def test_a_wrong_correction_of_one_side_is_found(head):
    tilt = np.linspace(0.7, 1.3, SHAPE[2], dtype=np.float32)
    faults = compare(noisy(head, 1) * tilt, noisy(head, 2), AFFINE)[1].faults
    assert any("ratios of regions deviate" in fault for fault in faults)


def test_the_error_is_that_of_repeated_images(head):
    """Backgrounds of 40 noisy images against the noise-free one, and what one image says of them."""
    found = [compare(noisy(head, seed), head, AFFINE)[1] for seed in range(40)]
    seen, stated = np.std([one.background for one in found]), np.mean([one.background_error for one in found])
    assert 0.65 < stated / seen < 1.1
    assert abs(np.mean([one.background for one in found])) < seen / 2, "noise is no background"


def test_noise_that_hides_a_background_is_found(head):
    noise = gaussian_filter(generator(3, "noise").standard_normal(SHAPE), 1)
    very = head + np.where(head > 0, 3000 * noise / noise.std(), 0).astype(np.float32)
    assert compare(very, head, AFFINE)[1].faults[0].startswith("noise hides a background below")


def test_another_resolution_is_no_fault(head):
    ours, theirs = (gaussian_filter(head, fwhm_mm / 2.355 / VOXEL) for fwhm_mm in (8.4, 5))
    agreement = compare(ours, theirs, AFFINE)[1]
    assert agreement.faults == [] and agreement.ratio == pytest.approx(1, abs=0.03)

"""A network that knows only heads is shown only the head; what is outside is the smoothed scan."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from csrd.api import denoise
from csrd.io.volume import Volume, centred_affine
from csrd.methods.base.surroundings import AIR_MM, RAMP_MM, image_in_place, std_in_place, whole
from tests.align.head_phantom import normal_and_low

SHAPE, VOXEL_MM = (30, 24, 20), np.array([2.0, 4.0, 3.0])
BOX = slice(8, 26), slice(0, 24), slice(6, 20)  # one face inside the scan along x and z each, none along y


@pytest.fixture
def scan() -> Volume:
    array = np.random.default_rng(5).gamma(2.0, size=SHAPE).astype(np.float32)
    return Volume(array, np.diag([*VOXEL_MM, 1.0]), "Bq/mL")


def test_a_part_passes_into_the_smoothed_scan(scan):
    part = scan.part(BOX)
    found = image_in_place(part.like(np.full(part.shape, np.float32(9.0))), BOX, scan)
    smooth = gaussian_filter(scan.array, AIR_MM / 2.3548 / VOXEL_MM, mode="nearest")
    outside = np.ones(SHAPE, bool)
    outside[BOX] = False
    np.testing.assert_allclose(found.array[outside], smooth[outside], rtol=1e-3)
    assert found.same_grid(scan) and found.unit == "Bq/mL"
    assert (found.array[12:22, :, 9:] == 9).all(), "RAMP_MM from its faces it is alone"
    for voxels in range(1, int(RAMP_MM / 2)):
        first = 7 + voxels, 12, 14
        share = voxels * 2 / RAMP_MM
        expected = share * 9 + (1 - share) * smooth[first]
        assert found.array[first] == pytest.approx(expected, rel=1e-3)


def test_smoothing_keeps_the_scan_s_sum_and_is_not_negative(scan):
    empty = slice(0, 1), slice(0, 1), slice(0, 1)
    found = image_in_place(scan.part(empty), empty, scan)
    assert found.array.sum() == pytest.approx(scan.array.sum(), rel=2e-3)
    assert image_in_place(scan.part(empty), empty, scan.like(-scan.array)).array[3:].max() == 0


def test_the_deviation_outside_is_that_of_the_scan_nearby():
    array = np.random.default_rng(6).normal(50.0, 3.0, (40, 40, 40)).astype(np.float32)
    scan, box = Volume(array, np.eye(4), "Bq/mL"), (slice(0, 1),) * 3
    found = std_in_place(scan.part(box), box, scan).array
    assert np.sqrt(np.mean(found**2)) == pytest.approx(3.0, rel=0.02)


@pytest.fixture(scope="module")
def pair() -> tuple[Volume, Volume]:
    shape = (50, 58, 53)
    return normal_and_low(shape, centred_affine(shape, 4.0), 4.0)  # voxels that are not resampled


def in_air(volume: Volume, voxels: tuple[int, int, int], noise: float) -> Volume:
    """Return a volume with so many voxels of noisy air to each side."""
    array = np.pad(volume.array, [(n, n) for n in voxels])
    outside = np.ones(array.shape, bool)
    outside[tuple(slice(n, -n) for n in voxels)] = False
    array[outside] = np.random.default_rng(8).gamma(0.2, noise, int(outside.sum()))
    affine = volume.affine.copy()
    affine[:3, 3] = volume.affine[:3, :3] @ -np.array(voxels) + volume.affine[:3, 3]
    return Volume(array, affine, volume.unit)


def test_a_field_of_view_of_ten_heads_costs_nothing_in_the_head(pair):
    """Shown all of the air, the network's error in the head was 28 % larger."""
    normal, low = pair
    air = (30, 25, 20)
    wide = in_air(low, air, noise=100.0)
    alone, within = denoise(low), denoise(wide, std=True, samples=2)
    middle = tuple(slice(n, -n) for n in air)
    inside = normal.array > 2e3
    one, other = (
        np.sqrt(np.mean((image - normal.array)[inside] ** 2))
        for image in (alone.image.array, within.image.array[middle])
    )
    assert other < 1.05 * one
    (first, _), *_ = within.facts["DenoisedVoxels"]
    assert 0 < first < air[0] + 5, "the head and 20 mm beside it"
    assert "InputNotes" not in within.facts
    far = within.image.array[:20]
    assert far.mean() == pytest.approx(wide.array[:20].mean(), rel=0.05) and far.std() < wide.array[:20].std()
    assert (within.std.array > 0).all()


def test_one_bright_voxel_in_a_corner_changes_nothing_in_the_head(pair):
    _, low = pair
    wide = in_air(low, (8, 8, 8), noise=1.0)
    spoilt = wide.like(wide.array.copy())
    spoilt.array[0, 0, 0] = 100 * low.array.max()
    one, other = denoise(wide).image.array, denoise(spoilt).image.array
    assert np.abs(one - other)[12:-12, 12:-12, 12:-12].max() < 0.02 * one.max()


def test_a_part_of_everything_is_the_part(scan):
    assert image_in_place(scan, whole(scan), scan).array == pytest.approx(scan.array, rel=1e-5)

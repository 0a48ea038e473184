import mahotas
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from csrd.config.sections import Metrics
from csrd.errors import InputError
from csrd.io.volume import Volume, centred_affine
from csrd.metrics.haralick import HDist, grey_levels, h_dist, texture
from csrd.metrics.metric import Reference

SHAPE = (40, 44, 6)


@pytest.fixture(scope="module")
def reference() -> Reference:
    draw = np.random.default_rng(3)
    array = gaussian_filter(draw.random(SHAPE), (2, 2, 1))
    array = (10 * (array - array.min()) / np.ptp(array)).astype(np.float32)
    x, y, _ = np.indices(SHAPE)
    mask = np.hypot(x - 19.5, y - 21.5) < 17
    mask[..., 0] = False
    return Reference(Volume(array, centred_affine(SHAPE, 2.0)), mask)


@pytest.fixture(scope="module")
def metric(reference) -> HDist:
    return HDist(reference, Metrics())


def test_levels_by_hand():
    # 64 levels over 0 … 128 are 2 wide: 1.9 → 1, 2 → 2, 127.9 and beyond → 64, below 0 → 1, outside → 0
    values = np.array([[[0, 1.9, 2, 127.9, 128, 500, -3, 50]]])
    mask = np.array([[[1, 1, 1, 1, 1, 1, 1, 0]]], bool)
    assert grey_levels(values, mask, 128).tolist() == [[[1, 1, 2, 64, 64, 64, 1, 0]]]


def test_features_of_a_chessboard_by_hand():
    """Right and down neighbours always differ by 1, diagonal ones never: contrast 1, 1, 0, 0; mean 1/2."""
    board = (np.indices((8, 8)).sum(axis=0) % 2 + 1).astype(np.uint8)
    features = texture(board[None])[0]
    assert features[1] == pytest.approx(0.5)  # contrast
    assert features[4] == pytest.approx((0.5 + 0.5 + 1 + 1) / 4, abs=0.02)  # inverse difference moment
    assert features[0] == pytest.approx(0.5, abs=0.02)  # angular second moment: two cells of one half each


def test_h_dist_is_equation_6_on_mahotas_own_features(reference, metric):
    image = reference.pet.array * np.float32(0.8) + 1
    peak = reference.pet.array[reference.mask].max()
    distances = []
    for z in range(1, SHAPE[2]):
        h = []
        for array in (reference.pet.array, image):
            levels = np.clip(np.floor(array[..., z] / peak * 64) + 1, 1, 64).astype(int)
            levels[~reference.mask[..., z]] = 0
            # the directions' mean does not see how the slice is turned
            h.append(mahotas.features.haralick(levels, ignore_zeros=True).mean(axis=0))
        distances.append(np.sqrt(np.sum(((h[1] - h[0]) / h[0]) ** 2)))
    assert metric(reference.pet.like(image)) == pytest.approx(np.mean(distances), rel=1e-6)


def test_h_dist_by_hand():
    h = np.array([[2.0, 4.0], [2.0, 4.0], [np.nan, np.nan]])
    image = np.array([[3.0, 4.0], [2.0, 2.0], [np.nan, np.nan]])
    assert h_dist(h, image) == pytest.approx(0.5)  # both slices that have features differ by a half


def test_a_feature_near_zero_does_not_outweigh_the_others():
    h, image = np.full((100, 1), 1.0), np.full((100, 1), 1.0)
    h[0], image[0] = 1e-9, 0.5
    # counts as 1 % of the mean 0.99: 0.5 / 0.0099, over 100 slices
    assert h_dist(h, image) == pytest.approx(0.5 / (0.01 * 0.99) / 100, rel=1e-3)
    assert h_dist(np.zeros((2, 1)), np.ones((2, 1))) == 0  # nothing to be relative to


@pytest.mark.parametrize("kind", ["noise", "blur"])
def test_rises_with_noise_and_with_blur(reference, metric, kind):
    noise = np.random.default_rng(5).standard_normal(SHAPE).astype(np.float32)
    found = []
    for strength in (0, 0.5, 1.0, 1.5, 2.0):
        array = reference.pet.array
        array = (
            array + strength * noise if kind == "noise" else gaussian_filter(array, (strength, strength, 0))
        )
        found.append(metric(reference.pet.like(array)))
    assert found[0] == 0 and all(b > a for a, b in zip(found, found[1:], strict=False)), found


def test_only_voxels_of_the_mask_count(reference, metric):
    changed = reference.pet.array.copy()
    changed[~reference.mask] = 1e3
    assert metric(reference.pet.like(changed)) == 0


def test_a_mask_without_neighbours_is_refused(reference):
    mask = np.zeros(SHAPE, bool)
    mask[::3, ::3] = True
    with pytest.raises(InputError, match="no axial slice of the head mask has neighbouring voxels"):
        HDist(Reference(reference.pet, mask), Metrics())


def test_a_slice_of_one_grey_level_does_not_count(reference):
    """Its features are 0 or undefined: any other value would be infinitely far from them."""
    array = reference.pet.array.copy()
    array[..., 1] = 0
    flat = HDist(Reference(reference.pet.like(array), reference.mask), Metrics())
    noise = np.random.default_rng(5).uniform(0, array.max() / 10, array.shape[:2])
    changed = array.copy()
    changed[..., 1] = noise
    assert flat(reference.pet.like(changed)) == flat(reference.pet.like(array)) == 0

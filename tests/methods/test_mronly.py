"""The control row of the MR alone: its image does not depend on what the PET shows."""

import numpy as np
import pytest

from csrd.config.sections import Augment
from csrd.methods import is_control, method
from csrd.methods.mronly import MrOnly, flat
from tests.methods.conftest import ONE_THREAD, head

DRF = 4


@pytest.fixture(scope="module")
def model(pairs, settings, tmp_path_factory) -> MrOnly:
    folder = tmp_path_factory.mktemp("mronly")
    small = settings("mronly", training={"steps": 120, "batch": 2, "lr": 0.003}, shift=False, mirror=False)
    MrOnly.fit(pairs, small, folder, ONE_THREAD)
    return MrOnly.load(folder)


def test_a_flat_image_has_the_heads_mean_and_nothing_else():
    low = head(4, DRF).low
    image = flat(low)
    values = np.unique(image.array)
    assert values[0] == 0 and len(values) == 2
    assert values[1] == pytest.approx(low.array[image.array > 0].mean(), rel=1e-5)


def test_the_image_comes_from_the_mr_and_the_mean(model):
    pair = head(4, DRF)
    model.use(product="mean")  # a sample's noise is seeded by the voxels
    middle = (slice(8, 14), slice(9, 15), slice(6, 12))
    other = pair.low.like(pair.low.array.copy())
    other.array[middle] = other.array[middle][::-1]
    found, same = (model.apply(low, pair.mr, DRF).array for low in (pair.low, other))
    assert not np.array_equal(other.array, pair.low.array)
    assert np.allclose(same, found, rtol=1e-3, atol=1), "where the PET has its uptake does not matter"
    core = pair.mr.array > 400
    ball = (pair.mr.array > 200) & ~core
    assert found[core].mean() > 1.2 * found[ball].mean(), "the MR shows the core, which is hot in training"


def test_it_is_a_control_and_no_method_of_the_table():
    assert is_control("mronly") and method("mronly").wants_mr and not method("mronly").predicts_std
    assert not is_control("csrd") and is_control("oracle") and not is_control("unknown")


def test_a_flat_image_gets_no_spots(pairs, settings):
    one = MrOnly(settings("mronly"), MrOnly.calibrated([pair.load() for pair in pairs], settings("mronly")))
    one.augment = Augment(lesions=1.0, mr_shift_mm=1.5)
    found = one.patches([one.scan(pair.load()) for pair in pairs[:1]]).augmentation
    assert found.lesions == 0 and found.mr_shift_mm == 1.5

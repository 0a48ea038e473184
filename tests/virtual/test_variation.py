"""Variation inside a head: sides, parcels, texture, and spots of the wide range and of the test set."""

import numpy as np
import pytest
from scipy import ndimage

from csrd.io.volume import Volume, centred_affine
from csrd.seeds import generator
from csrd.virtual.regions import REGIONS
from csrd.virtual.spots import (
    HOT,
    RADIUS_MM,
    RATIO,
    SIZES,
    TEST_SET,
    Spot,
    any_spots,
    apply_spot,
    fixed_spots,
)
from csrd.virtual.variation import PARCEL_MM, PARCELS_SD, by_side, parcels, texture

SHAPE = (80, 80, 80)
CORTEX = Volume(np.full(SHAPE, REGIONS["frontal"], np.uint8), centred_affine(SHAPE, 2.0), "label")


def test_each_side_has_its_values():
    labels = CORTEX.like(np.where(np.indices(SHAPE)[1] < 40, 1, 18).astype(np.uint8))
    left, right = np.arange(22.0), 100 + np.arange(22.0)
    image = by_side(left, right, labels)
    assert (
        image[0, 0, 0] == 1 and image[0, 79, 0] == 18 and image[79, 0, 0] == 101 and image[79, 79, 0] == 118
    )


def test_parcels_are_flat_of_their_size_and_spread():
    factors = parcels(np.random.default_rng(2), CORTEX)
    values, voxels = np.unique(factors, return_counts=True)
    edge = np.cbrt(voxels.sum() * 8 / len(values))
    assert 0.8 * PARCEL_MM < edge < 1.1 * PARCEL_MM  # the volume's borders and its middle cut some
    assert factors.mean() == pytest.approx(1, abs=0.02) and factors.std() == pytest.approx(
        PARCELS_SD, rel=0.15
    )
    white = CORTEX.like(np.full(SHAPE, REGIONS["white_matter"], np.uint8))
    assert (parcels(np.random.default_rng(2), white) == 1).all()
    middle = factors[39:41]
    assert (middle[0] != middle[1]).mean() > 0.95, "sides vary by themselves"


def test_texture_has_both_scales():
    factors = texture(np.random.default_rng(4), CORTEX)
    assert factors.std() == pytest.approx(np.hypot(0.08, 0.04), rel=0.15)
    fine = factors - ndimage.gaussian_filter(factors, 4.0)
    assert 0.015 < fine.std() < 0.06


@pytest.mark.parametrize("subject", ["01", "02", "03"])
def test_spots_lie_in_tissue_in_their_range_and_apart(anatomy, subject):
    spots = any_spots(generator(1, "s", subject), anatomy)
    tested = fixed_spots(generator(1, "t", subject), anatomy, spots)
    assert 4 <= len(spots) <= 8 and not any(spot.size for spot in spots)
    ratios, radii = ([getattr(s, name) for s in spots] for name in ("contrast", "radius_mm"))
    assert RATIO[0] <= min(ratios) + 1e-9 and max(ratios) - 1e-9 <= RATIO[1]
    assert RADIUS_MM[0] <= min(radii) and max(radii) <= RADIUS_MM[1]
    assert {spot.edge_mm > 0 for spot in spots} == {True, False}
    to_voxels = np.linalg.inv(anatomy.labels.affine)
    every = [*spots, *tested]
    for n, spot in enumerate(every):
        index = np.rint(to_voxels[:3, :3] @ spot.centre_mm + to_voxels[:3, 3]).astype(int)
        assert 0 < anatomy.labels.array[tuple(index)] < REGIONS["csf"]
        for other in every[:n]:
            apart = np.linalg.norm(np.subtract(spot.centre_mm, other.centre_mm))
            assert apart > spot.radius_mm + other.radius_mm


def test_the_test_set_has_every_size_with_cold_twins(anatomy):
    spots = fixed_spots(generator(1, "t", "01"), anatomy, [])
    sizes = [spot.size for spot in spots]
    assert {size: sizes.count(size) for size in SIZES} == {size: 4 * n for size, n in TEST_SET.items()}
    for hot, cold in zip(spots[::2], spots[1::2], strict=True):
        assert HOT[0] <= hot.contrast <= HOT[1] and hot.contrast + cold.contrast == pytest.approx(2)
        low, high = SIZES[hot.size]
        assert low <= hot.radius_mm == cold.radius_mm <= high and hot.edge_mm == 0


def test_a_soft_spot_has_half_its_contrast_at_its_surface():
    affine = centred_affine((40, 40, 40), 1.0)
    uptake = np.ones((40, 40, 40))
    apply_spot(uptake, affine, Spot((0.5, 0.5, 0.5), 8.0, 2.0, edge_mm=6.0))
    profile = uptake[20:, 20, 20]
    assert profile[4] == pytest.approx(2.0) and profile[8] == pytest.approx(1.5) and profile[12] == 1.0

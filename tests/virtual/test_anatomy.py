import numpy as np
import pytest
from scipy import ndimage

from csrd.errors import InputError
from csrd.io.volume import Volume, centred_affine
from csrd.seeds import generator
from csrd.virtual.anatomy import MU_BONE, MU_SOFT, make_anatomy
from csrd.virtual.head import Layers, head_around
from csrd.virtual.regions import REGIONS
from csrd.virtual.template import template
from csrd.virtual.warp import pull_coordinates, random_affine, random_displacement, random_pose

GRID = 4.0, (50, 60, 50)
CORTEX = [REGIONS[name] for name in ("frontal", "parietal", "temporal", "occipital")]


def jacobian_of(field) -> np.ndarray:
    """Return the determinant of the derivative of x + u(x), (X, Y, Z); positive: no fold."""
    derivative = np.stack([np.stack(np.gradient(u, float(field.affine[0, 0]))) for u in field.array])
    return np.linalg.det(np.moveaxis(derivative, (0, 1), (-2, -1)) + np.eye(3))


@pytest.mark.parametrize("n", range(3))
def test_the_deformation_is_a_diffeomorphism_of_several_mm(n):
    field = random_displacement(generator(n, "test"), template(), ventricle_mm=3.0)
    jacobian = jacobian_of(field)
    assert jacobian.min() > 0.1 and jacobian.std() > 0.05
    rms = np.sqrt(np.mean(np.sum(field.array**2, axis=0)))
    assert 2.5 < rms < 5.0


def test_widening_pulls_every_ventricle_wider():
    def ventricle_volume(widen_mm):
        field = random_displacement(generator(0, "test"), template(), ventricle_mm=widen_mm)
        affine, shape = centred_affine((80, 96, 80), 2.0), (80, 96, 80)
        places = pull_coordinates(template(), field, np.eye(4), affine, shape)
        return ndimage.map_coordinates(template().ventricles.astype(np.float32), places, order=1).sum()

    assert ventricle_volume(3.0) > 1.2 * ventricle_volume(0.0) > 1.2 * ventricle_volume(-1.0)


def test_without_deformation_coordinates_are_the_affine_map():
    field = random_displacement(generator(0, "test"), template(), rms_mm=0.0 + 1e-9)
    matrix = random_affine(generator(1, "test")) @ random_pose(generator(2, "test"))
    affine, shape = centred_affine((4, 5, 6), 7.0), (4, 5, 6)
    places = pull_coordinates(template(), field, matrix, affine, shape)
    expected = np.linalg.inv(template().affine) @ matrix @ affine @ [3, 4, 5, 1]
    assert np.allclose(places[:, 3, 4, 5], expected[:3], atol=1e-3)


def test_the_template_has_every_region_on_its_own_side():
    brain = template()
    half = brain.region.shape[0] // 2
    for name in ("putamen", "thalamus", "hippocampus", "insula", "cerebellar_cortex"):
        mask = (brain.region == REGIONS[name]) & (brain.grey > 0.5)
        left, right = mask[:half].sum(), mask[half:].sum()
        assert 0.7 < left / right < 1.4, name
    height = {
        name: np.argwhere(brain.region == REGIONS[name])[:, 2].mean()
        for name in REGIONS
        if name in ("thalamus", "midbrain", "raphe", "pons")
    }
    assert height["thalamus"] > height["midbrain"] > height["raphe"] > height["pons"]


def test_same_arguments_give_the_same_bytes_and_subjects_differ(anatomy):
    again = make_anatomy(7, "01", float(anatomy.labels.voxel_mm[0]), anatomy.labels.shape)
    for part in ("labels", "brain", "t1", "mumap"):
        assert getattr(again, part).array.tobytes() == getattr(anatomy, part).array.tobytes()
    one, other, seeded = (
        make_anatomy(seed, s, *GRID).labels.array for seed, s in ((7, "01"), (7, "02"), (8, "01"))
    )
    for different in (other, seeded):
        assert (one != different).mean() > 0.05


def test_every_region_is_there_and_the_head_fits(anatomy):
    labels = anatomy.labels.array
    counts = np.bincount(labels.ravel(), minlength=22)
    assert labels.dtype == np.uint8 and len(counts) == 22
    assert np.all(np.delete(counts, REGIONS["raphe"]) > 10) and counts[REGIONS["raphe"]] > 0
    for axis in range(3):
        ends = np.moveaxis(labels, axis, 0)[[0, -1]]
        assert not ends.any()
    tissue_ml = counts[1:19].sum() * 0.027
    assert 900 < tissue_ml < 1600
    assert 0.4 < counts[REGIONS["white_matter"]] / counts[1:18].sum() < 0.9


def test_t1_and_labels_agree(anatomy):
    labels, t1 = anatomy.labels.array, anatomy.t1.array
    mean = {name: t1[labels == label].mean() for name, label in REGIONS.items()}
    grey = t1[np.isin(labels, CORTEX)].mean()
    assert mean["white_matter"] > grey + 0.1 > mean["csf"] + 0.3 > mean["bone"] + 0.3
    assert mean["pallidum"] > mean["caudate"]
    assert t1[labels == 0].max() < 1 and np.isfinite(t1).all()


def test_attenuation_follows_the_labels(anatomy):
    labels, mu = anatomy.labels.array, anatomy.mumap.array
    assert np.all(mu[labels == 0] == 0)
    assert np.all(mu[labels == REGIONS["bone"]] == np.float32(MU_BONE))
    assert np.all(mu[(labels > 0) & (labels != REGIONS["bone"])] == np.float32(MU_SOFT))
    assert anatomy.mumap.unit == "1/cm"


def test_the_skull_is_closed(anatomy):
    labels = anatomy.labels.array
    parts, _ = ndimage.label(labels != REGIONS["bone"])
    inner = np.unique(parts[anatomy.brain.array])
    outer = np.unique(parts[(labels == 0) | (labels == REGIONS["scalp"])])
    assert len(inner) == 1 and inner[0] not in outer
    assert ndimage.label(labels == REGIONS["bone"])[1] == 1
    assert ndimage.label(labels > 0)[1] == 1


def test_the_layers_around_a_ball_have_their_thickness():
    at = np.indices((80, 80, 80)) - 39.5
    distance = np.sqrt((at**2).sum(axis=0)) * 2.0  # mm
    head = head_around(distance <= 40, 2.0, Layers(1.0, 6.5, 5.5))
    for mask, radius in (
        (head.inside, 41),
        (head.inside | head.bone, 47.5),
        (head.inside | head.bone | head.soft, 53),
    ):
        volume = mask.sum() * 8.0
        assert abs((3 * volume / 4 / np.pi) ** (1 / 3) - radius) < 0.7


def test_an_image_with_its_skull_is_refused():
    whole = Volume(np.ones((60, 60, 60), np.float32), np.diag([3.0, 3, 3, 1]), "arbitrary")
    with pytest.raises(InputError, match="strip the skull"):
        make_anatomy(7, "01", *GRID, t1w=whole)


def test_a_real_t1w_image_becomes_the_anatomy(anatomy):
    """A skull-stripped image made from a known anatomy comes back with that anatomy's tissue."""
    tissue = (anatomy.labels.array > 0) & (anatomy.labels.array < REGIONS["bone"])
    t1w = anatomy.t1.like(np.where(tissue, 700 * anatomy.t1.array, 0))
    made, again = (make_anatomy(7, "real", 3.0, anatomy.labels.shape, t1w=t1w) for _ in range(2))
    assert made.t1.array.tobytes() == again.t1.array.tobytes()
    assert made.labels.array.tobytes() == again.labels.array.tobytes()
    volume = {
        name: [(a.labels.array == label).sum() for a in (anatomy, made)] for name, label in REGIONS.items()
    }
    for name in ("white_matter", "frontal", "temporal", "cerebellar_cortex", "putamen", "thalamus"):
        before, after = volume[name]
        assert abs(after / before - 1) < 0.35, (name, volume)
    assert not np.array_equal(made.labels.array, anatomy.labels.array)
    labels, t1 = made.labels.array, made.t1.array
    assert abs(t1[labels == REGIONS["white_matter"]].mean() - 1) < 0.1
    assert t1[np.isin(labels, CORTEX)].mean() < 0.9

"""The page from files: labels and their names, units, atlas, what is refused."""

import numpy as np
import pytest
from scipy import ndimage

from csrd.align.atlas import atlas_labels, is_stripped
from csrd.errors import InputError
from csrd.io.bids import save_with_sidecar
from csrd.io.volume import Volume, centred_affine
from csrd.kinetics.curves import Curves
from csrd.report.kinetics import kinetics_part
from csrd.resample import resample
from csrd.rotations import rigid, rotation
from csrd.stages.page import _given, page
from csrd.virtual.atlas import atlas
from csrd.virtual.regions import REGIONS
from tests.report.test_scan_page import SHAPE, ball

MOVED = rigid(np.eye(3), np.array([8.0, 0, 0]), np.zeros(3))  # world of the MR <- world of the PET


@pytest.fixture
def labels() -> Volume:
    array = np.zeros(SHAPE, np.int16)
    array[5:9, 8:14, 6:10] = 7
    return ball(1.0).like(array, "label")


def test_labels_on_the_mrs_grid_go_with_the_mr(tmp_path, labels):
    """A translation by two voxels moves them by as much."""
    pet = ball(1.0)
    affine = pet.affine.copy()
    affine[2, 3] += 1.0  # so that the grids differ
    mr = Volume(pet.array, affine, "arbitrary")
    Volume(labels.array, affine, "label").save(tmp_path / "labels.nii.gz")
    found = _given(tmp_path / "labels.nii.gz", pet, mr, MOVED)
    assert np.array_equal(np.flatnonzero(found.labels.any(axis=(1, 2))), np.arange(3, 7))
    assert found.names == {7: "label 7"}


def test_names_are_read_from_the_table_beside_the_labels(tmp_path, labels):
    labels.save(tmp_path / "labels.nii.gz")
    (tmp_path / "labels.tsv").write_text("index\tname\n7\tcaudate\n8\tputamen\n")
    assert _given(tmp_path / "labels.nii.gz", ball(1.0), None, None).names == {7: "caudate"}
    (tmp_path / "labels.tsv").write_text("label\tname\n7\tcaudate\n")
    with pytest.raises(InputError, match="columns index"):
        _given(tmp_path / "labels.nii.gz", ball(1.0), None, None)


def test_an_image_is_not_taken_for_labels(tmp_path):
    ball(1.0, seed=1).save(tmp_path / "labels.nii.gz")
    with pytest.raises(InputError, match="is not an image of labels"):
        _given(tmp_path / "labels.nii.gz", ball(1.0), None, None)


def test_a_page_from_files_whose_unit_is_in_the_sidecar(tmp_path, labels):
    paths = {name: tmp_path / f"{name}.nii.gz" for name in ("low", "clean", "labels")}
    for name, seed in (("low", 1), ("clean", None)):
        image = ball(20_000, "", seed)
        save_with_sidecar(image, paths[name], {"Units": "Bq/mL", "Denoising": "CSRD w MR"})
    labels.save(paths["labels"])
    page(paths["low"], paths["clean"], tmp_path / "page.html", labels=paths["labels"], viewer=False)
    text = (tmp_path / "page.html").read_text()
    assert "label 7" in text and "20.0" in text and "kBq/mL" in text and "without an MR" in text
    page(paths["low"], paths["clean"], tmp_path / "page.html", viewer=False)
    assert "the packaged atlas needs an MR" in (tmp_path / "page.html").read_text()


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(InputError, match="name it with .html"):
        page("low.nii.gz", "clean.nii.gz", tmp_path / "page.pdf")


def test_the_atlas_is_matched_to_a_moved_and_larger_head():
    found = atlas()
    turn = rigid(np.eye(3), np.array([6.0, -5.0, 4.0]), np.zeros(3)) @ np.diag([0.93, 0.95, 1.04, 1.0])
    grid = Volume(np.zeros((52, 62, 52), np.float32), found.t1.affine @ np.diag([4.0, 4.0, 4.0, 2.0]) / 2)
    anatomy = resample(found.t1, grid, turn)
    true = resample(found.labels, grid, turn, order=0).array
    labels = atlas_labels(anatomy, 1, threads=1)
    for name, least in (
        ("white_matter", 0.8),
        ("cerebellar_cortex", 0.85),
        ("thalamus", 0.8),
        ("frontal", 0.7),
    ):
        one, other = labels == REGIONS[name], true == REGIONS[name]
        assert 2 * (one & other).sum() / (one.sum() + other.sum()) > least, name
    assert np.array_equal(atlas_labels(anatomy, 1, threads=1), labels), "to the bit"


@pytest.fixture(scope="module")
def stripped():
    """Return a real brain's stand-in: the atlas on voxels of 4 mm, smaller and turned, without its skull."""
    found = atlas()
    grid = Volume(np.zeros((48, 58, 50), np.float32), centred_affine((48, 58, 50), 4.0), "arbitrary")
    centre = (found.t1.affine @ [*(np.array(found.t1.shape) / 2), 1])[:3]
    matrix = np.diag([1 / 0.95] * 3 + [1.0])
    matrix[:3, :3] = matrix[:3, :3] @ rotation(np.deg2rad([8, -4, 5]))
    matrix[:3, 3] = centre
    labels = resample(found.labels, grid, matrix, order=0).array
    t1 = resample(found.t1, grid, matrix, order=1).array
    brain = ndimage.binary_closing((labels > 0) & (labels < REGIONS["csf"]), iterations=3)
    return grid.like(t1 * ndimage.binary_fill_holes(brain)), labels


def test_an_mr_without_skull_has_the_regions_of_its_brain(stripped):
    anatomy, true = stripped
    assert is_stripped(anatomy) and not is_stripped(atlas().t1)
    labels = atlas_labels(anatomy, 1, threads=1)
    assert not labels[anatomy.array == 0].any()
    for name, least in (("putamen", 0.8), ("thalamus", 0.8), ("cerebellar_cortex", 0.8), ("frontal", 0.75)):
        one, other = labels == REGIONS[name], true == REGIONS[name]
        assert 2 * (one & other).sum() / (one.sum() + other.sum()) > least, name


def test_a_part_of_a_head_is_refused(stripped):
    anatomy, _ = stripped
    for array in (anatomy.array * (np.indices(anatomy.shape)[2] > 35), np.maximum(anatomy.array, 0.03)):
        with pytest.raises(InputError, match="whole head or of a whole brain"):
            atlas_labels(anatomy.like(array), 1, threads=1)


def test_curves_and_bp_are_in_the_page_of_a_dynamic_scan(tmp_path):
    starts = np.array([0.0, 60, 120])
    names, values = ("pons", "putamen"), np.array([[1.0, 2], [2, 4], [1, 3]])
    before = Curves(starts, np.full(3, 60.0), names, values, {"Units": "Bq/mL"})
    row = {"BPND": "1.234", "BPND_se": "0.1"}
    text = kinetics_part(
        before, before, [{"putamen": row}, {"putamen": row | {"BPND": "n/a"}}], "pons", "srtm"
    )
    assert "1.234 ± 0.100" in text and "–" in text and "BP_ND by SRTM against pons" in text
    assert 'points="100.0,180.0 300.0,120.0 500.0,180.0"' in text, "pons, half of the highest value"
    assert 'points="100.0,120.0 300.0,0.0 500.0,60.0"' in text

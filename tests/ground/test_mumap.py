"""μ-maps as users have them: their unit, their coordinates, coil and table."""

import json

import numpy as np
import pytest

from csrd.errors import InputError
from csrd.io.mumap import bed_mm, read_mumap, refuse_other_than_head
from csrd.io.volume import Volume, centred_affine
from csrd.recon.corrections import attenuation_factors
from csrd.stages.scan import _widened, mumap_on
from tests.ground.test_dicom import write_pet

HEADER = {"start horizontal bed position (mm)": "-30.5"}


def mu(path, scale: float = 1.0, dcm2niix: bool = False) -> Volume:
    array = np.zeros((6, 7, 8), np.float32)
    array[1:4, 2:5, 3:6] = 0.1 * scale
    volume = Volume(array, centred_affine(array.shape, 4.0), "")
    volume.save(path)
    if dcm2niix:
        path.with_name("mu.json").write_text(json.dumps({"ConversionSoftware": "dcm2niix"}))
    return volume


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_both_units_are_recognised(tmp_path, scale):
    mu(tmp_path / "mu.nii.gz", scale)
    found = read_mumap(tmp_path / "mu.nii.gz", HEADER)
    assert found.unit == "1/cm" and found.array.max() == pytest.approx(0.1)
    assert bool(found.notes) == (scale > 1)
    refuse_other_than_head(found, "mu")


def test_hounsfield_units_are_refused(tmp_path):
    array = np.full((4, 4, 4), -1000, np.float32)
    array[1:3, 1:3, 1:3] = 40
    Volume(array, np.eye(4), "").save(tmp_path / "ct.nii.gz")
    with pytest.raises(InputError, match="as Hounsfield units have; convert it to 1/cm"):
        read_mumap(tmp_path / "ct.nii.gz")
    mu(tmp_path / "weak.nii.gz", 0.1)
    with pytest.raises(InputError, match="from 0 to 0.01; convert it to 1/cm"):
        refuse_other_than_head(read_mumap(tmp_path / "weak.nii.gz"), tmp_path / "weak.nii.gz")


def test_a_map_of_the_patients_coordinates_is_moved_by_the_bed(tmp_path):
    mu(tmp_path / "plain.nii.gz")
    stored = mu(tmp_path / "mu.nii.gz", 1e4, dcm2niix=True)
    found = read_mumap(tmp_path / "mu.nii.gz", HEADER)
    assert found.affine[:3, 3] - stored.affine[:3, 3] == pytest.approx([0, 0, 30.5])
    assert (read_mumap(tmp_path / "plain.nii.gz", HEADER).affine == stored.affine).all(), "in the scanner's"
    assert (read_mumap(tmp_path / "mu.nii.gz").affine == stored.affine).all(), "without a header"
    assert bed_mm({}) == 0
    with pytest.raises(InputError, match="give millimetres"):
        bed_mm({"start horizontal bed position (mm)": "far"})


def test_a_dicom_series_is_read(tmp_path):
    write_pet(tmp_path / "umap", Modality="MR", Units=None, RescaleSlope=None, RescaleIntercept=None)
    volume = read_mumap(tmp_path / "umap", HEADER)
    plain = read_mumap(tmp_path / "umap")
    assert volume.unit == "1/cm" and volume.affine[2, 3] - plain.affine[2, 3] == pytest.approx(30.5)
    write_pet(tmp_path / "pet")
    with pytest.raises(InputError, match="is a PET series"):
        read_mumap(tmp_path / "pet")


def test_coil_and_table_attenuate_beyond_the_images_grid(tmp_path):
    """A slab of 10 mm of 0.1/cm outside the image takes exp(−0.1) of every line across it."""
    grid = Volume(np.zeros((10, 12, 8), np.float32), centred_affine((10, 12, 8), 4.0), "Bq/mL")
    body = grid.like(np.zeros(grid.shape, np.float32), "1/cm")
    slab = np.zeros((140, 140, 60), np.float32)
    slab[:, 10:20] = 0.1
    Volume(slab, centred_affine(slab.shape, 4.0), "1/cm").save(tmp_path / "slab.nii.gz")
    alone = mumap_on(grid, body)
    both = mumap_on(grid, body, tmp_path / "slab.nii.gz")
    assert alone.same_grid(grid) and both.shape >= (140, 140, 66)
    ends = np.array([[[1.0, -300, 2]], [[1.0, 300, 2]]], np.float32)
    assert attenuation_factors(alone, *ends) == pytest.approx([1.0])
    assert attenuation_factors(both, *ends) == pytest.approx(np.exp(-0.4), rel=1e-3)


@pytest.mark.parametrize("shape", [(10, 12, 8), (11, 13, 9), (150, 160, 90)])
def test_the_wider_grid_has_the_same_voxels(shape):
    grid = Volume(np.zeros(shape, np.float32), centred_affine(shape, 4.0), "1/cm")
    wide = _widened(grid)
    steps = (grid.affine[:3, 3] - wide.affine[:3, 3]) / 4.0
    assert (steps >= 0).all() and steps == pytest.approx(np.round(steps))
    assert wide.affine[:3, 3] == pytest.approx(centred_affine(wide.shape, 4.0)[:3, 3])

"""What headers of NIfTI leave open or contradict: place, unit, scale, kind of voxels; the check of grids."""

import re

import nibabel as nib
import numpy as np
import pytest

from csrd.errors import InputError
from csrd.io.files import read_json, write_json
from csrd.io.images import read_pet
from csrd.io.volume import Volume, centred_affine, refuse_other_grid
from csrd.stages.predict import predict
from csrd.units import agreed_unit

SHAPE = (20, 24, 18)
AFFINE = centred_affine(SHAPE, 2.4)
VALUES = np.random.default_rng(0).random(SHAPE).astype(np.float32)


def saved(path, array=VALUES, sform=AFFINE, qform=None, codes=(1, 1), units="mm"):
    image = nib.Nifti1Image(array, sform)
    image.set_sform(sform, codes[0])
    image.set_qform(sform if qform is None else qform, codes[1])
    image.header.set_xyzt_units(units)
    nib.save(image, path)
    return path


@pytest.mark.parametrize(("units", "to_mm"), [("meter", 1e3), ("micron", 1e-3), ("mm", 1), ("unknown", 1)])
def test_a_place_in_metres_or_micrometres_is_converted(tmp_path, caplog, units, to_mm):
    affine = np.diag([1 / to_mm] * 3 + [1]) @ AFFINE
    path = saved(tmp_path / "a.nii", sform=affine, units=units)
    volume = Volume.load(path)
    np.testing.assert_allclose(volume.affine, AFFINE, rtol=1e-6)
    np.testing.assert_allclose(Volume.grid_of(path).affine, AFFINE, rtol=1e-6)
    assert len(volume.notes) == (to_mm != 1) and (f"is the {units}: its affine" in caplog.text) == (
        to_mm != 1
    )


@pytest.mark.parametrize(("units", "edge"), [("meter", "2.4e+03"), ("micron", "0.0024")])
def test_a_unit_of_space_that_gives_impossible_voxels_is_refused(tmp_path, units, edge):
    path = saved(tmp_path / "a.nii", units=units)
    for read in (Volume.load, Volume.grid_of):
        with pytest.raises(InputError, match=re.escape(f"voxels of {edge} × {edge} × {edge} mm, its affine")):
            read(path)


def test_sform_and_qform_that_mirror_each_other_are_refused(tmp_path):
    path = saved(tmp_path / "a.nii", qform=np.diag([-1.0, 1, 1, 1]) @ AFFINE)
    for read in (Volume.load, Volume.grid_of):
        with pytest.raises(
            InputError, match="mirror each other; find out which one is right, and copy it over"
        ):
            read(path)
    saved(path, qform=np.diag([-1.0, 1, 1, 1]) @ AFFINE, codes=(1, 0))
    assert not Volume.load(path).notes, "a qform of code 0 says nothing"


def test_sform_and_qform_that_differ_otherwise_are_assumed_with_a_warning(tmp_path, caplog):
    moved = AFFINE.copy()
    moved[0, 3] += 12
    volume = Volume.load(saved(tmp_path / "a.nii", qform=moved))
    np.testing.assert_allclose(volume.affine, AFFINE, rtol=1e-6)
    assert "place its corners 5 voxels apart: the sform is taken" in volume.notes[0] == caplog.messages[0]


def test_no_orientation_is_assumed_with_a_warning_and_analyze_refused(tmp_path):
    volume = Volume.load(saved(tmp_path / "a.nii", codes=(0, 0)))
    assert (
        "has neither sform nor qform: the first axis is taken to run to the patient's left" in volume.notes[0]
    )
    assert volume.affine[0, 0] == pytest.approx(-2.4), "as the note says"
    nib.save(nib.AnalyzeImage(VALUES, np.diag([-2.4, 2.4, 2.4, 1])), tmp_path / "b.img")
    with pytest.raises(InputError, match="b.img is Analyze, which does not say left and right; convert it"):
        Volume.load(tmp_path / "b.img")
    image = nib.MGHImage(VALUES, AFFINE)
    image.header["goodRASFlag"] = 0
    nib.save(image, tmp_path / "c.mgz")
    with pytest.raises(InputError, match="c.mgz does not say where its voxels lie"):
        Volume.load(tmp_path / "c.mgz")
    nib.save(nib.MGHImage(VALUES, AFFINE), tmp_path / "d.mgz")
    np.testing.assert_allclose(Volume.load(tmp_path / "d.mgz").affine, AFFINE, atol=1e-5)


def test_colours_and_complex_numbers_are_refused(tmp_path):
    colours = np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(InputError, match="a.nii holds colours; save grey values"):
        Volume.load(saved(tmp_path / "a.nii", colours))
    with pytest.raises(InputError, match="b.nii holds complex numbers; save their magnitude"):
        Volume.grid_of(saved(tmp_path / "b.nii", VALUES.astype(np.complex64)))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".img"])
def test_a_scale_that_is_no_number_is_refused_and_an_offset_alone_is_said(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    image = nib.Nifti1Pair if suffix == ".img" else nib.Nifti1Image
    nib.save(image(VALUES, AFFINE), path)

    def scaled(slope, offset):
        header = path.with_suffix(".hdr") if suffix == ".img" else path
        with nib.openers.Opener(header, "rb") as stream:
            content = bytearray(stream.read())
        content[112:120] = np.array([slope, offset], "<f4").tobytes()
        with nib.openers.Opener(header, "wb") as stream:
            stream.write(bytes(content))

    for slope, offset in ((np.nan, np.nan), (np.inf, 0)):
        scaled(slope, offset)
        with pytest.raises(InputError, match=r"has a scale \(scl_slope\) that is not a number"):
            Volume.load(path)
    scaled(0, 5)
    volume = Volume.load(path)
    assert "offset (scl_inter 5) without a slope" in volume.notes[0] and np.array_equal(volume.array, VALUES)
    scaled(2, 5)
    np.testing.assert_allclose(Volume.load(path).array, 2 * VALUES + 5, rtol=1e-6)


def test_a_folder_or_a_slice_of_dicom_is_no_nifti(tmp_path):
    with pytest.raises(InputError, match="is a folder; give a NIfTI file"):
        Volume.load(tmp_path)
    (tmp_path / "a.dcm").write_bytes(bytes(128) + b"DICM" + bytes(100))
    with pytest.raises(InputError, match="a.dcm is one DICOM file; give the folder of its series"):
        Volume.load(tmp_path / "a.dcm")


def moved(by_mm=0.0, turned_rad=0.0) -> Volume:
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(turned_rad), -np.sin(turned_rad)], [np.sin(turned_rad), np.cos(turned_rad)]]
    turn[:3, 3] = by_mm, 0, 0
    return Volume(VALUES, turn @ AFFINE)


def test_affines_that_differ_by_rounding_are_one_grid():
    grid = Volume(VALUES, AFFINE)
    for other in (
        moved(2.4e-3),
        moved(0.03),
        moved(turned_rad=1e-3),
        Volume(VALUES, AFFINE.astype(np.float32)),
    ):
        assert other.same_grid(grid) and grid.same_grid(other)
        refuse_other_grid(other, grid, "this", "that", "resample it")
    reach_mm = np.hypot(9.5, 11.5) * 2.4  # of the corners from the axis of the turn
    for other, apart in ((moved(0.12), "0.05"), (moved(turned_rad=0.01), f"{0.01 * reach_mm / 2.4:.2g}")):
        assert not other.same_grid(grid)
        with pytest.raises(
            InputError, match=f"this is not on .* that .*corners lie up to {apart} voxels apart"
        ):
            refuse_other_grid(other, grid, "this", "that", "resample it")
    with pytest.raises(InputError, match="19×24×18 voxels against 20×24×18 voxels"):
        refuse_other_grid(Volume(VALUES[1:], AFFINE), grid, "this", "that", "resample it")


def test_requested_units_have_to_be_units_of_pet(tmp_path):
    path = tmp_path / "pet.nii"
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4)), path)
    with pytest.raises(InputError, match="--units: the unit 'furlong' is not"):
        read_pet(path, "furlong")


def test_units_have_to_agree(tmp_path):
    assert agreed_unit({"header": "Bq/mL", "sidecar": "BQML", "--units": None}) == "Bq/mL"
    assert agreed_unit({"header": "", "sidecar": None}) is None
    with pytest.raises(InputError, match="Bq/mL by its header, kBq/mL by --units; correct"):
        agreed_unit({"header": "Bq/mL", "--units": "kBq/mL"})
    Volume(VALUES, AFFINE, "Bq/mL").save(tmp_path / "a.nii.gz")
    write_json(tmp_path / "a.json", {"Units": "kBq/mL"})
    with pytest.raises(InputError, match="a.nii.gz: its unit is Bq/mL by its header, kBq/mL by its sidecar"):
        read_pet(tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match="says that its unit is Bq/mL, not 1/cm; check that it is the right"):
        Volume.load(tmp_path / "a.nii.gz", unit="1/cm")


def test_a_sidecar_with_a_mark_of_unicode_is_read(tmp_path):
    for encoding in ("utf-8-sig", "utf-16"):
        (tmp_path / "a.json").write_bytes('{"Units": "Bq/mL", "TracerName": "µ"}'.encode(encoding))
        assert read_json(tmp_path / "a.json") == {"Units": "Bq/mL", "TracerName": "µ"}


def test_assumptions_are_in_the_sidecar(tmp_path, caplog):
    low = saved(tmp_path / "low.nii.gz", sform=np.diag([1e-3, 1e-3, 1e-3, 1]) @ AFFINE, units="meter")
    write_json(tmp_path / "low.json", {"DoseReductionFactor": 6})
    write_json(tmp_path / "model" / "model.json", {"method": "lowdose"})
    predict([low], [tmp_path / "out.nii.gz"], model=tmp_path / "model", drf=4, units="kBq/mL")
    said = read_json(tmp_path / "out.json")
    assert "converted to mm" in said["InputNotes"][0] and said["Units"] == "kBq/mL"
    assert "dose reduction factor of 6 by its sidecar: 4 is used" in said["InputNotes"][1]
    assert caplog.messages == said["InputNotes"]
    written = nib.load(tmp_path / "out.nii.gz")
    np.testing.assert_allclose(written.affine, AFFINE, rtol=1e-5)
    assert written.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_allclose(np.asarray(written.dataobj), VALUES, rtol=1e-6)

"""The image type: valid and invalid NIfTI files, and the errors for them."""

import nibabel as nib
import numpy as np
import pytest

from csrd.errors import InputError
from csrd.io.volume import Volume, centred_affine

AFFINE = np.array([[0, -2.0, 0.3, 7], [1.9, 0, 0, -4], [0, 0.3, 3.0, 11], [0, 0, 0, 1]])


def nifti(path, array, affine=AFFINE):
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def test_what_is_saved_is_loaded(tmp_path):
    array = np.random.default_rng(0).random((4, 5, 6))
    Volume(array, AFFINE, "Bq/mL").save(tmp_path / "sub" / "a.nii.gz")
    volume = Volume.load(tmp_path / "sub" / "a.nii.gz")
    assert volume.unit == "Bq/mL" and volume.array.dtype == np.float32
    np.testing.assert_allclose(volume.array, array, rtol=1e-6)
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-5)


def test_masks_and_labels_stay_whole_numbers(tmp_path):
    for array, unit in ((np.eye(3)[None] > 0, "mask"), (np.arange(27).reshape(3, 3, 3), "label")):
        Volume(array, AFFINE, unit).save(tmp_path / "a.nii.gz")
        loaded = Volume.load(tmp_path / "a.nii.gz")
        assert np.issubdtype(loaded.array.dtype, np.integer) and (loaded.array == array).all()


def test_integers_with_a_slope_and_an_offset(tmp_path):
    image = nib.Nifti1Image(np.zeros((2, 2, 2), np.int16), AFFINE)
    image.header.set_slope_inter(0.5, 10)
    image.header.set_data_dtype(np.int16)
    nib.save(nib.Nifti1Image(np.full((2, 2, 2), 13.5), AFFINE, image.header), tmp_path / "a.nii")
    np.testing.assert_allclose(Volume.load(tmp_path / "a.nii").array, 13.5, atol=0.01)


def test_one_frame_is_a_volume_and_several_are_refused(tmp_path):
    assert Volume.load(nifti(tmp_path / "a.nii", np.ones((4, 5, 6, 1), np.float32))).shape == (4, 5, 6)
    with pytest.raises(InputError, match=r"shape \(4, 5, 6, 2\); give one 3D frame"):
        Volume.load(nifti(tmp_path / "b.nii", np.ones((4, 5, 6, 2), np.float32)))


def damaged(tmp_path, how):
    path = nifti(tmp_path / "a.nii", np.ones((9, 9, 9), np.float32))
    content = bytearray(path.read_bytes())
    if how == "cut":
        del content[-100:]
    elif how == "type":
        content[70:72] = b"\x0f\x27"  # the header's code for the voxels' type
    elif how == "text":
        content = b"no image"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("how", ["cut", "type", "text"])
def test_a_damaged_file_is_refused(tmp_path, how):
    with pytest.raises(InputError, match="a.nii is not a readable NIfTI image"):
        Volume.load(damaged(tmp_path, how))


def test_a_compressed_file_cut_short_is_refused(tmp_path):
    path = nifti(tmp_path / "a.nii.gz", np.random.default_rng(0).random((9, 9, 9)))
    path.write_bytes(path.read_bytes()[:-500])
    assert Volume.grid_of(path).shape == (9, 9, 9), "its header is whole"
    with pytest.raises(InputError, match="a.nii.gz is not a readable NIfTI image"):
        Volume.load(path)


def test_the_grid_alone(tmp_path):
    path = nifti(tmp_path / "a.nii", np.ones((4, 5, 6, 1), np.float32))
    assert Volume.grid_of(path).same_grid(Volume.load(path)) and not Volume.grid_of(path).array.any()
    with pytest.raises(InputError, match="give one 3D frame"):
        Volume.grid_of(nifti(tmp_path / "b.nii", np.ones((4, 5, 6, 2), np.float32)))
    with pytest.raises(InputError, match="does not exist"):
        Volume.grid_of(tmp_path / "none.nii")


def test_what_is_no_image_is_refused(tmp_path):
    with pytest.raises(InputError, match="none.nii does not exist"):
        Volume.load(tmp_path / "none.nii")
    nib.save(nib.GiftiImage(), tmp_path / "a.gii")
    with pytest.raises(InputError, match="a.gii is not a readable NIfTI image"):
        Volume.load(tmp_path / "a.gii")
    with pytest.raises(InputError, match="8 voxels that are not finite"):
        Volume.load(nifti(tmp_path / "nan.nii", np.full((2, 2, 2), np.nan, np.float32)))
    image = nib.Nifti1Image(np.ones((2, 2, 2), np.float32), np.eye(4))
    image.set_qform(None, 0)
    image.set_sform(np.diag([0.0, 0, 0, 1]), 1)
    nib.save(image, tmp_path / "flat.nii")
    with pytest.raises(InputError, match="an affine that is not invertible"):
        Volume.load(tmp_path / "flat.nii")


def test_voxel_sizes_and_grids():
    volume = Volume(np.zeros((4, 5, 6)), AFFINE)
    np.testing.assert_allclose(volume.voxel_mm, [1.9, np.hypot(2, 0.3), np.hypot(3, 0.3)])
    moved = AFFINE + np.pad([[0.05]], ((0, 3), (3, 0)))
    assert volume.same_grid(volume) and not volume.same_grid(Volume(volume.array, moved))
    assert not volume.same_grid(Volume(volume.array[1:], AFFINE))


def test_a_centred_grid_has_its_middle_at_zero():
    affine = centred_affine((4, 5, 6), 2.5)
    np.testing.assert_allclose(affine @ [1.5, 2, 2.5, 1], [0, 0, 0, 1])


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1), (-1, -1, -1)])
def test_canonical_axes_keep_every_voxel_in_its_place(order, signs):
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, list(order)] * signs * np.array([1.0, 2.0, 3.0])
    affine[:3, 3] = 5, -7, 11
    turned = Volume(np.random.default_rng(0).random((4, 5, 6)).astype(np.float32), affine, "Bq/mL")
    canonical = turned.canonical()
    assert (np.diag(canonical.affine)[:3] > 0).all()
    for index in np.ndindex(canonical.shape):
        world = canonical.affine @ (*index, 1)
        there = np.rint(np.linalg.solve(turned.affine, world)[:3]).astype(int)
        assert turned.array[tuple(there)] == canonical.array[index]
    back = canonical.with_axes_of(turned)
    assert np.array_equal(back.array, turned.array) and np.array_equal(back.affine, turned.affine)


def test_axes_at_45_degrees_are_put_back_as_they_were():
    """The order of such axes is decided by rounding: it need not be the same for the turned volume."""
    half = np.sqrt(0.5)
    affine = np.eye(4)
    affine[:3, :3] = 2 * np.array([[-half, 0.5, 0.5], [half, 0.5, 0.5], [0, -half, half]])
    turned = Volume(np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6), affine, "Bq/mL")
    for volume in (turned, Volume(turned.array[:4, :4, :4], affine, "Bq/mL")):
        back = volume.canonical().with_axes_of(volume)
        assert np.array_equal(back.array, volume.array) and np.array_equal(back.affine, affine)


def test_a_part_keeps_its_voxels_in_their_places():
    whole = Volume(
        np.arange(60.0).reshape(3, 4, 5),
        np.array([[0, -2.0, 0, 5], [1.5, 0, 0, -7], [0, 0, 3.0, 2], [0, 0, 0, 1]]),
        "Bq/mL",
    )
    part = whole.part((slice(1, 3), slice(0, 2), slice(2, 5)))
    assert part.shape == (2, 2, 3) and part.array[0, 0, 0] == whole.array[1, 0, 2]
    np.testing.assert_allclose(part.affine @ [1, 1, 2, 1], whole.affine @ [2, 1, 4, 1])

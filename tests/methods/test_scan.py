"""One scan of any kind denoised by one call: grid and unit come back, and what is wrong is said in a line."""

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

import csrd
from csrd.api import denoise
from csrd.errors import InputError
from csrd.io.files import read_json, sha256
from csrd.io.volume import Volume, centred_affine
from csrd.methods import method
from csrd.methods.base.denoise import Shown
from csrd.methods.learned.doubts import changed_mean, doubts, masked
from csrd.pretrained import packaged
from csrd.stages.predict import predict
from tests.align.head_phantom import grid_points, head, normal_and_low, rigid, rotation

SHAPE, VOXEL_MM, DRF = (44, 52, 47), 4.5, 6


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def pair() -> tuple[Volume, Volume]:
    return normal_and_low(SHAPE, centred_affine(SHAPE, VOXEL_MM), VOXEL_MM)


@pytest.fixture(scope="module")
def mr() -> Volume:
    """Return the head's MR in another place, on oblique axes, one of them mirrored."""
    shape, matrix = (60, 66, 70), rigid((7, -4, 5), (6, -9, 4))
    affine = np.eye(4)
    affine[:3, :3] = rotation(12, -7, 20) @ np.diag([-3.4, 3.2, 3.0])
    affine[:3, 3] = np.array([6, -9, 4]) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    back = np.linalg.inv(matrix)
    points = grid_points(shape, affine) @ back[:3, :3].T + back[:3, 3]
    return Volume(head(points, 1).astype(np.float32), affine, "arbitrary")


def error(image: Volume, normal: Volume) -> float:
    inside = normal.array > 2e3
    return float(np.sqrt(np.mean((image.array - normal.array)[inside] ** 2)))


def test_the_package_offers_it():
    assert csrd.denoise is denoise and set(csrd.__all__) <= set(dir(csrd))
    with pytest.raises(AttributeError, match="no attribute 'denoised'"):
        _ = csrd.denoised


def test_a_scan_without_mr_and_dose(pair):
    normal, low = pair
    found = csrd.denoise(low, device="cpu")
    assert low.array.min() < 0 <= found.image.array.min(), "voxels below zero are no reason to stop"
    assert found.image.same_grid(low) and found.image.unit == "Bq/mL" and found.std is None
    assert error(found.image, normal) < 0.8 * error(low, normal)
    facts = found.facts
    assert facts["Denoising"] == "CSRD w/o MR" and "DoseReductionFactor" not in facts
    assert facts["ModelSha256"] == sha256(packaged("csrdnomr") / "model.json") and facts["Seed"] == 2024
    assert facts["WeightsSha256"] == sha256(packaged("csrd") / "weights.safetensors")
    assert facts["Versions"]["csrd"] == csrd.__version__ and facts["Sampler"]["steps"] == 4


def test_an_oblique_mr_is_registered_and_resampled(pair, mr):
    normal, low = pair
    found = csrd.denoise(low, mr, drf=DRF)
    assert found.facts["Denoising"] == "CSRD w MR" and found.facts["DoseReductionFactor"] == DRF
    matrix, truth = np.array(found.facts["RegistrationMatrix"]), rigid((7, -4, 5), (6, -9, 4))
    points = np.array([[x, y, z, 1.0] for x in (-50, 50) for y in (-60, 60) for z in (-40, 50)])
    assert np.linalg.norm((points @ (matrix - truth).T)[:, :3], axis=1).mean() < VOXEL_MM / 2
    assert error(found.image, normal) < 0.8 * error(low, normal)
    in_place = Volume(head(grid_points(low.shape, low.affine), 1).astype(np.float32), low.affine, "arbitrary")
    expected = csrd.denoise(low, in_place, drf=DRF).image
    assert error(found.image, expected) < 0.1 * error(low, normal), "as if the MR had been in place"


def test_integers_with_a_slope_and_a_frame_more(pair, tmp_path):
    """A scanner's file: int16 with a slope, oblique axes, 4D with one frame. The same voxels come back."""
    affine = np.eye(4)
    affine[:3, :3] = rotation(8, 0, 10) @ np.diag([-VOXEL_MM, VOXEL_MM, VOXEL_MM])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    normal, low = normal_and_low(SHAPE, affine, VOXEL_MM)
    image = nib.Nifti1Image(low.array[..., None], affine)
    image.header.set_data_dtype(np.int16)
    nib.save(image, tmp_path / "low.nii")
    stored = nib.load(tmp_path / "low.nii")
    assert stored.header["scl_slope"] not in (0, 1) and stored.ndim == 4
    out, std = tmp_path / "out.nii.gz", tmp_path / "std.nii.gz"
    predict([tmp_path / "low.nii"], [out], stds=[std], drf=DRF, samples=2, steps=1)
    written = nib.load(out)
    assert written.shape == SHAPE and written.get_data_dtype() == np.float32
    np.testing.assert_allclose(written.affine, stored.affine, atol=1e-5)
    assert error(Volume.load(out), normal) < 0.8 * error(Volume.load(tmp_path / "low.nii"), normal)
    said = read_json(tmp_path / "out.json")
    assert said["Samples"] == 2 and said["Sampler"]["steps"] == 1 and "Units" not in said, "no one said it"
    assert Volume.load(std).array.max() > 0 and read_json(tmp_path / "std.json")["Description"].startswith(
        "Stand"
    )


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        ({"samples": 3}, "samples is given, but no sample is drawn"),
        ({"steps": 3, "product": "mean"}, "steps is given, but no sample is drawn"),
        ({"product": "best"}, "no product 'best'"),
        ({"product": "sample", "samples": 4}, "the product is one sample"),
        ({"model": "nowhere"}, "nowhere/model.json does not exist"),
    ],
)
def test_choices_that_make_no_sense(pair, choices, sentence):
    with pytest.raises(InputError, match=sentence):
        denoise(pair[1], drf=DRF, **choices)


@pytest.mark.parametrize("said", ["4", [4], 0, -2, float("nan"), 0.25, True])
def test_a_dose_that_is_none(pair, tmp_path, said):
    with pytest.raises(InputError, match="the dose reduction factor is .*; give a number of 1 or more"):
        denoise(pair[1], drf=said)
    pair[1].save(tmp_path / "low.nii.gz")
    (tmp_path / "low.json").write_text(json.dumps({"DoseReductionFactor": said}))
    with pytest.raises(InputError, match="the dose reduction factor is .* in the sidecar"):
        predict([tmp_path / "low.nii.gz"], [tmp_path / "out.nii.gz"])
    assert not (tmp_path / "out.nii.gz").exists()


def test_noise_beyond_what_was_learned_is_warned_of(pair, caplog):
    normal, low = pair
    assert "InputNotes" not in denoise(low).facts and "compare the image" not in caplog.text
    strong = low.like(normal.array + 40 * (low.array - normal.array))
    size, noise, mean = notes = denoise(strong).facts["InputNotes"]
    assert "litres" in size and "more fine detail and noise" in noise and "changed the mean" in mean
    assert all(note in caplog.text for note in notes)
    constant = np.where(normal.array > 0, 1e4, 0).astype(np.float32) + 1e3
    flat = Volume(constant, np.diag([4.0, 4, 4, 1]), "Bq/mL")  # voxels that are not resampled
    assert any("less fine detail and noise" in note for note in denoise(flat).facts["InputNotes"])


def test_what_is_no_head_is_said(pair):
    small = Volume(pair[1].array, centred_affine(SHAPE, 1.0), "Bq/mL")
    (note,) = denoise(small).facts["InputNotes"]
    assert "takes 0.04 litres" in note


def test_bright_places_that_pass_for_noise_are_said(pair):
    """A spot of 60 times the brain raised the noise level sixfold, and the image lost 6 dB to its input."""
    normal, low = pair
    clear = normal.array + 0.3 * (low.array - normal.array)
    assert not doubts(low.like(clear), None)
    clear[20:22, 25:27, 22:24] *= 60
    assert any("places in it are so bright" in doubt for doubt in doubts(low.like(clear), None))


def test_a_mean_that_is_not_kept_is_said(pair):
    low, inside = pair[0], pair[0].array > 2e3
    assert not changed_mean(low, low.like(0.97 * low.array), inside)
    assert "changed the mean in the head by -5%" in changed_mean(low, low.like(0.95 * low.array), inside)[0]


def test_a_brain_without_its_head_is_said(pair):
    """Its mean fell by 4 to 5 %, without a word."""
    low = pair[1]
    offset = (grid_points(SHAPE, low.affine) - (0, 2, 8)) / (66, 84, 68)
    brain = low.like(np.where(np.linalg.norm(offset, axis=-1) < 1, low.array, 0).astype(np.float32))
    assert any("zero right beside bright tissue" in note for note in denoise(brain).facts["InputNotes"])
    holed = low.array.copy()
    holed[np.random.default_rng(9).random(SHAPE) < 0.2] = 0
    assert not masked(low.like(holed)), "single zeros are those of a noisy scan"


def test_a_pet_in_the_mr_s_place_is_said(pair):
    low = pair[1]
    (note,) = denoise(low, low.like(low.array, "arbitrary")).facts["InputNotes"]
    assert "what was given as the MR has the noise of the PET itself" in note


def test_doubts_are_about_the_voxels_that_the_network_is_shown(pair, monkeypatch):
    low, shown = pair[1], []
    monkeypatch.setattr("csrd.methods.csrd.doubts", lambda low, mr: shown.extend((low, mr)) or [])
    thick = Volume(low.array[..., ::2], low.affine @ np.diag([1, 1, 2, 1]), "Bq/mL")
    Shown.to(method("csrd").load(packaged("csrd")), thick, thick).doubts()
    assert [volume.voxel_mm.tolist() for volume in shown] == [[4.0] * 3] * 2


@pytest.mark.parametrize("axis", range(3))
def test_an_mr_beside_its_place_is_said(pair, axis):
    low = pair[1]
    place = head(grid_points(SHAPE, low.affine), 1).astype(np.float32)
    for voxels in (0, 1, -2):
        mr = Volume(np.roll(place, voxels, axis), low.affine, "arbitrary")
        notes = denoise(low, mr).facts.get("InputNotes", [])
        assert [("some millimetres from its place" in note) for note in notes] == [True] * (voxels != 0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there(pair):
    with pytest.raises(InputError, match="there is no CUDA device"):
        denoise(pair[1], drf=DRF, device="cuda")


def test_what_is_no_head(pair):
    low = pair[1]
    with pytest.raises(InputError, match="44 × 52 × 1 voxels, too few to be a head; give the whole volume"):
        denoise(Volume(low.array[..., 23:24], low.affine, "Bq/mL"), drf=DRF)
    with pytest.raises(InputError, match="no voxel above zero"):
        denoise(low.like(-np.abs(low.array)), drf=DRF)
    with pytest.raises(InputError, match="the low-dose image is not a PET image"):
        denoise(low.like(low.array, "arbitrary"), drf=DRF)
    with pytest.raises(InputError, match="the MR: an image to be registered has no voxel above zero"):
        denoise(low, Volume(np.zeros((9, 9, 9), np.float32), np.eye(4)), drf=DRF)


def test_a_volume_of_integers_is_denoised_as_its_numbers(pair):
    """With noisy air around the head, and the deviation there."""
    low = pair[1]
    whole = Volume(np.pad(low.array, 12).astype(np.int16), low.affine, "Bq/mL")
    found = denoise(whole, std=True, samples=2)
    expected = denoise(whole.like(whole.array.astype(np.float32)), std=True, samples=2)
    assert "DenoisedVoxels" in found.facts
    assert np.array_equal(found.image.array, expected.image.array)
    assert np.array_equal(found.std.array, expected.std.array)


def test_an_mr_without_detail_is_no_pet(pair, recwarn):
    low = pair[1]
    flat = low.like(np.full(SHAPE, 3, np.int16), "arbitrary")
    assert not any("noise of the PET" in note for note in denoise(low, flat).facts.get("InputNotes", []))
    assert not recwarn.list


def test_voxels_of_a_volume_are_numbers(pair, mr):
    low = pair[1]
    holed = low.array.copy()
    holed[:2, 3, 3] = np.nan, np.inf
    with pytest.raises(InputError, match="the low-dose image has 2 voxels that are not finite; replace them"):
        denoise(low.like(holed))
    holed = mr.array.copy()
    holed[0, 0, 0] = np.nan
    with pytest.raises(InputError, match="the MR has 1 voxels that are not finite; replace them"):
        denoise(low, mr.like(holed))


def test_a_pet_that_cannot_be_registered_is_named_and_not_the_mr(pair, mr):
    low = pair[1]
    sheared = low.affine.copy()
    sheared[0, 2] = 1.0
    with pytest.raises(InputError, match="the low-dose image: .* sheared axes"):
        denoise(Volume(low.array, sheared, "Bq/mL"), mr)
    with pytest.raises(InputError, match="the low-dose image: .* no voxel above zero"):
        denoise(low.like(np.zeros_like(low.array)), mr)
    with pytest.raises(InputError, match="the low-dose image: .* too few to be a head"):
        denoise(Volume(low.array[..., :3], low.affine, "Bq/mL"), mr)


def said_by_csrd(*arguments: object) -> str:
    """Return the one line that the command says of a mistake."""
    command = [Path(sys.executable).with_name("csrd"), "denoise", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_a_file_cut_short(pair, tmp_path):
    pair[1].save(tmp_path / "low.nii.gz")
    whole = (tmp_path / "low.nii.gz").read_bytes()
    (tmp_path / "low.nii.gz").write_bytes(whole[: len(whole) // 2])
    line = said_by_csrd(tmp_path / "low.nii.gz", tmp_path / "out.nii.gz")
    assert "low.nii.gz is not a readable NIfTI image" in line and line.endswith("convert or copy it again\n")
    assert [path.name for path in tmp_path.iterdir()] == ["low.nii.gz"], "nothing is half-written"


def test_outputs_that_cannot_be(pair, tmp_path):
    low = tmp_path / "low.nii.gz"
    pair[1].save(low)
    for out, sentence in (
        (tmp_path / "out.txt", "name it with .nii.gz or .nii"),
        (low, "is an input too"),
        (low / "out.nii.gz", "Not a directory; choose another output folder"),
    ):
        with pytest.raises(InputError, match=sentence):
            predict([low], [out])
    with pytest.raises(InputError, match="is given as the PET and as the MR"):
        predict([low], [tmp_path / "a.nii.gz"], mr=low)
    with pytest.raises(InputError, match="for the image and for the standard deviation"):
        predict([low], [tmp_path / "a.nii.gz"], stds=[tmp_path / "a.nii.gz"])


def test_units_of_a_volume_are_agreed(pair):
    low = Volume(pair[1].array, pair[1].affine, "")
    with pytest.raises(InputError, match="furlong"):
        denoise(low, drf=DRF, units="furlong")
    with pytest.raises(InputError, match="its unit is"):
        denoise(low.like(low.array, "SUV"), drf=DRF, units="Bq/mL")
    assert denoise(low, drf=DRF, units="kBq/mL").image.unit == "kBq/mL"


def test_a_denoised_image_is_not_denoised_again(pair, tmp_path):
    pair[1].save(tmp_path / "low.nii.gz")
    (tmp_path / "low.json").write_text('{"Denoising": "CSRD w MR", "Units": "Bq/mL"}')
    with pytest.raises(InputError, match="denoised before, by CSRD w MR"):
        denoise(tmp_path / "low.nii.gz", drf=DRF)

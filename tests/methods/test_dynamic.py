"""A dynamic scan denoised: frame by frame, the MR registered once, frames without counts passed through."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import csrd
from csrd.errors import InputError
from csrd.io.files import read_json
from csrd.io.frames import read_frames
from csrd.io.volume import Volume, centred_affine, writing_frames
from csrd.stages import denoiser
from csrd.stages.predict import predict
from tests.align.head_phantom import grid_points, head, normal_and_low
from tests.ground.test_frames import dynamic
from tests.methods.test_scan import SHAPE, VOXEL_MM, one_thread

__all__ = ["one_thread"]  # a fixture for every test

LEVELS = (0.0, 0.3, 1.0, 2.0)  # activity in each frame; the first is before the injection
DURATIONS = [10, 20, 60, 120]
SAID = {
    "Units": "Bq/mL",
    "FrameTimesStart": [0, 10, 30, 90],
    "FrameDuration": DURATIONS,
    "ImageDecayCorrected": True,
    "ImageDecayCorrectionTime": 0,
    "DecayCorrectionFactor": [1.0, 1.1, 1.2, 1.4],
}


@pytest.fixture(scope="module")
def frames() -> tuple[Volume, np.ndarray]:
    """Return the phantom's normal dose, and noisy frames of it (X, Y, Z, T), the shorter the noisier."""
    normal, low = normal_and_low(SHAPE, centred_affine(SHAPE, VOXEL_MM), VOXEL_MM)
    noise = low.array - normal.array
    parts = [level * normal.array + level * noise * 5 / duration**0.5
             for level, duration in zip(LEVELS, DURATIONS, strict=True)]  # fmt: skip
    return normal, np.stack(parts, -1).astype(np.float32)


@pytest.fixture(scope="module")
def mr() -> Volume:
    affine = centred_affine(SHAPE, VOXEL_MM)
    return Volume(head(grid_points(SHAPE, affine), 1).astype(np.float32), affine, "arbitrary")


def write(folder: Path, grid: Volume, array: np.ndarray, **more) -> Path:
    path = folder / "dyn.nii.gz"
    with writing_frames(path, grid, array.shape[3]) as append:
        for index in range(array.shape[3]):
            append(array[..., index])
    (folder / "dyn.json").write_text(json.dumps(SAID | more))
    return path


def test_each_frame_is_denoised_by_its_own_noise(frames, mr, tmp_path):
    normal, array = frames
    scan, out, std = write(tmp_path, normal, array), tmp_path / "out.nii.gz", tmp_path / "std.nii.gz"
    mr.save(tmp_path / "mr.nii.gz")
    predict([scan], [out], mr=tmp_path / "mr.nii.gz", stds=[std], samples=2, steps=1, device="cpu")
    found, deviations = ([frame.volume for frame in read_frames(path)] for path in (out, std))
    np.testing.assert_array_equal(found[0].array, array[..., 0])
    assert not deviations[0].array.any()
    model = csrd.load_model("csrd", samples=2, steps=1, device="cpu")
    for index in (1, 3):  # as if the frame had been a scan of its own
        alone = model.denoise(normal.like(array[..., index]), mr, std=True)
        np.testing.assert_allclose(found[index].array, alone.image.array, rtol=1e-5)
        np.testing.assert_allclose(deviations[index].array, alone.std.array, rtol=1e-5)
    said = read_json(tmp_path / "out.json")
    assert {key: said[key] for key in SAID} == SAID, "times and decay correction are kept"
    assert said["FramesWithoutCounts"] == [1] and said["Denoising"] == "CSRD w MR"
    assert "frame 1 of 4 without counts in the head" in said["InputNotes"][0]
    assert found[1].unit == "Bq/mL" and found[1].same_grid(normal)
    assert "frame by frame" in read_json(tmp_path / "std.json")["Description"]


def test_frames_in_python_are_those_of_the_command(frames, tmp_path):
    normal, array = frames
    array = array[..., ::2]
    said = {"FrameTimesStart": [0, 30], "FrameDuration": [10, 60], "DecayCorrectionFactor": [1.0, 1.2]}
    scan, out = write(tmp_path, normal, array, **said), tmp_path / "out.nii.gz"
    predict([scan], [out], device="cpu")
    written = [frame.volume for frame in read_frames(out)]
    empty, found = csrd.denoise_frames(scan, device="cpu")
    volumes = [normal.like(array[..., index]) for index in range(2)]
    in_memory = [frame.image for frame in csrd.denoise_frames(volumes, durations=[10, 60], device="cpu")]
    for index, volume in enumerate(written):
        np.testing.assert_array_equal([empty, found][index].image.array, volume.array)
        np.testing.assert_array_equal(in_memory[index].array, volume.array)
    assert "Denoising" not in empty.facts
    assert "frame 1 of 2 without counts" in empty.facts["InputNotes"][0]
    assert (found.facts["Denoising"], found.facts["Units"]) == ("CSRD w/o MR", "Bq/mL")
    assert "InputNotes" not in found.facts and found.std is None
    with pytest.raises(InputError, match="the scan: the PET image has no voxel above zero"):
        csrd.denoise_frames([normal.like(0 * volume.array) for volume in volumes], device="cpu")


def test_a_scan_for_the_other_function_is_refused_with_its_name(frames, tmp_path):
    normal, array = frames
    scan = write(tmp_path, normal, array)
    normal.save(tmp_path / "one.nii.gz")
    with pytest.raises(InputError, match="has 4 frames; use csrd.denoise_frames"):
        csrd.denoise(scan)
    with pytest.raises(InputError, match="one frame only; leave static out"):
        csrd.denoise(tmp_path / "one.nii.gz", static=(0, 10))
    with pytest.raises(InputError, match="one frame only; leave it out"):
        csrd.denoise(normal, static=(0, 10))
    with pytest.raises(InputError, match="one frame only; use csrd.denoise"):
        csrd.denoise_frames(tmp_path / "one.nii.gz")
    with pytest.raises(InputError, match="is a file; write FrameDuration"):
        csrd.denoise_frames(scan, durations=DURATIONS)


def test_the_mr_is_registered_once_to_the_mean_by_duration(frames, mr, tmp_path, monkeypatch):
    normal, array = frames
    moved = np.eye(4)
    moved[:3, 3] = 9, 0, 0
    elsewhere = Volume(mr.array, moved @ mr.affine, "arbitrary")
    elsewhere.save(tmp_path / "mr.nii.gz")
    targets = []

    def register(moving, fixed, seed, threads):
        targets.append(fixed.array)
        return moved

    monkeypatch.setattr(denoiser, "register", register)
    predict([write(tmp_path, normal, array)], [tmp_path / "out.nii.gz"], mr=tmp_path / "mr.nii.gz")
    (target,) = targets
    np.testing.assert_allclose(target, array @ (np.array(DURATIONS) / sum(DURATIONS)), rtol=1e-4, atol=0.1)
    np.testing.assert_allclose(read_json(tmp_path / "out.json")["RegistrationMatrix"], moved)


def test_a_window_is_denoised_as_one_image(frames, tmp_path):
    normal, array = frames
    scan = write(tmp_path, normal, array)
    predict([scan], [tmp_path / "out.nii.gz"], static=(30, 210))
    weights = np.array([60 / 1.2, 120 / 1.4])
    mean = normal.like(array[..., 2:] @ (weights / weights.sum()).astype(np.float32))
    found = Volume.load(tmp_path / "out.nii.gz")
    expected = csrd.denoise(mean).image.array
    assert np.linalg.norm(found.array - expected) < 3e-3 * np.linalg.norm(expected), "rounding in bf16"
    assert np.linalg.norm(found.array - mean.array) > 3e-2 * np.linalg.norm(expected)
    assert read_json(tmp_path / "out.json")["StaticFrames"] == [3, 4]
    in_python = csrd.denoise(scan, static=(30, 210))
    np.testing.assert_array_equal(in_python.image.array, found.array)
    assert in_python.facts["StaticFrames"] == [3, 4]
    mean.save(tmp_path / "one.nii.gz")
    with pytest.raises(InputError, match="has one frame only; leave static out"):
        predict([tmp_path / "one.nii.gz"], [tmp_path / "b.nii.gz"], static=(30, 210))


def test_frames_unlike_the_training_are_named_in_one_sentence(frames, tmp_path, caplog):
    normal, array = frames
    noisy = array[..., 2] + 20 * (array[..., 2] - normal.array)
    array = np.stack([array[..., 3], noisy, noisy, array[..., 2]], -1)
    predict([write(tmp_path, normal, array)], [tmp_path / "out.nii.gz"])
    (note,) = read_json(tmp_path / "out.json")["InputNotes"]
    assert "doubts about frames 2-3; of frame 2: it has more fine detail and noise" in note
    assert note in caplog.text


def test_a_frame_of_noise_alone_is_left_as_it_is(frames, tmp_path, caplog):
    """The model follows so much noise: what it makes of this frame has many times its mean."""
    normal, array = frames
    low = normal_and_low(SHAPE, normal.affine, VOXEL_MM)[1].array
    noise = 40 * (low - normal.array) + 0.2 * normal.array
    inside = normal.array > 2e3
    spoilt = csrd.denoise(normal.like(noise)).image.array
    assert spoilt[inside].mean() > 2 * abs(noise[inside].mean()), "or this needs no test"
    array = np.stack([array[..., 3], noise, array[..., 3], array[..., 3]], -1).astype(np.float32)
    predict([write(tmp_path, normal, array)], [tmp_path / "out.nii.gz"])
    second = list(read_frames(tmp_path / "out.nii.gz"))[1].volume
    np.testing.assert_array_equal(second.array, array[..., 1])
    assert read_json(tmp_path / "out.json")["FramesTooNoisy"] == [2]
    assert "frame 2 of 4 with too much noise to be denoised" in caplog.text


def test_a_scan_without_any_counts_leaves_no_file(frames, tmp_path):
    normal, array = frames
    scan = write(tmp_path, normal, np.zeros_like(array))
    with pytest.raises(InputError, match="has no voxel above zero"):
        predict([scan], [tmp_path / "out.nii.gz"])
    assert not (tmp_path / "out.nii.gz").exists()


def test_a_denoised_dynamic_scan_is_not_denoised_again(frames, tmp_path):
    normal, array = frames
    scan = write(tmp_path, normal, array, Denoising="CSRD w MR")
    with pytest.raises(InputError, match="was denoised before"):
        predict([scan], [tmp_path / "out.nii.gz"])


def test_csrd_denoises_a_dynamic_series_into_a_series(tmp_path):
    values = dynamic(tmp_path / "pet", RescaleIntercept=0)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.json").write_text('{"method": "lowdose"}')
    command = [Path(sys.executable).with_name("csrd"), "denoise", tmp_path / "pet"]
    model = ["--model", tmp_path / "model", "--drf", "4"]

    def run(*arguments):
        return subprocess.run([*command, *arguments, *model], capture_output=True, text=True)

    assert (done := run(tmp_path / "out")).returncode == 0, done.stderr
    source, derived = read_frames(tmp_path / "pet"), read_frames(tmp_path / "out")
    assert derived.count == 3 and derived.sidecar == source.sidecar | {"Denoising": "Low-Dose"}
    with pytest.raises(InputError, match="out was denoised before, by Low-Dose"):
        predict([tmp_path / "out"], [tmp_path / "again"])
    for before, after in zip(source, derived, strict=True):
        np.testing.assert_allclose(after.volume.array, before.volume.array.clip(0), atol=0.2)
    assert (done := run(tmp_path / "mean.nii.gz", "--static", "2731-2736")).returncode == 0, done.stderr
    assert Volume.load(tmp_path / "mean.nii.gz").unit == "Bq/mL"
    said = read_json(tmp_path / "mean.json")
    assert said["StaticFrames"] == [2, 3] and said["FrameDuration"] == [5]
    assert "--static is '5-3'; write its start" in run(tmp_path / "b.nii.gz", "--static", "5-3").stderr
    assert values.shape[3] == 3


def test_the_page_of_a_dynamic_scan_shows_its_mean(frames, tmp_path):
    path = write(tmp_path, *frames)
    predict([path], [tmp_path / "out.nii.gz"], reports=[tmp_path / "page.html"])
    text = (tmp_path / "page.html").read_text()
    assert "dyn.nii.gz is dynamic: this page shows the mean of its 4 frames" in text

"""Dynamic scans: read and written frame by frame, their times, and the mean of a window."""

import json
import tracemalloc

import nibabel as nib
import numpy as np
import pydicom
import pytest

from csrd.errors import InputError
from csrd.io.dicom import new_series, read_series
from csrd.io.frames import frame_times, frames_of, read_frames, static_image
from csrd.io.volume import Volume, centred_affine, writing_frames
from tests.ground.test_dicom import SHAPE as DICOM_SHAPE
from tests.ground.test_dicom import write_pet

SHAPE, VOXEL_MM = (6, 5, 4), 3.0
GRID = Volume(np.zeros(SHAPE, np.float32), centred_affine(SHAPE, VOXEL_MM), "Bq/mL")


def voxels(count: int) -> np.ndarray:
    return np.random.default_rng(3).normal(100, 30, (*SHAPE, count)).astype(np.float32)


def write(path, array, **sidecar):
    with writing_frames(path, GRID, array.shape[3], step=7.0) as append:
        for index in range(array.shape[3]):
            append(array[..., index])
    path.with_name(path.name.partition(".")[0] + ".json").write_text(json.dumps(sidecar))
    return path


@pytest.mark.parametrize("name", ["pet.nii", "pet.nii.gz"])
def test_frames_come_back_as_they_were_written(tmp_path, name):
    array = voxels(5)
    path = write(tmp_path / name, array)
    image = nib.load(path)
    np.testing.assert_array_equal(image.get_fdata(dtype=np.float32), array)
    np.testing.assert_allclose(image.affine, GRID.affine)
    assert image.header.get_zooms() == (VOXEL_MM,) * 3 + (7.0,)
    frames = read_frames(path)
    assert (frames.count, frames.step, frames.grid.unit) == (5, 7.0, "Bq/mL")
    for index, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.volume.array, array[..., index])
    again = write(tmp_path / f"again-{name}", array)
    assert again.read_bytes() == path.read_bytes()


def test_integers_with_a_slope_are_scaled(tmp_path):
    image = nib.Nifti1Image(np.ones((*SHAPE, 2)), GRID.affine)
    image.header.set_data_dtype(np.int16)
    image.dataobj[..., 1] = 4.5
    nib.save(image, tmp_path / "pet.nii.gz")
    found = [frame.volume.array for frame in read_frames(tmp_path / "pet.nii.gz")]
    np.testing.assert_allclose(found, [np.ones(SHAPE), np.full(SHAPE, 4.5)], atol=1e-3)


def test_one_frame_is_no_dynamic_scan(tmp_path):
    GRID.save(tmp_path / "pet.nii.gz")
    assert read_frames(tmp_path / "pet.nii.gz") is None


def test_memory_does_not_grow_with_the_number_of_frames(tmp_path):
    shape, peaks = (32, 32, 32), []
    grid = Volume(np.zeros(shape, np.float32), centred_affine(shape, 2.0), "Bq/mL")
    for count in (3, 60):
        path = tmp_path / f"{count}.nii.gz"
        tracemalloc.start()
        with writing_frames(path, grid, count) as append:
            for _ in range(count):
                append(grid.array)
        sum(frame.volume.array.sum() for frame in read_frames(path))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] < 1.2 * 12 * grid.array.nbytes


def test_an_unfinished_image_leaves_no_file(tmp_path):
    with (
        pytest.raises(AssertionError, match="1 of 2 frames"),
        writing_frames(tmp_path / "a.nii", GRID, 2) as f,
    ):
        f(GRID.array)
    assert list(tmp_path.iterdir()) == []


def test_a_frame_that_is_not_finite_has_its_number(tmp_path):
    array = voxels(3)
    array[2, 2, 2, 1] = np.nan
    frames = read_frames(write(tmp_path / "pet.nii", array))
    with pytest.raises(InputError, match=r"frame 2 of .*pet\.nii has 1 voxels that are not finite"):
        list(frames)


def test_the_mean_is_weighted_by_duration(tmp_path):
    array = voxels(3)
    path = write(tmp_path / "pet.nii", array, FrameTimesStart=[0, 10, 40], FrameDuration=[10, 30, 60])
    frames = read_frames(path)
    np.testing.assert_allclose(frames.weights, [0.1, 0.3, 0.6])
    np.testing.assert_allclose(
        frames.mean(range(3), frames.weights).array, array @ [0.1, 0.3, 0.6], rtol=1e-5
    )


def test_frames_of_unknown_duration_count_alike_and_this_is_said(tmp_path):
    frames = read_frames(write(tmp_path / "pet.nii", voxels(4)))
    np.testing.assert_allclose(frames.weights, 0.25)
    assert "does not say how long its frames are" in frames.notes[0]


def test_durations_that_are_ends_are_recognised(tmp_path):
    """As the sidecars of two public example datasets have them."""
    said = {"FrameTimesStart": [0, 20, 60, 180], "FrameDuration": [20, 60, 180, 420]}
    times, notes = frame_times(tmp_path / "pet.nii", said, 4)
    np.testing.assert_array_equal(times.durations, [20, 40, 120, 240])
    assert not times.overlap and "holds the ends" in notes[0]


def test_frames_that_overlap_are_said_and_have_no_window(tmp_path):
    said = {"FrameTimesStart": [0, 20, 60], "FrameDuration": [30, 70, 20]}
    times, notes = frame_times(tmp_path / "pet.nii", said, 3)
    assert "overlap" in notes[0]
    with pytest.raises(InputError, match="overlap by its sidecar"):
        times.window(0, 80, "pet.nii")


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"FrameDuration": [10, 10]}, "3 frames, but its sidecar has 2 numbers in FrameDuration"),
        ({"FrameDuration": ["a", 1, 2]}, "write a list of numbers"),
        ({"FrameDuration": [10, 0, 10]}, "do not follow one another"),
        ({"FrameDuration": [9, 9, 9], "FrameTimesStart": [0, 20, 10]}, "do not follow one another"),
    ],
)
def test_times_that_are_none(tmp_path, said, sentence):
    with pytest.raises(InputError, match=sentence):
        frame_times(tmp_path / "pet.nii", said, 3)


def test_frames_in_memory_are_a_scan(tmp_path):
    array = voxels(3)
    volumes = [GRID.like(array[..., index]) for index in range(3)]
    frames = frames_of(volumes, "scan", [10, 30, 60])
    np.testing.assert_allclose(
        frames.mean(range(3), frames.weights).array, array @ [0.1, 0.3, 0.6], rtol=1e-5
    )
    assert [frame.volume for frame in frames] == volumes and frames.grid.same_grid(GRID)
    assert "all have the same weight" in frames_of(volumes[:1], "scan").notes[0]
    moved = Volume(array[..., 0], np.diag([2, 2, 2, 1.0]), "Bq/mL")
    for wrong, durations, sentence in (
        ([], None, "scan has no frame; give one volume for each"),
        (volumes, [1, 2], r"scan has 3 frames, but durations are \[1, 2\]"),
        (volumes, [1, 2, 0], "give seconds for each"),
        ([volumes[0], moved], None, "frame 2 of scan lies on another grid"),
        (
            [volumes[0], GRID.like(array[..., 1], "SUV")],
            None,
            "frame 2 of scan is in SUV, the first in Bq/mL",
        ),
    ):
        with pytest.raises(InputError, match=sentence):
            frames_of(wrong, "scan", durations)


HALF_LIFE_S, STARTS, DURATIONS = 1224.0, [0.0, 600.0, 1800.0, 3000.0], [600.0, 1200.0, 1200.0, 2400.0]
RATE = np.log(2) / HALF_LIFE_S


def remaining(start: float, duration: float) -> float:
    """Return ∫ e^(−λt) dt over a frame, in s."""
    return (np.exp(-RATE * start) - np.exp(-RATE * (start + duration))) / RATE


def decaying(activity: np.ndarray, corrected: bool) -> np.ndarray:
    """Return the frames of voxels without kinetics, whose activity at time zero is given."""
    means = [remaining(a, b) / b for a, b in zip(STARTS, DURATIONS, strict=True)]
    return np.stack([activity if corrected else activity * mean for mean in means], -1).astype(np.float32)


def test_the_static_image_is_that_of_all_counts_of_the_window(tmp_path):
    """Noise of each frame included: counts are the sum of frames without correction, corrected once."""
    array = voxels(4)
    said = {"FrameTimesStart": STARTS, "FrameDuration": DURATIONS, "ImageDecayCorrected": True}
    said |= {"ImageDecayCorrectionTime": 0, "TracerRadionuclide": "C11", "ScatterFraction": [1, 2, 3, 4]}
    found = static_image(read_frames(write(tmp_path / "pet.nii", array, **said)), 600, 5400)
    lived = [remaining(a, b) for a, b in zip(STARTS, DURATIONS, strict=True)]
    counts = sum(array[..., k] * lived[k] for k in (1, 2, 3))  # ∝ decays in each voxel
    expected = counts / remaining(600, 4800)
    np.testing.assert_allclose(found.volume.array, expected, rtol=1e-5)
    facts = found.sidecar
    assert (facts["FrameTimesStart"], facts["FrameDuration"]) == ([600], [4800])
    assert facts["StaticFrames"] == [2, 4] and "decay correction" in facts["StaticWeights"]
    assert "ScatterFraction" not in facts, "it is of each frame"
    np.testing.assert_allclose(facts["DecayCorrectionFactor"], [4800 / remaining(600, 4800)])


def test_frames_without_kinetics_have_their_activity_as_static_image(tmp_path):
    activity = voxels(1)[..., 0]
    for corrected in (True, False):
        said = {"FrameTimesStart": STARTS, "FrameDuration": DURATIONS, "ImageDecayCorrected": corrected}
        said |= {"ImageDecayCorrectionTime": 0, "RadionuclideHalfLife": HALF_LIFE_S}
        path = write(tmp_path / f"{corrected}.nii", decaying(activity, corrected), **said)
        found = static_image(read_frames(path), 0, 1800)
        expected = activity if corrected else activity * remaining(0, 1800) / 1800
        np.testing.assert_allclose(found.volume.array, expected, rtol=1e-5)


def test_a_window_that_cuts_a_frame_is_refused_with_the_whole_ones(tmp_path):
    said = {"FrameTimesStart": STARTS, "FrameDuration": DURATIONS, "ImageDecayCorrected": False}
    frames = read_frames(write(tmp_path / "pet.nii", voxels(4), **said))
    with pytest.raises(InputError, match=r"700-3000 s cuts frame 2 of .*, 600 to 1800 s; write 600-3000"):
        static_image(frames, 700, 3000)
    with pytest.raises(InputError, match="no frame from 9000 to 9600 s: its frames are from 0 to 5400 s"):
        static_image(frames, 9000, 9600)
    assert static_image(frames, 599.6, 1800.3).sidecar["StaticFrames"] == [2, 2], "clocks are rounded"


def test_a_decay_correction_that_is_not_known_is_not_guessed(tmp_path):
    said = {"FrameTimesStart": STARTS, "FrameDuration": DURATIONS}
    corrected = write(tmp_path / "a.nii", voxels(4), **said, ImageDecayCorrected=True)
    with pytest.raises(InputError, match="its sidecar does not say how; write ImageDecayCorrectionTime"):
        static_image(read_frames(corrected), 0, 1800)
    found = static_image(read_frames(write(tmp_path / "b.nii", voxels(4), **said)), 0, 1800)
    assert "weighted by duration alone" in found.volume.notes[-1]
    with pytest.raises(InputError, match="does not say when its frames are"):
        static_image(read_frames(write(tmp_path / "c.nii", voxels(4))), 0, 1800)


def dynamic(folder, count=3, **changes) -> np.ndarray:
    """Write a dynamic DICOM series; return its values (X, Y, Z, T)."""
    folder.mkdir()
    arrays, series = [], pydicom.uid.generate_uid()
    for frame in range(count):
        said = {
            "SeriesInstanceUID": series,
            "SeriesType": ["DYNAMIC", "IMAGE"],
            "AcquisitionTime": f"10153{(0, 1, 3)[frame]}.000",
            "ActualFrameDuration": 1000 * (frame + 1),
            "FrameReferenceTime": 500.0 + 1000 * frame,
            "NumberOfTimeSlices": count,
            "DecayFactor": 1.5 + frame,
            "RescaleSlope": frame + 1.0,
        }
        arrays.append(write_pet(folder / f"part{frame}", **said | changes))
        for path in list((folder / f"part{frame}").iterdir()):
            path.rename(folder / f"{2 - frame}-{path.name}")
        (folder / f"part{frame}").rmdir()
    slopes = np.array([0.5, 2.0, 1.25, 3.0])
    return np.stack([(a + 4) / slopes * (k + 1) - 4 for k, a in enumerate(arrays)], -1)


def test_a_dynamic_series_is_read_in_the_order_of_time(tmp_path):
    values = dynamic(tmp_path / "pet")
    frames = read_frames(tmp_path / "pet")
    assert frames.count == 3 and frames.grid.unit == "Bq/mL"
    for index, frame in enumerate(frames):
        np.testing.assert_allclose(frame.volume.array, values[..., index], rtol=1e-6)
    facts = frames.sidecar
    assert facts["FrameTimesStart"] == [2730, 2731, 2733] and facts["FrameDuration"] == [1, 2, 3]
    assert facts["DecayCorrectionFactor"] == [1.5, 2.5, 3.5] and facts["TimeZero"] == "09:30:00"


def test_a_dynamic_series_without_injection_starts_at_zero(tmp_path):
    def without(image, index):
        del image.RadiopharmaceuticalInformationSequence

    dynamic(tmp_path / "pet", edit=without)
    facts = read_frames(tmp_path / "pet").sidecar
    assert (facts["TimeZero"], facts["FrameTimesStart"]) == ("10:15:30", [0, 1, 3])


def test_frames_that_cannot_be_told_apart(tmp_path):
    dynamic(tmp_path / "a", FrameReferenceTime=1.0, AcquisitionTime="101530")
    with pytest.raises(InputError, match="several slices at one position, and no times that divide them"):
        read_frames(tmp_path / "a")
    dynamic(tmp_path / "b", SeriesType=["GATED", "IMAGE"])
    with pytest.raises(InputError, match="gated series"):
        read_frames(tmp_path / "b")
    dynamic(tmp_path / "c")
    next((tmp_path / "c").iterdir()).unlink()
    with pytest.raises(InputError, match="export the whole dynamic series again"):
        read_frames(tmp_path / "c")


def test_a_static_series_stays_one(tmp_path):
    write_pet(tmp_path / "pet")
    assert read_frames(tmp_path / "pet") is None


def test_a_dynamic_series_is_written_as_one(tmp_path):
    values = dynamic(tmp_path / "pet")
    with new_series(tmp_path / "out", "denoised by CSR-D") as add:
        for frame in read_frames(tmp_path / "pet"):
            add(frame.volume.like(2 * frame.volume.array), frame.series)
    frames = read_frames(tmp_path / "out")
    for index, frame in enumerate(frames):
        scale = np.abs(2 * values[..., index]).max() / 32_767
        np.testing.assert_allclose(frame.volume.array, 2 * values[..., index], atol=scale)
    assert frames.sidecar == read_frames(tmp_path / "pet").sidecar | {"Denoising": "CSR-D"}
    headers = [pydicom.dcmread(path) for path in sorted((tmp_path / "out").iterdir())]
    assert [header.InstanceNumber for header in headers] == list(range(1, 1 + 3 * DICOM_SHAPE[2]))
    assert [header.ImageIndex for header in headers] == [header.InstanceNumber for header in headers]
    assert len({header.SeriesInstanceUID for header in headers}) == 1
    assert {header.NumberOfSlices for header in headers} == {DICOM_SHAPE[2]}
    with pytest.raises(InputError, match="two slices at one position"):
        read_series(tmp_path / "out")

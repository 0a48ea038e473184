"""Time frames of one list-mode file: a cylinder whose activity decays, and one filled during the scan."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from csrd.config import load_apart
from csrd.errors import InputError
from csrd.io.frames import read_frames, static_image
from csrd.io.volume import Volume
from csrd.listmode import open_listmode, write_hrrt
from csrd.listmode.events import DELAYED, PROMPT
from csrd.listmode.frame import frames_of
from csrd.recon import dynamic, packed
from csrd.recon.dynamic import of_all_frames, reconstruct_frames
from csrd.scanner.geometry import hrrt
from csrd.stages.recon import reconstruct
from csrd.stages.recon import reconstruct_frames as write_frames
from tests import petsird_files
from tests.recon.conftest import ACTIVITY, SCAN, SETTINGS

RATE = math.log(2) / 10  # of the decay, per s
SECONDS = 5.0, 5.0, 10.0, 20.0
FRAMES = SETTINGS.model_copy(update={"frames": SECONDS, "iterations": 2})


@pytest.fixture(scope="module")
def decayed(cylinder, tmp_path_factory) -> Path:
    """Return the cylinder's scan with a half-life of 10 s: its events are kept by the decay that it lacks.

    The random prompts and the delayeds, kept alike, still have one rate.
    """
    rate, draw = RATE - math.log(2) / SCAN.half_life_s, np.random.default_rng(1)
    whole, path = open_listmode(cylinder.path), tmp_path_factory.mktemp("frames") / "sub-01_listmode.l64"
    segments = []
    for block in whole.blocks():
        stays = draw.random(len(block)) < np.exp(-rate * 1e-3 * block.time_ms)
        segments.append((block.crystals[stays], block.prompt[stays], block.time_ms[stays]))
    write_hrrt(path, segments, dict(whole.header) | {"isotope halflife": 10})
    return path


@pytest.fixture(scope="module")
def images(cylinder, decayed) -> tuple[list[Volume], dict]:
    arguments = cylinder.mumap, cylinder.efficiencies, cylinder.sensitivity, hrrt(), FRAMES, 1, 1, "sub-01"
    found = list(reconstruct_frames(open_listmode(decayed), *arguments))
    return [image for image, _ in found], of_all_frames([sidecar for _, sidecar in found])


def test_every_frame_has_the_activity_at_the_scans_start(cylinder, images):
    """Without decay correction the last frame would have a sixth of it."""
    core = cylinder.radius() < 40
    means = [image.array[core].mean() for image in images[0]]
    np.testing.assert_allclose(np.array(means) / ACTIVITY, 1, atol=0.03)


def test_the_sum_of_the_frames_counts_is_the_static_images(cylinder, decayed, images):
    info = open_listmode(decayed).info()
    frames, whole = frames_of(open_listmode(decayed), SECONDS)
    assert sum(images[1]["Prompts"]) == sum(frame.found.counts[PROMPT] for frame in frames) == info["prompts"]
    assert sum(images[1]["Delayeds"]) == info["delayeds"] == whole.counts[DELAYED]
    expected = -np.diff(np.exp(-RATE * np.append(0, np.cumsum(SECONDS))))
    prompts = np.array(images[1]["Prompts"])
    np.testing.assert_allclose(prompts / prompts.sum(), expected / expected.sum(), rtol=0.03)


def test_the_sidecar_states_times_and_decay_correction(images):
    said = images[1]
    assert said["FrameTimesStart"] == [0, 5, 10, 20] and said["FrameDuration"] == list(SECONDS)
    assert said["ImageDecayCorrected"] is True and said["ImageDecayCorrectionTime"] == 0
    for start, length, factor in zip([0, 5, 10, 20], SECONDS, said["DecayCorrectionFactor"], strict=True):
        lived = math.exp(-RATE * start) - math.exp(-RATE * (start + length))
        assert factor == pytest.approx(RATE * length / lived)


def test_frames_have_exactly_their_events(decayed):
    listmode = open_listmode(decayed)
    times = np.concatenate([block.time_ms for block in listmode.blocks()])
    frames, _ = frames_of(listmode, SECONDS)
    first = 0
    for frame, end_s in zip(frames, np.cumsum(SECONDS), strict=True):
        found = np.concatenate([block.time_ms for block in frame.blocks(1000)])
        last = first + len(found)
        assert (found == times[first:last]).all() and (found < 1000 * end_s).all()
        first = last
    assert first == len(times)
    part, _ = frames_of(listmode, [2.5])
    assert part[0].found.covered_s == 2.5, "the rest of the scan is not used"


def test_a_filled_cylinder_has_its_course(cylinder, tmp_path):
    """A third of the events before 20 s, all after: a third of the activity, and all of it."""
    whole, draw, segments = open_listmode(cylinder.path), np.random.default_rng(2), []
    for block in whole.blocks():
        stays = (block.time_ms >= 20_000) | (draw.random(len(block)) < 1 / 3)
        segments.append((block.crystals[stays], block.prompt[stays], block.time_ms[stays]))
    write_hrrt(tmp_path / "filled.l64", segments, dict(whole.header))
    settings = FRAMES.model_copy(update={"frames": (10.0, 10.0, 20.0), "iterations": 1})
    arguments = cylinder.mumap, cylinder.efficiencies, cylinder.sensitivity, hrrt(), settings, 1, 1, "sub-01"
    core = cylinder.radius() < 40
    frames = reconstruct_frames(open_listmode(tmp_path / "filled.l64"), *arguments)
    means = np.array([image.array[core].mean() for image, _ in frames])
    np.testing.assert_allclose(means / ACTIVITY, [1 / 3, 1 / 3, 1], rtol=0.04)


def test_one_4d_image_and_its_mean_is_the_static_image(cylinder, decayed, tmp_path):
    """By the command's function; the frames' mean, weighted as `csrd denoise --static` does."""
    settings = FRAMES.model_copy(update={"iterations": 1})
    for name in ("mumap", "sensitivity"):
        getattr(cylinder, name).save(tmp_path / f"{name}.nii.gz")
    np.save(tmp_path / "eff.npy", cylinder.efficiencies)
    files = {"mumap": tmp_path / "mumap.nii.gz", "normalisation": tmp_path / "eff.npy"}
    how = files | {
        "sensitivity": tmp_path / "sensitivity.nii.gz",
        "seed": 1,
        "subject": "sub-01",
        "threads": 2,
    }
    write_frames(decayed, tmp_path / "dynamic.nii.gz", recon=settings, **how)
    frames = read_frames(tmp_path / "dynamic.nii.gz")
    assert frames.count == 4 and frames.grid.unit == "Bq/mL" and frames.grid.same_grid(cylinder.sensitivity)
    assert frames.sidecar["AttenuationCorrection"] == "μ-map" and frames.sidecar["Units"] == "Bq/mL"
    core = cylinder.radius() < 40
    image = static_image(frames, 0, 40).volume
    reconstruct(decayed, tmp_path / "static.nii.gz", recon=settings, **how, log="unused")
    static = Volume.load(tmp_path / "static.nii.gz")
    assert image.array[core].mean() == pytest.approx(static.array[core].mean(), rel=0.01)
    assert json.loads((tmp_path / "static.json").read_text())["FrameTimesStart"] == [0]


def test_a_long_scan_has_the_same_frames(cylinder, decayed, images, monkeypatch):
    monkeypatch.setattr(packed, "LONG_BYTES", 0)
    settings = FRAMES.model_copy(update={"frames": SECONDS[:2]})
    arguments = cylinder.mumap, cylinder.efficiencies, cylinder.sensitivity, hrrt(), settings, 1, 1, "sub-01"
    core = cylinder.radius() < 40
    for (image, sidecar), former in zip(reconstruct_frames(open_listmode(decayed), *arguments), images[0],
                                        strict=False):  # fmt: skip
        assert image.array[core].mean() == pytest.approx(former.array[core].mean(), rel=0.01)
        assert sidecar["Prompts"] in images[1]["Prompts"]


def test_scatter_of_the_scan_is_divided_among_the_frames(cylinder, decayed, monkeypatch):
    tables = []

    def recorded(frame, *arguments, scatter_table):
        tables.append(scatter_table)
        return None, {}

    monkeypatch.setattr(dynamic, "reconstruct", recorded)
    arguments = cylinder.mumap, cylinder.efficiencies, cylinder.sensitivity, hrrt(), FRAMES, 1, 1, "sub-01"
    table = np.ones((2, 3), np.float32)
    said = [sidecar for _, sidecar in reconstruct_frames(open_listmode(decayed), *arguments, table)]
    np.testing.assert_allclose(sum(tables), table, rtol=1e-5)
    frames, _ = frames_of(open_listmode(decayed), SECONDS)
    trues = np.array([frame.found.counts[PROMPT] - frame.found.counts[DELAYED] for frame in frames])
    np.testing.assert_allclose([found[0, 0] for found in tables], trues / trues.sum(), rtol=1e-5)
    assert all("from the scan" in one["ScatterCorrectionMethod"] for one in said)


def test_frames_without_a_place_are_one_sentence(decayed, tmp_path):
    listmode = open_listmode(decayed)
    with pytest.raises(InputError, match="are 50 s together, but .* lasts 40 s; shorten"):
        frames_of(listmode, [20, 30])
    frames_of(listmode, [20, 20.05]), "a rounded duration"
    with pytest.raises(InputError, match="recon.frames.*set frames to null|frames are given, but engine"):
        load_apart({"recon": {"frames": [10], "engine": "command", "command": {
            "run": "x {listmode} {output}", "scales_dose": "csrd", "unit": "Bq/mL"}}})  # fmt: skip
    with pytest.raises(InputError, match="frames"):
        load_apart({"recon": {"frames": [0]}})
    with pytest.raises(InputError, match="frames"):
        load_apart({"recon": {"frames": []}})


def test_frames_longer_than_the_header_says_are_refused_before_anything_is_read(decayed, tmp_path):
    too_long = FRAMES.model_copy(update={"frames": (1e4,)})
    with pytest.raises(InputError, match="are 10000 s together"):
        write_frames(decayed, tmp_path / "pet.nii.gz", recon=too_long, seed=1, subject="sub-01", threads=1,
                     mumap=tmp_path / "absent.nii.gz")  # fmt: skip


def test_a_clock_that_goes_back_has_no_frames(decayed, tmp_path):
    words = np.fromfile(decayed, "<u4").reshape(-1, 2)
    (tmp_path / "back.l64").write_bytes(np.concatenate([words[len(words) // 2 :], words[:1000]]).tobytes())
    header = decayed.with_name(decayed.name + ".hdr").read_text().replace(decayed.name, "back.l64")
    (tmp_path / "back.l64.hdr").write_text(header)
    with pytest.raises(InputError, match="the clock of .* goes back at .* ms, so it has no frames"):
        frames_of(open_listmode(tmp_path / "back.l64"), [1.0])


def test_frames_of_petsird_are_of_its_time_blocks(tmp_path):
    scanner = petsird_files.cylinder(modules=6, crystals=(1, 2, 2), windows=2)
    blocks = petsird_files.time_blocks(scanner)
    path = petsird_files.write(tmp_path / "a.petsird", petsird_files.header_of(scanner), blocks)
    listmode = open_listmode(path)
    starts, lengths = (np.concatenate(part) for part in zip(*listmode.intervals(), strict=True))
    assert lengths.sum() / 1000 == listmode.info()["duration_s"]
    ends = starts + lengths
    seconds = [(ends[0] - starts[0]) / 1000, (ends[-1] - ends[0]) / 1000]
    frames, whole = frames_of(listmode, seconds)
    assert [frame.found.covered_s for frame in frames] == [lengths[0] / 1000, lengths[1:].sum() / 1000]
    events = [sum(map(len, frame.blocks())) for frame in frames]
    assert sum(events) == sum(map(len, listmode.blocks())) and events[0] > 0

"""BP_ND of noise-free dynamic images, through the stage's files, against what was put in."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from csrd.io.volume import Volume, writing_frames
from csrd.metrics.truth import blurred
from csrd.stages import binding as stage
from csrd.virtual.course import binding, mean_activity, mean_uptake
from csrd.virtual.regions import REGIONS
from csrd.virtual.tracer import read_tracer

DASB = Path(__file__).parents[2] / "config" / "tracers" / "DASB.tsv"
FRAMES = (60.0, 120.0, 180.0, 300.0, 600.0, 600.0, 900.0, 900.0, 1740.0)
FWHM_MM = 6.0


@pytest.fixture(scope="module")
def files(anatomy, tmp_path_factory):
    """Return the files of a subject whose images are noise-free, at a resolution of `FWHM_MM`."""
    folder, tracer = tmp_path_factory.mktemp("binding"), read_tracer(DASB)
    activity, _ = mean_activity(anatomy, tracer, 3, "01", 577.6, 65.0, sum(FRAMES))
    edges, labels = np.append(0, np.cumsum(FRAMES)), anatomy.labels
    usual = mean_uptake(tracer.kinetics, tracer.half_life_s, sum(FRAMES))
    frames = np.zeros((len(FRAMES), *labels.shape), np.float32)
    for name, label in REGIONS.items():
        alone = activity.like(np.where(labels.array == label, activity.array, np.float32(0)))
        shape = tracer.kinetics.means(name, edges, np.log(2) / 1224) / usual[name]
        frames += blurred(alone, activity, FWHM_MM) * shape[:, None, None, None].astype(np.float32)
    low = folder / "sub-01_pet.nii.gz"
    with writing_frames(low, activity, len(FRAMES), 1.0) as append:
        for frame in frames:
            append(frame)
    rate = np.log(2) / tracer.half_life_s
    lived = (np.exp(-rate * edges[:-1]) - np.exp(-rate * edges[1:])) / rate
    sidecar = {"Units": "Bq/mL", "FrameTimesStart": edges[:-1].tolist(), "FrameDuration": list(FRAMES),
               "ImageDecayCorrected": True, "ImageDecayCorrectionTime": 0, "RadionuclideHalfLife": 1224.0,
               "DecayCorrectionFactor": (np.diff(edges) / lived).tolist()}  # fmt: skip
    low.with_name("sub-01_pet.json").write_text(json.dumps(sidecar))
    activity.save(folder / "activity.nii.gz")
    labels.save(folder / "labels.nii.gz")
    stage.means([low], [folder / "mean.nii.gz"])
    put_in = binding(activity, labels, tracer, sum(FRAMES))
    return {"low": low, "put_in": put_in, "activity": activity, "folder": folder} | {
        key: folder / f"{key}.nii.gz" for key in ("mean", "labels")
    }


def test_the_mean_of_the_frames_is_the_mean_over_the_decays(files):
    """The static image of the scan shows the true activity, at the images' resolution."""
    mean = Volume.load(files["mean"]).array
    wanted = blurred(files["activity"], files["activity"], FWHM_MM)
    assert np.allclose(mean, wanted, atol=2e-3 * wanted.max())


@pytest.fixture(scope="module")
def measured(files):
    folder, common = files["folder"], {"tracer": DASB, "drfs": [1], "draws": 1}
    activity, labels = folder / "activity.nii.gz", files["labels"]
    low, mean = [files["low"]], [files["mean"]]
    strengths = folder / "strengths.json"
    stage.tune(low, mean, mean, [activity], [labels], mean, strengths, **common)
    said = stage.measure(
        low, mean, mean, low, activity, labels, files["mean"], strengths,
        folder / "bp.csv", folder / "curves.csv", subject="sub-01", **common,
    )  # fmt: skip
    table = pd.read_csv(folder / "bp.csv")
    return said, table, json.loads(strengths.read_text()), pd.read_csv(folder / "curves.csv")


def test_the_resolution_is_measured(measured):
    assert measured[0]["resolution_mm"] == pytest.approx(FWHM_MM, abs=0.3)


def test_noise_free_images_have_the_bp_of_the_truth_at_their_resolution(measured, files):
    table = measured[1]
    rows = table[(table["method"] == "lowdose") & (table["model"] == "srtm")].set_index("region")
    assert len(rows) == 16 and not {"white_matter", "cerebellar_cortex"} & set(rows.index)
    assert np.allclose(rows["bp"], rows["resolved"], rtol=0.02)
    assert np.allclose(rows["noise_free"], rows["put_in"], rtol=0.03), "before any blur"
    for name, row in rows.iterrows():
        assert row["put_in"] == pytest.approx(files["put_in"][name], rel=1e-5)
    assert rows.loc["putamen", "resolved"] < 0.95 * rows.loc["putamen", "put_in"], "partial volume"


def test_the_filters_strength_is_the_one_with_the_least_error(measured):
    """Without noise every filter only blurs, so the weakest is chosen; HYPR keeps the mean's structure."""
    strengths = measured[2]
    assert strengths["FWHM_mm"]["gaussian"] == {"1": stage.STRENGTHS_MM["gaussian"][0]}
    errors = {(row["method"], row["fwhm_mm"]): row["rms_error"] for row in strengths["Compared"]}
    assert len(errors) == sum(map(len, stage.STRENGTHS_MM.values()))
    assert errors["gaussian", 8.0] > errors["gaussian", 2.0] and errors["hypr", 8.0] < errors["gaussian", 8.0]


def test_curves_are_in_kbq_and_both_truths_are_there(measured):
    curves = measured[3]
    assert {"truth", "resolved", *stage.METHODS} == set(curves["method"])
    pair = [
        curves[(curves["method"] == key) & (curves["region"] == "thalamus")]["value"].to_numpy()
        for key in ("resolved", "lowdose")
    ]
    assert np.allclose(*pair, rtol=0.02) and 1 < pair[0].max() < 100

"""BP_ND of noise-free dynamic images, through the stage's files, against what was put in."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from csrd.config import load
from csrd.config.sections import Kinetics
from csrd.errors import InputError
from csrd.io.volume import Volume, writing_frames
from csrd.metrics.truth import blurred
from csrd.stages import binding as stage
from csrd.stages.binding_settings import check
from csrd.virtual.course import binding, mean_activity, mean_uptake
from csrd.virtual.regions import REGIONS
from csrd.virtual.tracer import read_tracer
from tests.kinetics.tissue import frame_means

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


EDGES = np.array([0, 60, 180, 420, 900, 1500, 2300, 3200, 4200, 5400.0])
K2 = 0.07 / 60


def of_tissues() -> dict[str, np.ndarray]:
    """Return curves in closed form, for which SRTM and the linear models hold exactly."""
    bps = {"pons": 0.0, "putamen": 2.0, "thalamus": 1.2}
    return {name: frame_means(EDGES, K2 / (1 + bp)) for name, bp in bps.items()}


@pytest.mark.parametrize(
    ("kinetics", "linear"),
    [
        (Kinetics(), "mrtm2"),
        (Kinetics(model="mrtm2", k2prime=0.07), "mrtm2"),
        (Kinetics(model="logan", t_star=1500), "logan"),
        (Kinetics(model="logan", t_star=1500, k2prime=0.07), "logan"),
    ],
)
def test_the_settings_name_the_linear_model(kinetics, linear):
    found = stage.fits(of_tissues(), "pons", EDGES, 1224, kinetics)
    assert list(found) == ["srtm", linear]
    for of_model in found.values():
        assert of_model["putamen"].bp.value == pytest.approx(2.0, rel=0.02)
        assert of_model["thalamus"].bp.value == pytest.approx(1.2, rel=0.02)
    k2 = found[linear]["putamen"].k2_reference.value
    assert k2 == pytest.approx(K2, rel=1e-12 if kinetics.k2prime else 0.02)


def test_a_wrong_k2prime_is_used_and_a_wrong_frame_is_not():
    curves = of_tissues()
    wrong = stage.fits(curves, "pons", EDGES, 1224, Kinetics(model="mrtm2", k2prime=0.03))
    assert abs(wrong["mrtm2"]["putamen"].bp.value / 2.0 - 1) > 0.05
    curves["putamen"][8] *= 2
    kept = stage.fits(curves, "pons", EDGES, 1224, Kinetics())
    left = stage.fits(curves, "pons", EDGES, 1224, Kinetics(exclude_frames=(9,)))
    for model in ("srtm", "mrtm2"):
        assert left[model]["putamen"].bp.value == pytest.approx(2.0, rel=0.02)
        assert not abs(kept[model]["putamen"].bp.value / 2.0 - 1) < 0.2


def test_another_reference_is_a_ratio_of_distribution_volumes(measured, files):
    """1 + BP_ND over that of the other reference, which is no region any more; the images' as well."""
    folder = files["folder"]
    stage.measure(
        [files["low"]], [files["mean"]], [files["mean"]], [files["low"]], folder / "activity.nii.gz",
        files["labels"], files["mean"], folder / "strengths.json", folder / "bp2.csv", folder / "curves2.csv",
        tracer=DASB, drfs=[1], draws=1, subject="sub-01",
        kinetics=Kinetics(reference="pons", model="logan", t_star=1260),
    )  # fmt: skip
    table = pd.read_csv(folder / "bp2.csv")
    assert set(table["model"]) == {"srtm", "logan"} and "pons" not in set(table["region"])
    rows = table[(table["method"] == "lowdose") & (table["model"] == "logan")].set_index("region")
    put_in = files["put_in"]
    for name, row in rows.iterrows():
        assert 1 + row["put_in"] == pytest.approx((1 + put_in[name]) / (1 + put_in["pons"]), rel=1e-5)
    assert rows.loc["cerebellar_cortex", "put_in"] < 0
    assert np.allclose(1 + rows["noise_free"], 1 + rows["put_in"], rtol=0.03)


DYNAMIC = {"frames": [60, 120, 300, 600, 900, 1200]}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, r"acquisition.frames is null; add acquisition: \{frames: \["),
        ({"cohort": {"sheet": "mine.tsv"}}, "names your own"),
        ({"acquisition": DYNAMIC, "cohort": {"validation": 0}}, "cohort.validation to 1"),
        ({"acquisition": DYNAMIC, "kinetics": {"labels": "atlas"}}, "kinetics.labels is atlas"),
        (
            {"acquisition": DYNAMIC, "kinetics": {"reference": "cerebelum"}},
            "is 'cerebelum'.*cerebellar_cortex",
        ),
        ({"acquisition": DYNAMIC, "kinetics": {"reference": "bone"}}, "is 'bone'"),
        ({"acquisition": DYNAMIC, "kinetics": {"exclude_frames": [7]}}, "has 7, but there are 6 frames"),
        ({"acquisition": DYNAMIC, "kinetics": {"exclude_frames": [1, 2, 3]}}, "3 frames are left"),
        ({"acquisition": DYNAMIC, "kinetics": {"model": "logan", "t_star": 500}}, "2 frames are left"),
    ],
)
def test_what_dynamic_refuses_before_anything_is_simulated(settings, said):
    with pytest.raises(InputError, match=said):
        check(load(settings))


def test_what_dynamic_accepts():
    for kinetics in ({}, {"labels": "truth", "reference": "cerebellar cortex", "exclude_frames": [1, 2]}):
        check(load({"acquisition": DYNAMIC, "kinetics": kinetics}))

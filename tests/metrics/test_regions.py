import json

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from csrd.errors import InputError
from csrd.io.volume import Volume, centred_affine
from csrd.metrics.noise import over_draws
from csrd.metrics.regions import REGION_KEYS, recovered, spot_masks, without_spots
from csrd.metrics.truth import blurred, resolution
from csrd.stages.evaluate import merge
from csrd.stages.lesions import lesions
from csrd.stages.regions import match_truth, noise, regions
from csrd.virtual.regions import REGIONS
from csrd.virtual.spots import Spot, apply_spot

SHAPE, FINE = (32, 32, 32), (64, 64, 64)
SPOTS = [Spot((-14.0, 0.0, 0.0), 6.0, 1.6, size="lesion"), Spot((14.0, 0.0, 0.0), 6.0, 0.5, size="lesion")]
OTHER = Spot((14.0, 0.0, 18.0), 3.0, 1.2)  # of the wide range
FALSE = Spot((-14.0, 12.0, 12.0), 6.0, 1.8)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def volume(array, voxel=2.4, unit="Bq/mL") -> Volume:
    return Volume(array, centred_affine(array.shape, voxel), unit)


@pytest.fixture
def head() -> dict[str, np.ndarray]:
    """Putamen left, thalamus right, in a ball; air around it. On the fine grid."""
    points = np.moveaxis(np.indices(FINE), 0, -1) - (np.array(FINE) - 1) / 2
    inside = np.linalg.norm(points, axis=-1) < 26
    labels = np.where(points[..., 0] < 0, REGIONS["putamen"], REGIONS["thalamus"]) * inside
    bare = np.where(labels == REGIONS["putamen"], 8e3, 4e3) * inside
    activity = volume(bare.astype(np.float32), 1.2)
    for spot in SPOTS:
        apply_spot(activity.array, activity.affine, spot)
    return {"labels": labels.astype(np.uint8), "bare": bare, "activity": activity.array}


def blur(volume: Volume, fwhm_mm: float) -> Volume:
    return volume.like(ndimage.gaussian_filter(volume.array, fwhm_mm / 2.3548 / volume.voxel_mm))


@pytest.mark.parametrize("fwhm_mm", [4.0, 7.0])
def test_the_resolution_is_found_beneath_noise(head, rng, fwhm_mm):
    truth = volume(head["activity"], 1.2)
    normal = volume(blurred(truth, volume(np.zeros(SHAPE, np.float32)), fwhm_mm))
    noise = ndimage.gaussian_filter(rng.normal(0, 1500, SHAPE), 1)
    mask = normal.array > 500
    assert resolution(truth, normal, mask) == pytest.approx(fwhm_mm, abs=0.05)
    noisy = normal.like((normal.array + noise).astype(np.float32))
    assert resolution(truth, noisy, mask) == pytest.approx(fwhm_mm, abs=0.3)


def test_a_point_gets_the_width():
    point = np.zeros((41, 41, 41), np.float32)
    point[20, 20, 20] = 1
    smooth = blurred(volume(point, 2.0), volume(point, 2.0), 8.0)  # 4 voxels
    assert smooth.sum() == pytest.approx(1, rel=1e-3)
    assert smooth[22, 20, 20] == pytest.approx(smooth[20, 20, 20] / 2, rel=0.02)


def test_spots_are_taken_out_as_they_were_put_in(head):
    bare = without_spots(volume(head["activity"], 1.2), SPOTS)
    assert bare.array == pytest.approx(head["bare"], rel=1e-5)


def test_a_spots_voxels_are_its_balls():
    grid = volume(np.zeros(SHAPE, np.float32))
    cold, masks = SPOTS[1], spot_masks([*SPOTS, Spot((0.1, 0.2, 0.3), 0.2, 1.5)], grid)
    assert list(masks) == [("spot 1", "hot"), ("spot 2", "cold"), ("spot 3", "hot")]
    assert masks["spot 1", "hot"].sum() * 2.4**3 == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.1)
    centre = np.argwhere(masks["spot 2", "cold"]).mean(axis=0) @ grid.affine[:3, :3] + grid.affine[:3, 3]
    assert centre == pytest.approx(cold.centre_mm, abs=0.3)
    assert masks["spot 3", "hot"].sum() == 1, "a spot between voxels has the nearest"


def test_recovery_by_hand():
    truth, bare = np.array([6.0, 8.0]), np.array([4.0, 4.0])
    assert recovered(truth, truth, bare) == 1 and recovered(bare, truth, bare) == 0
    assert recovered(np.array([4.5, 7.0]), truth, bare) == pytest.approx(1.75 / 3)


@pytest.fixture
def files(tmp_path, head) -> dict:
    grid = volume(np.zeros(SHAPE, np.float32))
    fine = {name: volume(array, 1.2) for name, array in head.items()}
    seen = {name: grid.like(blurred(fine[name], grid, 6.0)) for name in ("activity", "bare")}
    contents = {
        "activity": fine["activity"],
        "labels": fine["labels"].like(head["labels"], "label"),
        "normal": seen["activity"],
        "tv": seen["activity"].like(1.1 * seen["activity"].array),
        "erased": seen["bare"],
        "mask": grid.like((seen["activity"].array > 500).astype(np.uint8), "mask"),
    }
    added = Volume(head["activity"].copy(), fine["activity"].affine, "Bq/mL")
    apply_spot(added.array, added.affine, FALSE)
    contents["added"] = grid.like(blurred(added, grid, 6.0))
    for name, content in contents.items():
        content.save(tmp_path / f"{name}.nii.gz")
    spots = [vars(spot) for spot in [*SPOTS, OTHER]]
    (tmp_path / "spots.json").write_text(json.dumps({"spots": spots}))
    found = {name: tmp_path / f"{name}.nii.gz" for name in (*contents, "matched")}
    match_truth(found["activity"], found["normal"], found["mask"], found["matched"])
    return found | {"spots": tmp_path / "spots.json"}


ABOUT = {"methods": ["tv", "erased"], "drfs": [4, 10], "subject": "sub-07"}


def measure(files, out) -> pd.DataFrame:
    names = "normal", "mask", "labels", "matched"
    images = [files["tv"], files["tv"], files["erased"], files["erased"]]
    regions(images, *(files[name] for name in names), out, **ABOUT)
    return pd.read_csv(out).set_index(["method", "drf", "target", "region"])


def measure_spots(files, folder) -> tuple[pd.DataFrame, pd.DataFrame]:
    names = "normal", "mask", "activity", "labels", "spots", "matched"
    images = [files["tv"], files["tv"], files["erased"], files["added"]]
    out = folder / "recovery.csv", folder / "false.csv"
    lesions(images, *(files[name] for name in names), *out, **ABOUT)
    return pd.read_csv(out[0]).set_index(["method", "drf", "spot"]).sort_index(), pd.read_csv(out[1])


def test_regions_have_the_bias_that_was_made(files, tmp_path):
    table = measure(files, tmp_path / "r.csv")
    for region in ("putamen", "thalamus"):
        row = table.loc["tv", 10, "normal", region]
        assert row["mean"] / row["target_mean"] == pytest.approx(1.1, rel=1e-4)
        assert row["max"] / row["target_max"] == pytest.approx(1.1, rel=1e-4)
    assert table.loc["normal", 1, "truth", "thalamus"]["mean"] == pytest.approx(4, rel=0.15), "in kBq/mL"
    assert ("normal", 1, "normal", "putamen") not in table.index
    assert "csf" not in table.index.get_level_values("region")


def test_spots_are_kept_or_erased(files, tmp_path):
    table, _ = measure_spots(files, tmp_path)
    for spot in ("spot 1", "spot 2"):
        assert table.loc[("normal", 1, spot), "recovery"] == pytest.approx(1, abs=0.02)
        assert table.loc[("erased", 4, spot), "recovery"] == pytest.approx(0, abs=0.02)
    recovery = table["recovery"]
    assert recovery["tv", 4, "spot 1"] > 1.1 > 0.9 > recovery["tv", 4, "spot 2"]
    assert list(table.loc["tv", 4][["kind", "size", "radius_mm"]].iloc[1]) == ["cold", "lesion", 6.0]
    assert len(table.loc["normal", 1]) == 2, "a spot that is not of the test set is not measured"


def test_false_spots_are_counted_in_every_image(files, tmp_path):
    _, counts = measure_spots(files, tmp_path)
    # one where the cold spot was erased, one that was added
    assert counts["false_spots"].tolist() == [0, 0, 0, 1, 1]
    assert counts["method"].tolist() == ["normal", "tv", "tv", "erased", "erased"]


def test_tables_of_regions_are_merged(files, tmp_path):
    measure(files, tmp_path / "r.csv")
    merge([tmp_path / "r.csv"], tmp_path / "all.csv", REGION_KEYS)
    with pytest.raises(InputError, match="is in two tables"):
        merge([tmp_path / "r.csv"] * 2, tmp_path / "all.csv", REGION_KEYS)


def test_what_regions_refuse(files, tmp_path):
    (tmp_path / "spots.json").write_text("{}")
    with pytest.raises(InputError, match=r"spots.json does not list the spots; simulate"):
        measure_spots(files, tmp_path)
    assert not (tmp_path / "recovery.csv").exists()
    volume(np.ones((8, 8, 8), np.float32)).save(files["mask"])
    with pytest.raises(InputError, match=r"mask.nii.gz is not on the grid of"):
        match_truth(files["activity"], files["normal"], files["mask"], files["matched"])
    volume(np.ones(SHAPE, np.uint8), unit="mask").save(files["mask"])
    volume(np.ones(SHAPE, np.float32), unit="SUV").save(files["normal"])
    with pytest.raises(InputError, match=r"is in Bq/mL and .* in SUV"):
        match_truth(files["activity"], files["normal"], files["mask"], files["matched"])


def test_moments_over_draws(rng):
    truth = np.full(4000, 10.0)
    images = truth + 2 + rng.normal(0, 3, (5, 1)) + rng.normal(0, 1, (5, 4000))
    level, bias, sd, voxel_bias, voxel_sd = over_draws(images, truth)
    means = images.mean(axis=1)
    assert (level, bias, sd) == pytest.approx((10, means.mean() - 10, means.std(ddof=1)))
    assert voxel_sd == pytest.approx(np.sqrt(images.var(axis=0, ddof=1).mean()))
    independent = truth + 2 + rng.normal(0, 3, (5, 4000))
    _, _, _, voxel_bias, voxel_sd = over_draws(independent, truth)
    assert voxel_bias == pytest.approx(2, abs=0.1) and voxel_sd == pytest.approx(3, abs=0.1)
    assert over_draws(np.ones((2, 3)), np.ones(3))[1:] == (0, 0, 0, 0)


def test_noise_has_a_row_a_method_and_region(files, tmp_path):
    pet = Volume.load(files["normal"])
    draws = []
    for i, factor in enumerate((1.1, 1.3)):
        draws.append(tmp_path / f"draw{i}.nii.gz")
        pet.like(factor * pet.array).save(draws[-1])
    out, facts = tmp_path / "n.csv", {"methods": ["tv"], "subject": "sub-07", "drf": 10}
    given = files["matched"], files["labels"], files["mask"]
    noise(draws, *given, out, draws=[1, 2], **facts)
    table = pd.read_csv(out).set_index("region")
    assert set(table.index) == {"putamen", "thalamus"}
    row = table.loc["thalamus"]
    assert row["bias"] == pytest.approx(0.2 * row["truth"], rel=0.03)
    assert row["sd"] == pytest.approx(0.2 / np.sqrt(2) * row["truth"], rel=0.02)
    with pytest.raises(InputError, match="there is 1 draw"):
        noise(draws[:1], *given, out, draws=[1], **facts)

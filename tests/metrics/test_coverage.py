import numpy as np
import pandas as pd
import pytest

from csrd.errors import InputError
from csrd.io.files import write_json
from csrd.io.volume import Volume, centred_affine
from csrd.metrics.coverage import COVERAGE_KEYS, LEVELS, covered, needed_factor, quantile
from csrd.stages.evaluate import coverage, merge

SHAPE, SAMPLES = (40, 40, 40), 4


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def volume(array, voxel=2.0) -> Volume:
    return Volume(array.astype(np.float32), centred_affine(array.shape, voxel), "Bq/mL")


def test_a_spread_of_few_samples_covers_what_it_says(rng):
    error = rng.normal(0, 3, 200_000)
    spread = np.sqrt(np.mean(rng.normal(0, 3, (SAMPLES, error.size)) ** 2, axis=0))
    assert covered(error, spread, SAMPLES, LEVELS) == pytest.approx(LEVELS, abs=0.005)
    # As if the spread were known exactly: Gaussian quantiles promise too much.
    assert covered(error, spread, 10**9, [0.95])[0] < 0.9


def test_a_spread_half_as_large_covers_too_little(rng):
    error = rng.normal(0, 2, 200_000)
    found = covered(error, np.ones_like(error), 10**9, [0.68, 0.95])
    assert found == pytest.approx([0.3809, 0.6729], abs=0.005)  # P(|Z| < 0.497), P(|Z| < 0.98)


def test_no_error_is_covered_by_no_spread():
    assert covered(np.zeros(3), np.zeros(3), SAMPLES, [0.1]).tolist() == [1.0]
    assert covered(np.ones(3), np.zeros(3), SAMPLES, [0.95]).tolist() == [0.0]


def test_a_spread_is_widened_to_cover_what_it_says(rng):
    error = rng.normal(0, 2, 200_000)
    spread = np.sqrt(np.mean(rng.normal(0, 1.2, (SAMPLES, error.size)) ** 2, axis=0))
    factor = needed_factor(error, spread, SAMPLES, 0.9)
    assert factor == pytest.approx(2 / 1.2, rel=0.01)
    assert covered(error, factor * spread, SAMPLES, [0.9])[0] == pytest.approx(0.9, abs=1e-4)
    assert needed_factor(error, np.zeros_like(error), SAMPLES, 0.9) == 1


def test_quantiles_of_the_printed_tables():
    assert quantile(0.95, 8) == pytest.approx(2.306, abs=1e-3)
    assert quantile(0.5, 1) == pytest.approx(1.0)  # Cauchy


@pytest.fixture
def files(tmp_path, rng) -> dict:
    """A normal dose σ = 100 around its image inside a mask, and far from it outside."""
    image = np.full(SHAPE, 5e3)
    inside = np.zeros(SHAPE, bool)
    inside[5:-5, 5:-5, 5:-5] = True
    contents = {
        "image": image,
        "normal": np.where(inside, image + rng.normal(0, 100, SHAPE), 0),
        "spread": np.full(SHAPE, 100.0),
        "mask": inside,
        "truth": image,
    }
    for name, array in contents.items():
        volume(array).save(tmp_path / f"{name}.nii.gz")
    write_json(tmp_path / "spread.json", {"Samples": 10**9})
    return {name: tmp_path / f"{name}.nii.gz" for name in contents}


def write(files, out, drfs=(4, 10), **targets):
    images, stds = ([files[name]] * len(drfs) for name in ("image", "spread"))
    about = {"drfs": drfs, "subject": "sub-07", "method": "csrd", **targets}
    coverage(images, stds, files["normal"], files["mask"], out, **about)
    return pd.read_csv(out)


def test_the_table_has_a_row_a_dose_target_and_level(files, tmp_path):
    table = write(files, tmp_path / "c.csv", truth=files["truth"])
    assert list(table) == [*COVERAGE_KEYS, "coverage"] and len(table) == 2 * 2 * len(LEVELS)
    normal = table[(table["target"] == "normal") & (table["drf"] == 10)]
    assert normal["coverage"].to_numpy() == pytest.approx(LEVELS, abs=0.015)
    # the truth is the image itself
    assert (table.loc[table["target"] == "truth", "coverage"] == 1).all()


def test_an_image_on_another_grid_is_refused(files, tmp_path):
    volume(np.ones((20, 20, 20))).save(files["spread"])
    with pytest.raises(InputError, match=r"spread.nii.gz is not on the grid of .*normal.nii.gz"):
        write(files, tmp_path / "c.csv")


def test_a_spread_of_few_samples_has_wider_intervals(files, tmp_path):
    many = write(files, tmp_path / "many.csv")
    write_json(tmp_path / "spread.json", {"Samples": 2})
    few = write(files, tmp_path / "few.csv")
    at = many["level"] == 0.95
    assert (few["coverage"][at] > many["coverage"][at] + 0.03).all()


def test_a_spread_that_does_not_say_of_what_it_is(files, tmp_path):
    write_json(tmp_path / "spread.json", {})
    with pytest.raises(InputError, match="has no Samples"):
        write(files, tmp_path / "c.csv")
    assert not (tmp_path / "c.csv").exists()


def test_tables_are_merged_once(files, tmp_path):
    for name, drfs in (("a", (4,)), ("b", (10,))):
        write(files, tmp_path / f"{name}.csv", drfs)
    tables = [tmp_path / "b.csv", tmp_path / "a.csv"]
    merge(tables, tmp_path / "all.csv", COVERAGE_KEYS)
    assert pd.read_csv(tmp_path / "all.csv")["drf"].tolist() == [4] * len(LEVELS) + [10] * len(LEVELS)
    with pytest.raises(InputError, match="is in two tables"):
        merge([*tables, tables[0]], tmp_path / "all.csv", COVERAGE_KEYS)

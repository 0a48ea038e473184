"""Control rows: the oracle's blend, and uptake painted into labels."""

import json

import numpy as np
import pytest

from csrd.io.volume import Volume, centred_affine
from csrd.metrics.controls import mean_uptake, oracle_weight, uptake_by_label
from csrd.stages.controls import oracle, painted

SHAPE = (24, 24, 24)
AFFINE = centred_affine(SHAPE, 2.0)
D = 4


def volume(array, unit="Bq/mL") -> Volume:
    return Volume(np.asarray(array, np.float32), AFFINE, unit)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def test_the_oracle_of_a_linear_reconstruction_is_one_over_the_dose_reduction(rng):
    """D parts of equal noise: the low dose is one of them, the normal dose their mean."""
    truth = rng.uniform(1, 3, 200_000)
    parts = truth + rng.normal(0, 1, (D, truth.size))
    low, normal = parts[0], parts.mean(axis=0)
    a = oracle_weight(low, truth, normal)
    assert a == pytest.approx(1 / D, abs=0.01)
    error = np.mean((a * low + (1 - a) * truth - normal) ** 2)
    assert error / np.mean((low - normal) ** 2) == pytest.approx(1 / D, rel=0.02), "1/D of the squared error"
    for other in (a - 0.05, a + 0.05):
        assert np.mean((other * low + (1 - other) * truth - normal) ** 2) > error


def test_uptake_by_label_is_relative_to_the_head():
    labels = np.array([0, 0, 1, 1, 3], np.uint8)
    table = uptake_by_label(np.array([9.0, 9.0, 2.0, 4.0, 6.0]), labels, 5)
    assert table[[1, 3]] == pytest.approx([0.75, 1.5]) and np.isnan(table[[2, 4]]).all()
    mean = mean_uptake([table, np.array([np.nan, 1.25, 2.0, np.nan, np.nan])])
    assert mean[1:] == pytest.approx([1.0, 2.0, 1.5, 0.0])


@pytest.fixture
def files(tmp_path, rng) -> dict:
    truth = np.full(SHAPE, 5e3)
    noise = rng.normal(0, 1e3, (D, *SHAPE))
    contents = {
        "truth": volume(truth),
        "normal": volume(truth + noise.mean(axis=0)),
        "low": volume(truth + noise[0]),
        "mask": volume(np.ones(SHAPE), "mask"),
    }
    for name, content in contents.items():
        content.save(tmp_path / f"{name}.nii.gz")
    (tmp_path / "truth.json").write_text(json.dumps({"FWHM_mm": 6.0}))
    return {name: tmp_path / f"{name}.nii.gz" for name in contents}


def test_the_oracles_image(files, tmp_path):
    out = tmp_path / "oracle.nii.gz"
    oracle([files["low"]], files["normal"], files["mask"], files["truth"], [out])
    normal = Volume.load(files["normal"]).array
    made, low = (np.mean((Volume.load(path).array - normal) ** 2) for path in (out, files["low"]))
    assert made / low == pytest.approx(1 / D, rel=0.05)


def test_painting_uses_the_labels_the_training_and_the_mean_alone(files, tmp_path):
    left, right = np.ones(SHAPE, np.uint8), np.ones(SHAPE, np.uint8)
    left[:12], right[12:] = 18, 18  # white matter, elsewhere in the test subject
    for i, ratio in enumerate((3.0, 5.0)):
        volume(np.where(left == 18, ratio, 1.0)).save(tmp_path / f"activity{i}.nii.gz")
        Volume(left, AFFINE, "label").save(tmp_path / f"labels{i}.nii.gz")
    Volume(right, AFFINE, "label").save(tmp_path / "own.nii.gz")
    known = [[tmp_path / f"{name}{i}.nii.gz" for i in range(2)] for name in ("activity", "labels")]
    given = tmp_path / "own.nii.gz", files["normal"], files["mask"], files["truth"]
    painted(*known, *given, tmp_path / "painted.nii.gz")
    found = Volume.load(tmp_path / "painted.nii.gz").array
    assert found.mean() == pytest.approx(Volume.load(files["normal"]).array.mean(), rel=1e-4)
    white, frontal = np.mean([3 / 2, 5 / 3]), np.mean([1 / 2, 1 / 3])
    assert found[20].mean() / found[3].mean() == pytest.approx(white / frontal, rel=0.01)
    assert found[3].std() < 1e-3 * found[3].mean(), "no noise of the PET"

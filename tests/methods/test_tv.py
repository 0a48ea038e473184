import json

import numpy as np
import pytest
from scipy import ndimage
from skimage.restoration import denoise_tv_chambolle

from csrd.config import load
from csrd.errors import InputError
from csrd.io.volume import Volume, centred_affine
from csrd.methods import FitContext, TrainingPair, method
from csrd.methods.base import robust_scale
from csrd.methods.base.train import train
from csrd.methods.tv import TotalVariation, TvSettings, denoise_tv, fit_line, search_weight

SHAPE = (28, 30, 26)
WEIGHTS = [0.02, 0.05, 0.1, 0.2, 0.4, 0.8]


def phantom() -> np.ndarray:
    points = np.moveaxis(np.indices(SHAPE), 0, -1) - (np.array(SHAPE) - 1) / 2
    head = np.linalg.norm(points / (12, 13, 11), axis=-1) < 1
    core = np.linalg.norm(points - (3, 2, 0), axis=-1) < 5
    return (head * 8e3 + core * 1.2e4).astype(np.float32)


def pair(subject: int, drf: int) -> TrainingPair:
    truth, affine = phantom(), centred_affine(SHAPE, 3.0)
    noise = np.random.default_rng([subject, drf]).standard_normal(SHAPE)
    low = (truth + noise * 700 * np.sqrt(drf) * (truth > 0)).clip(0).astype(np.float32)
    mask = Volume(truth > 0, affine, "mask")
    return TrainingPair(
        f"sub-{subject:02d}", drf, Volume(low, affine, "Bq/mL"), Volume(truth, affine, "Bq/mL"), None, mask
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Fit on two subjects at 4, 6 and 8 × and return the folder."""
    folder = tmp_path_factory.mktemp("models") / "tv"
    train(
        "tv",
        [pair(s, d) for s in (1, 2) for d in (4, 6, 8)],
        TvSettings(weights=WEIGHTS),
        folder,
        FitContext(1, threads=2),
    )
    return folder


def test_the_search_finds_a_minimum_between_candidates():
    scores = search_weight(lambda w: (np.log(w) - np.log(0.13)) ** 2, WEIGHTS)
    assert min(scores, key=scores.get) == pytest.approx(0.13, rel=0.06)
    assert 0.8 not in scores  # two worse candidates in a row end the grid


@pytest.mark.parametrize("optimum", [0.012, 1.1])
def test_the_search_reaches_a_step_beyond_the_list(optimum):
    scores = search_weight(lambda w: abs(np.log(w / optimum)), WEIGHTS)
    assert min(scores, key=scores.get) == pytest.approx(optimum, rel=0.1)


def test_the_line_through_an_exact_power_law():
    intercept, slope = fit_line({4: 0.1 * 4**0.7, 6: 0.1 * 6**0.7, 8: 0.1 * 8**0.7})
    assert (np.exp(intercept), slope) == pytest.approx((0.1, 0.7))
    assert fit_line({4: 0.3}) == (pytest.approx(np.log(0.3)), 0.0)
    assert TotalVariation(intercept, slope).weight(10) == pytest.approx(0.1 * 10**0.7)


def test_the_fitted_weight_is_the_best_on_the_training_pairs(model):
    best = json.loads((model / "model.json").read_text())["best_weight"]["6"]

    def mean_error(weight):
        errors = []
        for sample in (pair(1, 6), pair(2, 6)):
            inside = sample.mask.array
            scale = robust_scale(sample.low, inside)
            scaled = sample.low.array / scale
            out = denoise_tv_chambolle(scaled, weight=weight, eps=2e-4, max_num_iter=200) * scale
            errors.append(np.abs(out - sample.normal.array)[inside].mean() / scale)
        return np.mean(errors)

    tried = {w: mean_error(w) for w in np.geomspace(0.02, 0.8, 25)}
    assert mean_error(best) < 1.02 * min(tried.values())


def test_weights_grow_with_the_dose_reduction_and_extrapolate(model):
    tv = method("tv").load(model)
    best = json.loads((model / "model.json").read_text())["best_weight"]
    assert tv.slope > 0 and list(best) == ["4", "6", "8"]
    assert tv.weight(10) == pytest.approx(tv.weight(5) * 2**tv.slope)
    assert tv.weight(10) > tv.weight(8) > tv.weight(4)


def test_the_unseen_dose_gets_better_and_keeps_its_grid(model):
    unseen = pair(3, 10)
    out = method("tv").load(model).apply(unseen.low, None, 10)
    inside = unseen.mask.array
    before, after = (np.abs(v.array - unseen.normal.array)[inside].mean() for v in (unseen.low, out))
    assert after < 0.6 * before
    assert out.same_grid(unseen.low) and out.unit == "Bq/mL" and out.array.min() >= 0
    assert out.array.dtype == np.float32


def test_the_unit_and_one_hot_voxel_do_not_change_the_strength(model):
    tv, low = method("tv").load(model), pair(3, 8).low
    plain = tv.apply(low, None, 8).array
    assert np.allclose(tv.apply(low.like(low.array * 1e-3), None, 8).array * 1e3, plain, rtol=1e-3, atol=1)
    hot = low.array.copy()
    hot[2, 2, 2] = 50 * hot.max()  # outside the head
    away = ndimage.distance_transform_edt(np.indices(SHAPE).sum(axis=0) != 6) > 6
    changed = tv.apply(low.like(hot), None, 8).array
    assert np.abs(changed - plain)[away].mean() < 0.02 * plain[away].mean()


def test_negative_input_becomes_non_negative():
    array = np.random.default_rng(0).normal(0, 1, (12, 12, 12)).astype(np.float32)
    assert denoise_tv(array, 1.0, 0.1).min() >= 0


def test_threads_and_order_of_pairs_do_not_change_the_model(tmp_path):
    pairs = [pair(s, d) for s in (1, 2) for d in (4, 8)]
    train("tv", pairs, TvSettings(weights=[0.05, 0.2]), tmp_path / "a", FitContext(1))
    train("tv", pairs, TvSettings(weights=[0.05, 0.2]), tmp_path / "b", FitContext(1, threads=2))
    assert (tmp_path / "a" / "model.json").read_bytes() == (tmp_path / "b" / "model.json").read_bytes()


def test_only_training_pairs_are_fitted_on(tmp_path):
    other = pair(9, 4)
    held_out = TrainingPair("sub-09", 4, other.low, other.normal, None, other.mask, split="validation")
    train("tv", [pair(1, 4), held_out], TvSettings(weights=[0.05, 0.2]), tmp_path, FitContext(1))
    assert json.loads((tmp_path / "model.json").read_text())["subjects"] == ["sub-01"]
    with pytest.raises(InputError, match="no training subject"):
        train("tv", [held_out], TvSettings(weights=[0.05, 0.2]), tmp_path, FitContext(1))


def test_bad_weights_are_refused(tmp_path):
    for weights in ([0.1], [0.0, 0.1]):
        with pytest.raises(InputError, match="^tv.weights"):
            load({"tv": {"weights": weights}})
    with pytest.raises(InputError, match="two or more different weights"):
        train("tv", [pair(1, 4)], TvSettings(weights=[0.1, 0.1]), tmp_path, FitContext(1))

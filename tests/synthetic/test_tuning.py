"""Tuning of a tiny model: its pairs, when its weights are kept, and that it goes on where it ended."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from csrd.errors import InputError, Interrupted
from csrd.io.files import read_json
from csrd.io.volume import Volume, centred_affine
from csrd.methods import TrainingPair, method
from csrd.methods.learned import tuning
from csrd.methods.learned.tuning import Score, SplitScan, Target, Tuning, chosen
from csrd.pretrained import write_models
from csrd.stages.tune import tune_on_pairs
from csrd.synthetic import pretrain
from tests.synthetic.test_pretrain import TINY

FEW = Tuning(steps=6, patches=1, patch=16, lr=1e-3, volumes=1)
SHAPE = (40, 44, 40)


@pytest.fixture(scope="module")
def base(anatomies, noise_bank, tmp_path_factory) -> Path:
    """Return the folder of a model without MR that was trained for a few steps."""
    folder = tmp_path_factory.mktemp("base")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrain, "ANATOMIES", anatomies)
        patch.setattr(pretrain, "NOISE", noise_bank)
        pretrain.pretrain(folder, TINY, torch.device("cpu"), 5)
    write_models(folder, folder / "models")
    return folder / "models" / "csrdnomr"


@pytest.fixture(autouse=True)
def small_files(anatomies, noise_bank, monkeypatch):
    monkeypatch.setattr(tuning, "ANATOMIES", anatomies)
    monkeypatch.setattr(tuning, "NOISE", noise_bank)


def ball(rng: np.random.Generator, noise: float) -> Volume:
    """Return a ball of 8 kBq/mL with relative noise, on voxels of 3 mm."""
    x, y, z = np.ogrid[tuple(slice(-1, 1, 1j * n) for n in SHAPE)]
    mean = np.where(x**2 + y**2 + z**2 < 0.7, 8e3, 100)
    array = (mean * rng.normal(1, noise, SHAPE)).astype(np.float32)
    return Volume(array, centred_affine(SHAPE, 3.0), "Bq/mL")


def pairs(seed: int = 1) -> list[TrainingPair]:
    """Return two subjects' thinnings to a quarter: normal doses of four independent quarters each."""
    rng, found = np.random.default_rng(seed), []
    for name, split in (("sub-01", "train"), ("sub-02", "validation")):
        quarters = [ball(rng, 0.4) for _ in range(4)]
        normal = quarters[0].like(np.mean([quarter.array for quarter in quarters], axis=0))
        mask = normal.like(np.ones(SHAPE, np.uint8), "mask")
        found.append(TrainingPair(name, 4, quarters[0], normal, None, mask, split))
    return found


def tuned(base: Path, out: Path, **differs) -> dict:
    return tune_on_pairs("csrdnomr", pairs(), model=out, begin_with=base, tuning=replace(FEW, **differs))


def test_the_events_left_out_are_the_normal_dose_less_the_low_dose():
    rng = np.random.default_rng(0)
    low, others = ball(rng, 0.4), [ball(rng, 0.4).array for _ in range(3)]
    normal = low.like((low.array + sum(others)) / 4)
    rest = SplitScan.of_thinning(low, normal, None, 4).rest
    np.testing.assert_allclose(rest.array, np.mean(others, axis=0), rtol=1e-4, atol=1e-2)


def test_the_noise_of_both_parts_follows_from_their_counts(base):
    """A quarter of the events has three times the variance of three quarters."""
    rng = np.random.default_rng(0)
    low, rest = ball(rng, 0.4), ball(rng, 0.4 / np.sqrt(3))
    model = method("csrdnomr").load(base)
    target = Target.of(SplitScan(low, rest, None, 0.25), model)
    mask, mean = target.mask.numpy(), ball(rng, 0.0).array
    unit = target.scan.unit * float(low.array[mask].mean())
    assert target.of_low == pytest.approx(3 * target.of_rest)
    assert target.of_low == pytest.approx(np.mean((0.4 * mean[mask] / unit) ** 2), rel=0.03)


def test_weights_are_kept_where_their_error_surely_fell():
    scores = {0.0: Score(0, 0, 0), 0.5: Score(0.01, 3, 0.1), 1.0: Score(0.02, 1.9, 0.2)}
    assert chosen(scores) == 0.5
    assert chosen(scores | {1.0: Score(0.02, 2.1, 0.2)}) == 1.0
    assert chosen({0.0: Score(0, 0, 0), 1.0: Score(-0.02, -9, -0.2)}) == 0.0


def test_the_fall_of_the_error_needs_no_truth(base):
    """Against noisy images of other events it is, within its own error, that against the truth."""
    model, rng = method("csrdnomr").load(base), np.random.default_rng(3)
    first = {name: weight.detach().clone() for name, weight in model.network.named_parameters()}
    last = {name: weight + 0.02 * torch.randn_like(weight) for name, weight in first.items()}
    low, truth = ball(rng, 0.4), ball(rng, 0.0)
    noisy = Target.of(SplitScan(low, ball(rng, 0.4), None, 0.5), model)
    exact = Target.of(SplitScan(low, truth, None, 0.5), model)
    exact = replace(exact, of_low=noisy.of_low, of_rest=0.0)
    scores = [tuning.compared(model, first, last, [one])[1.0] for one in (noisy, exact)]
    error = abs(scores[0].fall / scores[0].certainty)
    assert abs(scores[0].fall - scores[1].fall) < 4 * error
    assert scores[0].gain_db == pytest.approx(scores[1].gain_db, abs=0.3)


def test_a_tuned_model_is_a_folder_that_denoises(base, tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "chosen", lambda scores: 0.5)
    said = tuned(base, tmp_path / "mine")
    card = read_json(tmp_path / "mine" / "model.json")
    assert card["tuned"]["on"] == {"train": ["sub-01"], "validation": ["sub-02"]}
    assert card["tuned"]["fraction"] == said["fraction"] == 0.5 and said["training"]["step"] == FEW.steps
    assert "weights" not in card and card["recipe"] == read_json(base / "model.json")["recipe"]
    low = pairs()[1].low
    before, after = (
        method("csrdnomr").load(folder).apply(low, None, None) for folder in (base, tmp_path / "mine")
    )
    assert not np.array_equal(before.array, after.array)
    assert not list((tmp_path / ".mine-training").rglob("state.safetensors"))


def test_a_tuning_that_helps_nobody_leaves_the_weights(base, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(tuning, "CERTAIN", np.inf)
    assert tuned(base, tmp_path / "mine")["fraction"] == 0
    assert "the model is unchanged" in caplog.text
    first, left = (load_file(folder / "weights.safetensors") for folder in (base, tmp_path / "mine"))
    assert all(torch.equal(first[name], left[name]) for name in first)


def test_an_interrupted_tuning_ends_at_the_same_weights(base, tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "chosen", lambda scores: 0.5)
    straight = tuned(base, tmp_path / "straight")
    drawn = tuning.Mixture.draw

    def ended(source, step, samples):
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return drawn(source, step, samples)

    monkeypatch.setattr(tuning.Mixture, "draw", ended)
    with pytest.raises(Interrupted):
        tuned(base, tmp_path / "resumed")
    monkeypatch.setattr(tuning.Mixture, "draw", drawn)
    assert tuned(base, tmp_path / "resumed")["compared"] == straight["compared"]
    monkeypatch.setattr(tuning.Mixture, "draw", None)  # a finished one is not repeated
    assert tuned(base, tmp_path / "resumed")["fraction"] == straight["fraction"]
    one, other = (load_file(tmp_path / name / "weights.safetensors") for name in ("straight", "resumed"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_cannot_be_tuned_is_refused(base, tmp_path):
    alone = [pair for pair in pairs() if pair.split == "train"]
    with pytest.raises(InputError, match="no subject is for validation; give one with --validation"):
        tune_on_pairs("csrdnomr", alone, model=tmp_path, begin_with=base)
    with pytest.raises(InputError, match="is of csrdnomr, not of csrd"):
        tune_on_pairs("csrd", pairs(), model=tmp_path, begin_with=base)
    with pytest.raises(InputError, match="tv cannot be tuned"):
        tune_on_pairs("tv", pairs(), model=tmp_path, begin_with=base)
    same = [replace(pair, low=pair.normal) for pair in pairs()]
    with pytest.raises(InputError, match="sub-01 at 1/4: the low-dose image equals its normal dose"):
        tune_on_pairs("csrdnomr", same, model=tmp_path, begin_with=base)


def test_scans_that_the_model_does_not_know_are_named_in_a_tuning_too(base, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("csrd.methods.csrd.doubts", lambda low, mr: ["it is no head"])
    tuned(base, tmp_path / "mine")
    assert "sub-01 at 1/4: it is no head" in caplog.text and "sub-02 at 1/4: it is no head" in caplog.text

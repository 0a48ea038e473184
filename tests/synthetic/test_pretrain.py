"""The packaged network's training in miniature: what it leaves, and that it goes on where it was ended."""

import json
import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from csrd import pretrained
from csrd.errors import InputError, Interrupted
from csrd.io.volume import Volume, centred_affine
from csrd.methods import method
from csrd.methods.csrd import Sampler
from csrd.methods.learned.scaling import Head, measured_level
from csrd.metrics.coverage import quantile
from csrd.pretrained import write_models
from csrd.synthetic import pretrain

TINY = pretrain.Recipe((8, 8), 2, 16, 4, 1e-3, volumes=2, steps_per_volume=4, held_out=1, calibrated_on=3)


@pytest.fixture(autouse=True, scope="module")
def small_files(anatomies, noise_bank):
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrain, "ANATOMIES", anatomies)
        patch.setattr(pretrain, "NOISE", noise_bank)
        yield


@pytest.fixture(scope="module")
def scan() -> Volume:
    """A ball of uptake with noise, on voxels of 3 mm."""
    rng = np.random.default_rng(4)
    x, y, z = np.ogrid[-1:1:48j, -1:1:56j, -1:1:48j]
    ball = np.where(x**2 + y**2 + z**2 < 0.7, 8e3, 100) * rng.normal(1, 0.2, (48, 56, 48))
    return Volume(ball.clip(0).astype(np.float32), centred_affine((48, 56, 48), 3.0), "Bq/mL")


def trained(out: Path) -> dict:
    return pretrain.pretrain(out, TINY, torch.device("cpu"), 5)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The folder of one training, with its two models."""
    folder = tmp_path_factory.mktemp("run")
    trained(folder)
    write_models(folder, folder / "models")
    return folder


@pytest.fixture
def facts(run) -> dict:
    return json.loads((run / "training.json").read_text())


def test_what_it_leaves_is_two_models_that_need_no_dose(run, facts, scan):
    assert set(facts["gain_db"]) == set(map(str, pretrain.EMA_LENGTHS)) and facts["training"]["step"] == 4
    assert facts["seed"] == 5
    mr = scan.like(scan.array / 8e3, "arbitrary")
    with_mr, without = (method(key).load(run / "models" / key) for key in ("csrd", "csrdnomr"))
    assert with_mr.measures_noise and without.measures_noise
    alone = without.apply(scan, None, None)
    assert np.array_equal(with_mr.apply(scan, None, None).array, alone.array)
    assert not np.array_equal(with_mr.apply(scan, mr, None).array, alone.array)
    assert np.array_equal(without.apply(scan, mr, None).array, alone.array)


def test_the_package_holds_the_weights_of_both_models_once(run, tmp_path, scan):
    (tmp_path / "package" / "csrdnomr").mkdir(parents=True)
    (tmp_path / "package" / "csrdnomr" / "weights.safetensors").write_bytes(b"of an older version")
    pretrained.publish(run, tmp_path / "package")
    assert len(list((tmp_path / "package").rglob("*.safetensors"))) == 1
    published, own = (
        method("csrdnomr").load(folder / "csrdnomr").apply(scan, None, None).array
        for folder in (tmp_path / "package", run / "models")
    )
    assert np.allclose(published, own, rtol=1e-2, atol=1e-3 * own.max())  # half precision


def test_a_folder_without_models_is_refused(tmp_path):
    with pytest.raises(InputError, match="has no fitted csrd; give the folder models/ of a finished run"):
        pretrained.publish(tmp_path, tmp_path / "package")
    assert not (tmp_path / "package").exists()


def test_samples_are_drawn_as_the_model_draws_them():
    sampler = Sampler()
    assert (sampler.steps, sampler.sigma_min, sampler.sigma_max, sampler.rho) == pretrain.SAMPLER


def test_the_standard_deviation_is_multiplied_by_the_factor_for_the_scan(run, facts, scan):
    """A power of the noise level and of the voxels' edge, both measured in the scan."""
    factor = facts["std_factor"]
    model = method("csrdnomr").load(run / "models" / "csrdnomr")
    found = model.posterior(scan, None, None, 2)
    level = measured_level(scan, Head.of(scan))
    expected = factor["factor"] * level ** factor["level"] * 3.0 ** factor["voxel"]
    assert found.std_factor == pytest.approx(expected, rel=1e-4)
    spread = np.linalg.norm([(sample - found.mean).numpy() for sample in found.samples], axis=0)
    unit = found.unit * expected / np.sqrt(2)
    assert np.allclose(found.deviation(0.0).array, unit * spread, rtol=1e-4)


class GaussianPosterior:
    """Samples of deviation 1 around a mean of 0."""

    def __init__(self, shape) -> None:
        self.shape = shape

    def mean(self) -> torch.Tensor:
        return torch.zeros(self.shape)

    def sample(self, number, levels, *, from_mean) -> torch.Tensor:
        return torch.randn(self.shape, generator=torch.Generator().manual_seed(number))


def test_the_needed_factor_is_that_of_the_errors_over_the_samples(monkeypatch):
    """An error of twice the samples' deviation, anywhere: 2. The interval is that of `covered`."""
    monkeypatch.setattr(pretrain.measure, "head_mask", lambda low, voxel_mm: torch.ones_like(low, dtype=bool))
    shape = (60, 60, 60)
    error = 2 * torch.randn(shape, generator=torch.Generator().manual_seed(9))
    volume = SimpleNamespace(low=torch.zeros(shape), voxel_mm=2.0, target=error[None])
    task = SimpleNamespace(posterior=lambda volume, box: GaussianPosterior(shape))
    assert pretrain.needed_factor(task, volume) == pytest.approx(2.0, rel=0.01)
    assert pytest.approx(quantile(pretrain.INTERVAL, pretrain.SAMPLES), rel=1e-4) == pretrain.T_QUANTILE


def test_the_factor_is_a_power_law_of_level_and_voxel(monkeypatch):
    rng = np.random.default_rng(0)
    volumes = [SimpleNamespace(level=torch.tensor(a), voxel_mm=b) for a, b in rng.uniform(0.2, 4, (20, 2))]
    law = lambda task, one: 1.7 * float(one.level) ** -0.5 * one.voxel_mm**-0.6  # noqa: E731
    monkeypatch.setattr(pretrain, "needed_factor", law)
    found = pretrain.std_factor(None, volumes)
    assert found == pytest.approx({"factor": 1.7, "level": -0.5, "voxel": -0.6}, rel=1e-5)


def test_intervals_are_calibrated_anew_without_a_training(run, facts, tmp_path):
    again = Path(shutil.copytree(run, tmp_path / "run"))
    (again / "training.json").write_text(json.dumps({**facts, "std_factor": 1.0}))
    found = pretrain.calibrate(again, torch.device("cpu"))
    assert found["std_factor"] == pytest.approx(facts["std_factor"], rel=0.05)
    assert json.loads((again / "training.json").read_text()) == found


def test_the_scale_of_a_scan_is_no_matter(run, scan):
    model = method("csrdnomr").load(run / "models" / "csrdnomr")
    once, thousand = model.apply(scan, None, None), model.apply(scan.like(1000 * scan.array), None, None)
    assert np.allclose(thousand.array, 1000 * once.array, rtol=1e-3, atol=1e-3 * thousand.array.max())


def test_an_interrupted_training_ends_at_the_same_weights(run, tmp_path, monkeypatch):
    drawn = pretrain.Synthetic.draw

    def ended(source, step, samples):
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return drawn(source, step, samples)

    monkeypatch.setattr(pretrain.Synthetic, "draw", ended)
    with pytest.raises(Interrupted):
        trained(tmp_path / "resumed")
    assert not (tmp_path / "resumed" / "weights.safetensors").exists()
    monkeypatch.setattr(pretrain.Synthetic, "draw", drawn)
    trained(tmp_path / "resumed")
    straight, resumed = (load_file(folder / "weights.safetensors") for folder in (run, tmp_path / "resumed"))
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)

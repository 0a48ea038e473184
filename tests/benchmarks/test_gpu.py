"""The driver for a GPU machine, in miniature on the CPU, with CUDA kernels in numba's simulator."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from csrd.config import load
from csrd.train.patches import Scan

ROOT = Path(__file__).parents[2]
DRIVER = ROOT / "benchmarks" / "gpu"
MISSING = (
    "nibabel",
    "pydantic",
    "pydicom",
    "petsird",
    "snakemake",
    "ants",
    "rich",
    "typer",
    "mahotas",
    "monai",
)
BARE = f"""
import sys
class Bare:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {MISSING}:
            raise ImportError(f"a bare machine has no {{name}}")
sys.meta_path.insert(0, Bare())
"""


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> dict[str, str]:
    """Return the environment of a machine that lacks the project's packages."""
    import os

    folder = tmp_path_factory.mktemp("bare")
    (folder / "sitecustomize.py").write_text(BARE)
    return {**os.environ, "PYTHONPATH": str(folder)}


@pytest.fixture
def modules(monkeypatch):
    """Let the test import the driver's modules, which lie in no package."""
    monkeypatch.syspath_prepend(str(DRIVER))


def run(out: Path, environment: dict[str, str], *words: object, tiny=True) -> subprocess.CompletedProcess:
    command = [sys.executable, DRIVER, out, "--device", "cpu", *(["--tiny"] if tiny else []), *words]
    return subprocess.run([str(word) for word in command], env=environment, capture_output=True, text=True)


def test_a_card_is_checked_and_measured_on_a_bare_machine(tmp_path, bare):
    found = run(
        tmp_path, bare, "--phases", "right", "fast", "--only", "machine|ceil|hrrt|osem|resume|default"
    )
    assert found.returncode == 0, found.stderr + found.stdout
    content = json.loads((tmp_path / "gpu.json").read_text())
    assert content["right"]["osem_hrrt"]["right"] and content["right"]["projector_hrrt"]["back"]["right"]
    assert content["right"]["resume"]["difference"] == 0  # exact on a CPU
    assert content["fast"]["default_step_plain"]["seconds"] > 0
    assert content["fast"]["osem_8"]["kernel"] > 0


def test_a_difference_beyond_its_tolerance_is_an_error(modules):
    import right

    values = {"a": {"forward": right.judged(1e-6, 1e-5), "back": right.judged(1e-4, 1e-5)}}
    assert right.beyond(values)
    assert not right.beyond({"a": right.judged(1e-6, 1e-5)})
    with pytest.raises(AssertionError, match="nothing"):
        right.compared(np.zeros(3), np.zeros(3), 1e-5)


def test_a_phase_ends_at_its_limit_and_keeps_what_it_measured(tmp_path, bare):
    found = run(tmp_path, bare, "--phases", "fast", "--limit", "12", tiny=False)  # at full size, for hours
    assert found.returncode == 1
    content = json.loads((tmp_path / "gpu.json").read_text())["fast"]
    assert "limit of 12 s" in content["status"]
    assert "machine" in content


def test_a_training_leaves_weights_that_load(tmp_path, bare, modules):
    from networks import PRESETS
    from pack import read_pack, write_pack
    from safetensors.torch import load_file

    rng = torch.Generator().manual_seed(0)
    scans = [
        (Scan(torch.rand(2, 32, 32, 32, generator=rng), torch.randn(1, 32, 32, 32, generator=rng), 1.4, 0.1,
              subject=f"sub-{i}"), np.ones((32, 32, 32), bool), split)
        for i, split in enumerate(("train", "validation"))
    ]  # fmt: skip
    write_pack(tmp_path / "pack.npz", scans)
    for (scan, mask, split), (again, kept, same) in zip(
        scans, read_pack(tmp_path / "pack.npz", torch.device("cpu")), strict=True
    ):
        assert torch.allclose(again.inputs, scan.inputs, atol=1e-3)
        assert torch.allclose(again.target, scan.target, atol=2e-2)  # half precision over the unit
        assert (kept.numpy() == mask).all() and split == same
    found = run(tmp_path, bare, "--phases", "useful", "--pack", tmp_path / "pack.npz", "--preset", "default")
    assert found.returncode == 0, found.stderr + found.stdout
    card = json.loads((tmp_path / "gpu.json").read_text())["useful"]["training"]
    assert card["validation"] and card["counters"]["step"] == card["steps"] == 4
    network = PRESETS["default"].tiny().build()
    weights = {}
    for file in card["files"]:
        weights |= load_file(tmp_path / file)
    network.load_state_dict(weights)


def test_what_comes_back_is_a_model(tmp_path, modules):
    import home
    import useful
    from networks import PRESETS

    from csrd.methods import method

    settings = load({}).csrd
    calibration = {"residual_sd": {"intercept": -2.0, "slope": 0.5},
                   "dose_from_noise": {"intercept": 5.0, "slope": 2.0}}  # fmt: skip
    facts = {
        "method": "csrd",
        "seed": 1,
        "settings": settings.model_dump(mode="json"),
        "calibration": calibration,
    }
    (tmp_path / "pack.json").write_text(json.dumps(facts))
    network = PRESETS["default"].build()
    files = useful.write_parts(tmp_path, network.state_dict())
    trained = {"files": files, "parameters": 1, "counters": {}, "ema_std": 0.1, "validation": {}, "steps": 7}
    (tmp_path / "gpu.json").write_text(json.dumps({"commit": "abc", "useful": {"training": trained}}))
    (tmp_path / "history.jsonl").write_text("")
    home.unpack(tmp_path, tmp_path / "model", tmp_path / "pack.npz")
    loaded = method("csrd").load(tmp_path / "model")
    assert (loaded.network.conv_in.weight == network.conv_in.weight).all()


def test_weights_larger_than_a_file_are_split_and_lose_nothing(tmp_path, modules, monkeypatch):
    import useful
    from safetensors.torch import load_file

    monkeypatch.setattr(useful, "PART_BYTES", 100)
    weights = {f"w{i}": torch.full((12,), float(i)) for i in range(5)}  # 48 bytes each
    files = useful.write_parts(tmp_path, weights)
    assert len(files) == 3
    again = {}
    for file in files:
        again |= load_file(tmp_path / file)
    assert all((again[name] == weights[name]).all() for name in weights)


@pytest.mark.parametrize(("preset", "file"), [("default", "config.yaml"), ("paper", "paper.yaml")])
def test_presets_are_those_of_the_configuration(modules, preset, file):
    from networks import PRESETS

    settings = load(yaml.safe_load((ROOT / "config" / file).read_text())).csrd
    measured = PRESETS[preset]
    training = settings.training.model_dump()
    assert measured.options["channels"] == settings.channels
    assert measured.options["blocks"] == settings.blocks
    assert measured.options.get("dose", True) == settings.dose
    assert measured.options.get("dropout", 0) == settings.dropout
    assert (measured.patch, measured.batch) == (settings.patch, training.pop("batch"))
    training.pop("steps")
    assert measured.training == training
    assert measured.levels == (settings.P_mean, settings.P_std, settings.blank)
    sampler = settings.sampler
    assert (measured.steps, measured.sigma) == (
        sampler.steps,
        (sampler.sigma_min, sampler.sigma_max, sampler.rho),
    )
    for name, value in vars(measured.churn).items():
        assert min(value, 1e9) == getattr(sampler, name)

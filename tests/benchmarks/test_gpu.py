"""The driver for a GPU machine, in miniature on the CPU, with CUDA kernels in numba's simulator."""

import json
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from csrd.config import load
from csrd.io.volume import Volume, centred_affine
from csrd.train.patches import Scan
from csrd.virtual.tracer import read_tracer

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
    """Let the test import the driver's modules, which lie in no package, and no other's of these names."""
    for path in DRIVER.glob("[!_]*.py"):
        monkeypatch.delitem(sys.modules, path.stem, raising=False)
    monkeypatch.syspath_prepend(str(DRIVER))


def run(out: Path, environment: dict[str, str], *words: object) -> subprocess.CompletedProcess:
    command = [sys.executable, DRIVER, out, "--device", "cpu", "--tiny", *words]
    return subprocess.run([str(word) for word in command], env=environment, capture_output=True, text=True)


def test_a_card_is_checked_and_measured_on_a_bare_machine(tmp_path, bare):
    found = run(
        tmp_path, bare, "--phases", "right", "fast", "--only", "machine|ceil|_hrrt|osem_8|resume|default_step"
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


def test_a_phase_ends_at_its_limit_and_keeps_what_it_measured(tmp_path, monkeypatch):
    spec = spec_from_file_location("driver", DRIVER / "__main__.py")
    driver = module_from_spec(spec)
    spec.loader.exec_module(driver)
    (tmp_path / "fast.py").write_text(
        "import pathlib, sys, time\n"
        "pathlib.Path(sys.argv[1]).write_text('{\"machine\": 1}')\n"
        "time.sleep(60)\n"
    )
    monkeypatch.setattr(driver, "HERE", tmp_path)
    monkeypatch.setattr(sys, "argv", ["driver", str(tmp_path / "out"), "--phases", "fast", "--limit", "2"])
    assert driver.main() == 1
    content = json.loads((tmp_path / "out" / "gpu.json").read_text())["fast"]
    assert content == {"machine": 1, "status": "ended at its limit of 2 s"}


def test_packed_scans_are_read_again(tmp_path, modules):
    from pack import read_pack, write_pack

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


def test_a_cohort_is_simulated_trained_on_and_denoised_on_a_bare_machine(tmp_path, bare, modules):
    from cohort_heads import DRFS, Head, Images, read_heads, write_heads
    from networks import PRESETS
    from safetensors.torch import load_file

    axis = (np.arange(12) - 5.5) * 20.0
    ball = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2 < 90**2).astype(np.float32)
    grid = Volume(ball, centred_affine((12, 12, 12), 20.0), "arbitrary")
    images = grid.like(ball * 2e4, "Bq/mL"), grid.like(ball * np.float32(0.096), "1/cm"), grid
    heads = [Head(f"sub-0{i}", split, *images) for i, split in enumerate(("train", "validation", "test"))]
    write_heads(tmp_path / "heads.npz", heads)
    assert np.allclose(read_heads(tmp_path / "heads.npz")[0].activity.array, ball * 2e4, rtol=1e-3)
    state = tmp_path / "state"
    for words in (
        ("scans", "--heads", tmp_path / "heads.npz", "--threads", "1"),
        ("useful", "--preset", "gpu", "--pack", state / "pack.npz"),
        ("denoise",),
    ):
        found = run(tmp_path, bare, "--phases", *words, "--state", state)
        assert found.returncode == 0, found.stderr + found.stdout
    content = json.loads((tmp_path / "gpu.json").read_text())
    assert content["scans"]["heads"] == {"done": 3, "of": 3} and content["scans"]["sub-00"]["prompts"] > 1000
    normal = Images.read(state / "sub-02.npz")
    assert set(normal.doses) == {1, *DRFS} and normal.mask.any()
    assert normal.scale > 0 and all(np.isfinite(image).all() for image in normal.doses.values())
    card = content["useful"]["training"]
    assert card["validation"] and card["counters"]["step"] == card["steps"] == 4
    network, weights = PRESETS["gpu"].tiny().build(), {}
    for file in card["files"]:
        weights |= load_file(tmp_path / file)
    network.load_state_dict(weights)
    assert set(content["denoise"]["sub-02"]) == set(map(str, DRFS))
    with np.load(tmp_path / "denoised-0.npz") as found:
        assert found["sub-02 4 mean"].shape == found["sub-02 normal"].shape == (normal.mask.sum(),)
        assert np.isfinite(found["sub-02 10 mean"]).all() and found["sub-02 10 mean"].any()


def test_what_has_no_room_is_named(tmp_path, modules, monkeypatch):
    import denoise

    monkeypatch.setattr(denoise, "PART_BYTES", 100)
    monkeypatch.setattr(denoise, "FILES", 2)
    arrays = {f"a{i}": np.full(12, i, np.float32) for i in range(5)}  # 48 bytes each
    found = denoise.write_parts(tmp_path, arrays)
    assert found == {"files": ["denoised-0.npz", "denoised-1.npz"], "no room": ["a4"]}
    with np.load(tmp_path / "denoised-1.npz") as part:
        assert (part["a3"] == 3).all()


def test_the_cohort_is_that_of_the_configuration(modules):
    import cohort_heads

    settings = load(yaml.safe_load((ROOT / "config" / "gpu.yaml").read_text()))
    recon, scan = settings.recon, settings.acquisition
    assert (tuple(settings.drfs), tuple(settings.train_drfs)) == (cohort_heads.DRFS, cohort_heads.TRAIN_DRFS)
    assert (recon.matrix, recon.voxel_mm, recon.subject_lines) == (
        cohort_heads.MATRIX,
        cohort_heads.VOXEL_MM,
        cohort_heads.LINES,
    )
    assert {name: getattr(recon, name) for name in cohort_heads.RECON} == cohort_heads.RECON
    assert recon.psf.model_dump() == cohort_heads.PSF and settings.align.shape == cohort_heads.CROP
    isotope = read_tracer(ROOT / settings.cohort.tracer)
    assert {
        "duration_s": scan.duration_s, "half_life_s": isotope.half_life_s, "branching": isotope.branching,
        "randoms_fraction": scan.randoms_fraction, "scatter": scan.scatter,
    } == cohort_heads.SCAN  # fmt: skip
    assert settings.seed == cohort_heads.SEED


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


@pytest.mark.parametrize(
    ("preset", "file"), [("default", "config.yaml"), ("paper", "paper.yaml"), ("gpu", "gpu.yaml")]
)
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

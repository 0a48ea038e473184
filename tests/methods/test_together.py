"""A method trained by two processes, as the rule starts them for two accelerators; here on a CPU."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from csrd.config import load
from csrd.config.methods import MethodSettings
from csrd.errors import InputError
from csrd.io.files import read_json, write_json
from csrd.methods import method
from csrd.methods.base import TrainingPair
from csrd.methods.base.train import train
from csrd.train.checkpoint import LOCK
from tests.methods.conftest import ONE_THREAD

IMAGES = "low", "normal", "mr", "mask"
PATIENCE_S = 120


@pytest.fixture(scope="module")
def on_disk(pairs, tmp_path_factory) -> list[TrainingPair]:
    """Return two pairs whose images are files."""
    folder = tmp_path_factory.mktemp("pairs")

    def saved(pair: TrainingPair) -> TrainingPair:
        paths = {name: folder / f"{pair.subject}_{pair.drf}_{name}.nii.gz" for name in IMAGES}
        for name, path in paths.items():
            getattr(pair, name).save(path)
        return replace(pair, **paths)

    return [saved(pairs[0]), saved(pairs[-1])]


@pytest.fixture(scope="module")
def small(settings) -> MethodSettings:
    training = {"steps": 4, "batch": 3, "lr": 0.003}
    return settings("csrd", channels=[8, 8], patch=8, samples=2, training=training)


def test_two_processes_write_the_model_of_one(on_disk, small, tmp_path):
    train("csrd", on_disk, small, tmp_path / "one", ONE_THREAD)
    train("csrd", on_disk, small, tmp_path / "two", replace(ONE_THREAD, threads=2), processes=2)
    torch.manual_seed(ONE_THREAD.seed)
    network = method("csrd")(small).build()
    untrained = torch.cat([weight.flatten() for weight in network.parameters()])
    one, two = (load_file(tmp_path / name / "weights.safetensors") for name in ("one", "two"))
    one, two = (torch.cat([w[name].flatten() for name, _ in network.named_parameters()]) for w in (one, two))
    # sums in another order, in bf16; half of each batch alone would lead somewhere else altogether
    assert (two - one).norm() < 0.1 * (one - untrained).norm()
    assert read_json(tmp_path / "two" / "model.json")["training"]["step"] == 4
    holder = (tmp_path / ".two-training" / LOCK).read_text()
    assert re.match(r"process \d+ on ", holder), "the first process held the state folder"
    assert not holder.startswith(f"process {os.getpid()} "), "the job itself does not train"


def test_their_mistake_is_one_sentence(on_disk, small, tmp_path):
    with pytest.raises(InputError, match="no training subject to fit csrd on"):
        train("csrd", on_disk[1:], small, tmp_path / "two", ONE_THREAD, processes=2)


def test_a_method_that_is_not_learned_needs_one_process(on_disk, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "csrd.methods.base.train.train_together", lambda *_, **__: pytest.fail("it was started")
    )
    weights = load({"tv": {"weights": [0.1, 0.2]}}).of_method("tv")
    train("tv", on_disk, weights, tmp_path / "tv", ONE_THREAD, processes=2)
    assert read_json(tmp_path / "tv" / "model.json")["method"] == "tv"


JOB = """
import sys
from csrd.errors import plain_errors
from csrd.io.files import read_json
from csrd.methods import FitContext, TrainingPair, method
from csrd.methods.base.train import train

given = read_json(sys.argv[1])
pairs = [TrainingPair(**pair) for pair in given["pairs"]]
settings = method("csrd").Settings(**given["settings"])
with plain_errors():
    train("csrd", pairs, settings, sys.argv[2], FitContext(2024), processes=2)
"""


def test_a_signal_ends_them_with_their_state_saved(on_disk, small, tmp_path):
    """Sent to the job's first process alone, as by a user who ends it."""
    pairs = [vars(pair) | {name: str(getattr(pair, name)) for name in IMAGES} for pair in on_disk]
    long = small.updated(training={"steps": 20_000})  # a line of history every 100
    write_json(tmp_path / "given.json", {"pairs": pairs, "settings": long.model_dump(mode="json")})
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", JOB, tmp_path / "given.json", tmp_path / "two"]
    job = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        until = time.monotonic() + PATIENCE_S
        while not any(tmp_path.glob(".two-training/*/history.jsonl")) and time.monotonic() < until:
            time.sleep(0.1)
        job.send_signal(signal.SIGTERM)
        said = job.communicate(timeout=PATIENCE_S)[1]
    finally:
        job.kill()
    assert job.returncode == 1
    assert "csrd: the training received SIGTERM and has saved its state" in said
    (state,) = tmp_path.glob(".two-training/*/state.safetensors")
    with safe_open(state, "np") as file:
        assert 0 < json.loads(file.metadata()["facts"])["step"] < 20_000

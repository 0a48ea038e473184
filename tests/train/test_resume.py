import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import toy_training
from safetensors.torch import load_file
from toy_training import TRAINING, Toy, run

from csrd.errors import Interrupted
from csrd.train import ema
from csrd.train.checkpoint import StateFolder
from csrd.train.loop import _State, averaged


class BrokenOffError(Exception):
    """What a test ends a training with."""


def until(stop: int, what=BrokenOffError):
    """Return a progress that breaks off before step `stop`."""

    def progress(steps):
        for step in steps:
            if step == stop:
                raise what
            yield step

    return progress


def outcome(task: Toy, folder: Path, counters, training=TRAINING) -> dict:
    """Return all that must be alike; times are not."""
    history = StateFolder(folder).read_history()
    snapshots = {path.name: load_file(path) for path in sorted(folder.glob("average-*"))}
    assert len(snapshots) == 16
    return {
        "weights": {name: w.clone() for name, w in task.network.state_dict().items()},
        "averages": averaged(StateFolder(folder), training, 0.08),
        "snapshots": snapshots,
        "history": [{k: v for k, v in line.items() if k != "seconds"} for line in history],
        "counters": {k: v for k, v in vars(counters).items() if k != "seconds"},
    }


def assert_same_bits(a, b) -> None:
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same_bits(a[key], b[key])
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    else:
        assert a == b


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The outcome of a training that nothing interrupts."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("undisturbed")
    task = Toy()
    counters = run(task, folder)
    found = outcome(task, folder, counters)
    assert len(found["history"]) == TRAINING.steps and sum("error" in line for line in found["history"]) == 6
    return found


@pytest.mark.parametrize("stop", [1, 2, 9, 16])
def test_an_interruption_before_any_step_changes_nothing(undisturbed, tmp_path, stop):
    with pytest.raises(BrokenOffError):
        run(Toy(), tmp_path, progress=until(stop), save_every_s=0)
    assert StateFolder(tmp_path).state.exists() == (stop > 1)
    task = Toy()
    torch.manual_seed(1234)  # what the process drew before must not matter
    assert_same_bits(outcome(task, tmp_path, run(task, tmp_path)), undisturbed)


def test_many_interruptions_change_nothing(undisturbed, tmp_path):
    for stop in (4, 5, 9, 9, 13):
        with pytest.raises(BrokenOffError):
            run(Toy(), tmp_path, progress=until(stop), save_every_s=0)
    task = Toy()
    assert_same_bits(outcome(task, tmp_path, run(task, tmp_path)), undisturbed)


def test_steps_taken_after_the_last_save_are_taken_again(undisturbed, tmp_path):
    with pytest.raises(BrokenOffError):
        run(Toy(), tmp_path, progress=until(6), save_every_s=0)
    with pytest.raises(BrokenOffError):
        run(Toy(), tmp_path, progress=until(14), save_every_s=1e9)
    folder = StateFolder(tmp_path)
    assert folder.load(torch.device("cpu"))[1]["step"] == 5
    assert folder.read_history()[-1]["step"] == 13
    task = Toy()
    assert_same_bits(outcome(task, tmp_path, run(task, tmp_path)), undisturbed)


@pytest.mark.posix
def test_a_killed_process_is_gone_on_with(undisturbed, tmp_path):
    script = [sys.executable, toy_training.__file__, tmp_path, str(TRAINING.steps), "0.1"]
    process = subprocess.Popen(script, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    try:
        while not (tmp_path / "state.safetensors").exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.3))
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    task = Toy()
    assert_same_bits(outcome(task, tmp_path, run(task, tmp_path)), undisturbed)


@pytest.mark.posix
def test_a_polite_end_saves_the_state_and_says_so(undisturbed, tmp_path):
    before = signal.getsignal(signal.SIGTERM)

    def progress(steps):
        for step in steps:
            if step == 10:
                os.kill(os.getpid(), signal.SIGTERM)
            yield step

    with pytest.raises(
        Interrupted, match="received SIGTERM and has saved its state; start it again to continue"
    ):
        run(Toy(), tmp_path, progress=progress)
    assert signal.getsignal(signal.SIGTERM) is before
    assert StateFolder(tmp_path).load(torch.device("cpu"))[1]["step"] == 10
    task = Toy()
    assert_same_bits(outcome(task, tmp_path, run(task, tmp_path)), undisturbed)


def test_a_finished_training_takes_no_step_again(undisturbed, tmp_path):
    run(Toy(), tmp_path, save_every_s=0)
    task = Toy(lose=lambda step: pytest.fail("a step was taken"))
    counters = run(task, tmp_path)
    assert_same_bits(outcome(task, tmp_path, counters), undisturbed)


def test_moments_keep_their_layout(tmp_path):
    # else a resumed training's optimiser is slower, and rounds otherwise where vector instructions do
    with pytest.raises(BrokenOffError):
        run(Toy(), tmp_path, progress=until(3), save_every_s=0)
    state = _State(Toy().network, TRAINING)
    state.restore(StateFolder(tmp_path))
    for weight in state.weights:
        moments = state.optimiser.state[weight]
        assert moments["exp_avg"].stride() == moments["exp_avg_sq"].stride() == weight.stride()


def test_the_averages_kept_are_those_of_the_weights(tmp_path):
    """The tracked average of length 0.10, against a sum over all weights with the weighing's own integral."""
    weights, task = [], Toy()

    def progress(steps):
        for step in steps:
            yield step
            weights.append([w.detach().double().clone() for w in task.network.parameters()])

    run(task, tmp_path, progress=progress)
    g, n = ema.exponent(0.10) + 1, TRAINING.steps
    shares = [((t + 1) ** g - t**g) / n**g for t in range(n)]
    found = averaged(StateFolder(tmp_path), TRAINING, 0.10)
    for i, (name, _) in enumerate(task.network.named_parameters()):
        expected = sum(share * step[i] for share, step in zip(shares, weights, strict=True))
        torch.testing.assert_close(found[name].double(), expected, atol=1e-5, rtol=1e-4)

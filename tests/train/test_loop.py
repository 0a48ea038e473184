import math
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from toy_training import TRAINING, Toy, run, scans

from csrd.errors import InputError, TrainingDiverged
from csrd.train.checkpoint import StateFolder
from csrd.train.compiled import SWITCH, compile_for
from csrd.train.loop import MAX_LOST, SPIKE, Counters, _tame, averaged, marks, rate, train
from csrd.train.patches import Patches


def test_the_rate_rises_stays_and_falls_along_a_cosine():
    training = TRAINING.model_copy(update={"steps": 1000, "batch": 1, "lr": 0.1})
    assert [rate(training, step) for step in (1, 10, 20)] == pytest.approx([0.005, 0.05, 0.1])
    assert [rate(training, step) for step in range(20, 501)] == pytest.approx(481 * [0.1])
    for step in (500, 600, 750, 999, 1000):
        assert rate(training, step) == pytest.approx(0.05 * (1 + math.cos(math.pi * (step - 500) / 500)))
    assert rate(training, 1000) == 0


def test_without_decay_and_ramp_the_rate_is_constant():
    training = TRAINING.model_copy(update={"steps": 50, "batch": 1, "lr": 0.1, "ramp": 0, "decay": 0})
    assert {rate(training, step) for step in range(1, 51)} == {0.1}


@pytest.mark.parametrize("steps", [1, 3, 8, 1000])
def test_marks_are_spread_evenly_and_end_at_the_end(steps):
    found = sorted(marks(TRAINING.model_copy(update={"steps": steps}), 8))
    assert found[-1] == steps and found[0] >= 1 and len(found) == min(steps, 8)
    assert max(b - a for a, b in zip([0, *found], found, strict=False)) <= math.ceil(steps / 8)


def test_the_loss_falls(tmp_path):
    training = TRAINING.model_copy(update={"steps": 40})
    run(Toy(dropout=0.0), tmp_path, training)
    losses = [line["loss"] for line in StateFolder(tmp_path).read_history()]
    variance = 1 / 6  # of a mean of six; what an answer of 0 costs
    assert losses[0] == pytest.approx(variance, rel=0.3)
    assert sum(losses[-8:]) / 8 < 0.6 * variance


def test_a_network_that_was_applied_before_is_trained_in_training_mode(tmp_path):
    fresh, applied = Toy(dropout=0.5), Toy(dropout=0.5)
    applied.network.eval()
    for name, task in (("fresh", fresh), ("applied", applied)):
        run(task, tmp_path / name)
    for a, b in zip(fresh.network.parameters(), applied.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_history_says_what_was_done(tmp_path):
    run(Toy(), tmp_path)
    history = StateFolder(tmp_path).read_history()
    assert [line["step"] for line in history] == list(range(1, TRAINING.steps + 1))
    for line in history:
        assert line["images"] == line["step"] * TRAINING.batch
        assert line["rate"] == rate(TRAINING, line["step"]) and line["gradient"] > 0
    looks = [line["step"] for line in history if "error" in line]
    assert looks == sorted(marks(TRAINING, 6))
    seconds = [line["seconds"] for line in history]
    assert seconds == sorted(seconds)


def test_validation_sees_the_average_and_leaves_the_weights(tmp_path):
    plain, looking = Toy(), Toy()
    plain.validate = dict
    run(plain, tmp_path / "plain")
    run(looking, tmp_path / "looking")
    for a, b in zip(plain.network.parameters(), looking.network.parameters(), strict=True):
        assert torch.equal(a, b)
    seen = StateFolder(tmp_path / "looking").read_history()[-1]["error"]
    average = averaged(StateFolder(tmp_path / "looking"), TRAINING, 0.05)
    with torch.no_grad():
        looking.network.eval()
        assert looking.validate()["error"] != pytest.approx(seen, rel=1e-4)
        for name, weight in looking.network.named_parameters():
            weight.copy_(average[name])
        assert looking.validate()["error"] == pytest.approx(seen, rel=1e-5)


def test_a_lost_step_moves_nothing_and_is_counted(tmp_path):
    task, weights = Toy(lose=lambda step: step in (4, 9)), []

    def progress(steps):
        for step in steps:
            yield step
            weights.append([w.detach().clone() for w in task.network.parameters()])

    counters = run(task, tmp_path, progress=progress)
    assert (counters.lost, counters.lost_in_a_row, counters.step) == (2, 0, TRAINING.steps)
    same = [
        all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
        for one, other in zip(weights, weights[1:], strict=False)
    ]
    # the last step's rate is 0
    assert [i + 2 for i, equal in enumerate(same) if equal] in ([4, 9], [4, 9, TRAINING.steps])
    assert all(w.isfinite().all() for w in weights[-1])
    assert math.isnan(StateFolder(tmp_path).read_history()[3]["loss"])


def test_a_first_step_that_is_lost_is_survived(tmp_path):
    task = Toy(lose=lambda step: step == 1)
    assert run(task, tmp_path).lost == 1
    assert all(w.isfinite().all() for w in task.network.parameters())


def test_a_loss_without_any_finite_value_ends_in_one_sentence(tmp_path):
    task = Toy(lose=lambda step: step > 3)
    training = TRAINING.model_copy(update={"steps": 100})
    says = f"no finite value for {MAX_LOST} steps up to step {3 + MAX_LOST}; lower the learning rate"
    with pytest.raises(TrainingDiverged, match=says) as error:
        run(task, tmp_path, training)
    assert "\n" not in str(error.value) and task.step == 3 + MAX_LOST


def test_a_spike_of_the_gradient_is_cut_and_counted(tmp_path):
    spiky, calm = Toy(spike=lambda step: step == 10), Toy()
    assert run(calm, tmp_path / "calm").spikes == 0
    counters = run(spiky, tmp_path / "spiky")
    assert counters.spikes == 1
    line = StateFolder(tmp_path / "spiky").read_history()[9]
    assert line["spikes"] == 1 and line["gradient"] > 1000 * counters.usual
    # its direction is kept, at the usual length: Adam's memory is not drowned
    change = [(a - b).norm() / b.norm() for a, b in zip(spiky.network.parameters(), calm.network.parameters(),
              strict=True) if b.ndim > 1]  # fmt: skip
    assert max(change) < 0.2


def gradient(norm: float) -> SimpleNamespace:
    weight = torch.nn.Parameter(torch.zeros(4))
    weight.grad = torch.full((4,), norm / 2)
    return SimpleNamespace(weights=[weight])


def tame(counters: Counters, norm: float) -> float:
    """Return the gradient's norm after it was tamed."""
    state = gradient(norm)
    state.counters = counters
    _tame(state, norm)
    return float(state.weights[0].grad.norm())


def test_a_gradient_within_its_usual_range_is_left_alone():
    counters = Counters()
    assert tame(counters, 3.0) == pytest.approx(3) and counters.usual == pytest.approx(3)
    assert tame(counters, 3 * SPIKE * 0.99) == pytest.approx(3 * SPIKE * 0.99)
    assert counters.spikes == 0 and 3 < counters.usual < 3 * SPIKE
    assert tame(Counters(usual=2.0), 2000.0) == pytest.approx(2)


def test_a_gradient_that_stays_larger_becomes_usual():
    """Weights that start at zero give a first gradient that says nothing of the later ones."""
    counters = Counters()
    for norm in [1e-3] + 99 * [1.0]:
        after = tame(counters, norm)
    assert after == pytest.approx(1) and counters.spikes < 50
    spikes = counters.spikes
    assert tame(counters, 1.0) == pytest.approx(1) and counters.spikes == spikes


def test_precision_is_asked_for_at_each_step(tmp_path):
    asked = []

    def precision():
        asked.append(1)
        return nullcontext()

    training = TRAINING.model_copy(update={"steps": 3, "batch": 1})
    train(Toy(), Patches(scans(), (4, 6, 8), 2), training, StateFolder(tmp_path),
          precision=precision, progress=lambda steps: steps)  # fmt: skip
    assert len(asked) == 3 + 3  # three steps, each followed by a look at the validation subjects


def test_batches_drawn_a_step_ahead_change_nothing(tmp_path):
    """As on a GPU; each is drawn once, and the last step draws none for a step that does not follow."""
    weights, drawn = [], []
    for ahead in (False, True):
        task, patches = Toy(), Patches(scans(), (4, 6, 8), 2)
        draw = patches.draw
        patches.draw = lambda step, samples, draw=draw: drawn.append(step) or draw(step, samples)
        folder = StateFolder(tmp_path / str(ahead))
        folder.path.mkdir()
        how = {"precision": nullcontext, "progress": lambda steps: steps}
        train(task, patches, TRAINING, folder, ahead=ahead, **how)
        weights.append(task.network.state_dict())
    assert drawn == 2 * list(range(1, TRAINING.steps + 1))
    assert all(torch.equal(weights[0][name], weight) for name, weight in weights[1].items())


@pytest.mark.parametrize(
    ("way", "kind", "expected"),
    [(None, "cuda", {}), ("graphs", "cuda", {"mode": "reduce-overhead"}), ("none", "cuda", None),
     ("graphs", "cpu", None)],
)  # fmt: skip
def test_a_network_is_compiled_as_the_switch_says(monkeypatch, way, kind, expected):
    monkeypatch.delenv(SWITCH, raising=False)
    if way is not None:
        monkeypatch.setenv(SWITCH, way)
    asked = []
    network = SimpleNamespace(compile=lambda **options: asked.append(options))
    assert compile_for(network, torch.device(kind)) == ("none" if expected is None else way or "auto")
    assert asked == ([] if expected is None else [expected])


def test_another_value_of_the_switch_is_refused(monkeypatch):
    monkeypatch.setenv(SWITCH, "fast")
    with pytest.raises(InputError, match="CSRD_COMPILE is 'fast'; set it to one of none, auto, graphs"):
        compile_for(SimpleNamespace(), torch.device("cuda"))

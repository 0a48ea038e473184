import json
import os
import resource
import subprocess
import sys

import pytest
import torch

from csrd.errors import InputError
from csrd.networks.resunet import ResUNet
from csrd.train import checkpoint
from csrd.train.checkpoint import (
    StateFolder,
    fingerprint,
    forget_others,
    load_weights,
    save_weights,
    state_folder,
)

SETTINGS = {"lr": 0.01, "channels": (4, 8)}
CPU = torch.device("cpu")


def inputs() -> list:
    return [("image", torch.arange(24.0).reshape(2, 3, 4)), ("dose", "1.4")]


def network(width: int = 4) -> ResUNet:
    return ResUNet(1, channels=(width,), stem=1)


def test_equal_bytes_have_an_equal_fingerprint():
    key = fingerprint(SETTINGS, inputs())
    strided = torch.arange(24.0).reshape(2, 3, 4).permute(2, 1, 0).contiguous().permute(2, 1, 0)
    assert fingerprint({"channels": [4, 8], "lr": 0.01}, [("image", strided), inputs()[1]]) == key


def test_any_change_changes_the_fingerprint(monkeypatch):
    voxel = torch.arange(24.0).reshape(2, 3, 4)
    voxel[1, 2, 3] = torch.nextafter(voxel[1, 2, 3], torch.tensor(100.0))
    keys = [
        fingerprint(SETTINGS, inputs()),
        fingerprint(SETTINGS | {"lr": 0.02}, inputs()),
        fingerprint(SETTINGS, [("image", voxel), inputs()[1]]),
        fingerprint(SETTINGS, [("other", inputs()[0][1]), inputs()[1]]),
        fingerprint(SETTINGS, [inputs()[0], ("dose", "1.5")]),
        fingerprint(SETTINGS, inputs()[:1]),
        fingerprint(SETTINGS, inputs()[::-1]),
        fingerprint(SETTINGS, [("image", inputs()[0][1].reshape(3, 2, 4)), inputs()[1]]),
    ]
    monkeypatch.setattr(checkpoint, "VERSION", checkpoint.VERSION + 1)
    keys.append(fingerprint(SETTINGS, inputs()))
    assert len(set(keys)) == len(keys)


HOLD = """
import sys
from pathlib import Path
from csrd.train.checkpoint import StateFolder
with StateFolder(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_is_refused_while_the_first_lives(tmp_path):
    """Whatever its settings: both would end in the same folder of weights."""
    folder, other = (state_folder(tmp_path / "model", key * 16) for key in "ab")
    command = [sys.executable, "-c", HOLD, folder.path]
    options = {"env": os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, "text": True}
    first = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options)
    try:
        assert first.stdout.readline() == "held\n"
        for second in (folder, other):
            with (
                pytest.raises(InputError, match=f"in use by process {first.pid} on .*; wait"),
                second.locked(),
            ):
                pass
        with state_folder(tmp_path / "another", "a" * 16).locked():
            pass
    finally:
        first.kill()
        first.wait()
    with other.locked() as held:
        assert held is other
        forget_others(other)
    assert other.path.exists() and not folder.path.exists()


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write .*; choose another output folder"):
        StateFolder(tmp_path / "file" / "state").locked().__enter__()


def test_what_a_kill_left_half_written_is_swept(tmp_path):
    folder = StateFolder(tmp_path / "state")
    folder.path.mkdir()
    half = folder.path / "state_part123.safetensors"
    half.write_bytes(b"half")
    folder.save({"a": torch.ones(2)}, {})
    with folder.locked():
        assert not half.exists() and folder.state.exists()


def test_state_comes_back_as_it_was(tmp_path):
    folder = StateFolder(tmp_path)
    assert folder.load(CPU) is None
    tensors = {
        "a": torch.rand(2, 3, 4, 5, 6).to(memory_format=torch.channels_last_3d),
        "b": torch.tensor(0.1),
    }
    facts = {"step": 3, "usual": 0.1 + 0.2}
    folder.save(tensors, facts)
    found, said = folder.load(CPU)
    assert said == facts and found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_a_damaged_state_is_one_sentence(tmp_path):
    folder = StateFolder(tmp_path)
    folder.save({"a": torch.ones(1000)}, {})
    folder.state.write_bytes(folder.state.read_bytes()[:-100])
    with pytest.raises(
        InputError, match="state.safetensors is damaged .*; delete its folder and train again"
    ):
        folder.load(CPU)


def test_a_full_disk_is_one_sentence_and_keeps_the_state_before(tmp_path):
    folder = StateFolder(tmp_path)
    folder.save({"a": torch.ones(2)}, {"step": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(InputError, match="cannot write .*state.safetensors"):
            folder.save({"a": torch.ones(100_000)}, {"step": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert folder.load(CPU)[1] == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["state.safetensors"]


def test_a_history_on_a_full_disk_is_one_sentence(tmp_path):
    folder = StateFolder(tmp_path)
    folder.history.symlink_to("/dev/full")
    with pytest.raises(InputError, match="cannot write .*history.jsonl .No space .*again to continue"):
        folder.append_history({"step": 1})


def test_history_is_cut_at_the_resumed_step(tmp_path):
    folder = StateFolder(tmp_path)
    assert folder.read_history() == []
    for step in (1, 2, 3, 4):
        folder.append_history({"step": step, "loss": step / 3})
    folder.cut_history(2)
    assert folder.read_history() == [{"step": 1, "loss": 1 / 3}, {"step": 2, "loss": 2 / 3}]


@pytest.mark.parametrize("rest", ['{"step": 3, "lo', "{", "\0\0\0", '{"step": 3}'])
def test_a_half_written_last_line_is_tolerated(tmp_path, rest):
    folder = StateFolder(tmp_path)
    for step in (1, 2):
        folder.append_history({"step": step})
    with open(folder.history, "a") as stream:
        stream.write(rest)
    assert folder.read_history()[:2] == [{"step": 1}, {"step": 2}]
    folder.cut_history(2)
    folder.append_history({"step": 3})
    assert [json.loads(line)["step"] for line in folder.history.read_text().splitlines()] == [1, 2, 3]


def test_what_only_going_on_needed_is_deleted_at_the_end(tmp_path):
    folder = StateFolder(tmp_path)
    folder.save({"a": torch.ones(2)}, {})
    folder.snapshot(12, 0.05).write_bytes(b"")
    folder.append_history({"step": 1})
    assert folder.finished() is None
    folder.finish({"psnr": 30.0})
    assert folder.finished() == {"psnr": 30.0}
    assert {path.name for path in tmp_path.iterdir()} == {"done.json", "history.jsonl"}


def test_each_model_has_its_folder_beside_its_own(tmp_path):
    one = state_folder(tmp_path / "models" / "csrd", "a" * 64)
    assert one.path == tmp_path / "models" / ".csrd-training" / ("a" * 16)
    others = [
        state_folder(tmp_path / "models" / "csrd", "b" * 64),
        state_folder(tmp_path / "m" / "x", "a" * 64),
    ]
    for folder in (one, *others):
        folder.save({"a": torch.ones(1)}, {})
    forget_others(one)
    assert [folder.path.exists() for folder in (one, *others)] == [True, False, True]


def test_weights_come_back(tmp_path):
    torch.manual_seed(0)
    saved, loaded = network(), network()
    save_weights(tmp_path / "w.safetensors", saved.state_dict(), {"method": "toy"})
    load_weights(tmp_path / "w.safetensors", loaded)
    for name, tensor in saved.state_dict().items():  # Fourier's frequencies too, which are no parameters
        assert torch.equal(loaded.state_dict()[name], tensor)


def wide(path):
    save_weights(path, network(8).state_dict(), {})


def more(path):
    save_weights(path, network().state_dict() | {"more": torch.ones(1)}, {})


def fewer(path):
    tensors = network().state_dict()
    tensors.pop("skip.weight")
    save_weights(path, tensors, {})


def cut(path):
    save_weights(path, network().state_dict(), {})
    path.write_bytes(path.read_bytes()[:-50])


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda path: None, "does not exist; train the method again"),
        (lambda path: path.mkdir(), "is not a readable weights file"),
        (lambda path: path.write_bytes(b""), "is not a readable weights file"),
        (lambda path: path.write_bytes(b"no weights at all"), "is not a readable weights file"),
        (cut, "is not a readable weights file"),
        (wide, r"is of another network \(see .*\); use it with the model.json"),
        (more, r"is of another network \(see more\)"),
        (fewer, r"is of another network \(see skip.weight\)"),
    ],
    ids=["missing", "folder", "empty", "text", "cut", "wide", "more", "fewer"],
)
def test_weights_that_do_not_fit_are_refused_in_one_sentence(tmp_path, make, says):
    path = tmp_path / "w.safetensors"
    make(path)
    target = network()
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    with pytest.raises(InputError, match=f"w.safetensors {says}") as error:
        load_weights(path, target)
    assert "\n" not in str(error.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in target.state_dict().items())

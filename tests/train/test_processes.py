import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import torch
import toy_training
from safetensors.torch import load_file
from toy_training import TRAINING, Toy, run

from csrd.train.processes import Processes, processes

PATIENCE_S = 120  # then processes that wait for each other are ended
STATE = "state.safetensors"


def start(command: list, **environment: str) -> subprocess.Popen:
    """Start the toy training without dropout, whose draws differ between processes."""
    inherited = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=inherited | environment, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen) -> tuple[int, str]:
    """Return the exit status of a process and what it said."""
    try:
        said = process.communicate(timeout=PATIENCE_S)[1]
        return process.returncode, said
    finally:
        process.kill()


def test_two_processes_train_what_one_does(tmp_path):
    (tmp_path / "two").mkdir()
    steps = 6
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    two = start([*launcher, toy_training.__file__, tmp_path / "two", str(steps), "0.0"])
    status, said = ended(two)
    assert status == 0, said
    first, second = (load_file(tmp_path / "two" / f"weights-{rank}.safetensors") for rank in (0, 1))
    alone, untrained = Toy(dropout=0.0), Toy(dropout=0.0)
    run(alone, tmp_path / "one", TRAINING.model_copy(update={"steps": steps}))
    for name, weight in alone.network.state_dict().items():
        assert torch.equal(first[name], second[name])  # of every process, to the bit
        # Adam's steps have the rate's length whatever the gradient's: sums in another order differ a little
        torch.testing.assert_close(first[name], weight, atol=1e-4, rtol=1e-4)
    assert not any(torch.equal(w, first[name]) for name, w in untrained.network.named_parameters())


def test_all_processes_end_where_one_is_asked_to(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, toy_training.__file__, tmp_path, "1000000", "0.0"]
    group = [start(command, RANK=rank, **common) for rank in ("0", "1")]
    while not (tmp_path / STATE).exists() and all(process.poll() is None for process in group):
        time.sleep(0.02)
    group[1].send_signal(signal.SIGTERM)
    for status, said in map(ended, group):
        # each says so itself, and none waited for another that was gone
        assert status != 0
        assert "Interrupted: the training received SIGTERM and has saved its state" in said


def test_a_process_alone_needs_no_group(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with processes(torch.device("cpu")) as group:
        assert group == Processes() and group.first
        tensor = torch.ones(3)
        group.sum([tensor])
        group.wait()
        assert tensor.tolist() == [1, 1, 1]
        assert group.any(True, tensor.device) is True and group.any(False, tensor.device) is False


@pytest.mark.parametrize("count", [1, 3])
def test_only_one_is_first(count):
    assert [Processes(rank, count).first for rank in range(count)] == [True] + [False] * (count - 1)

"""A dead workflow's lock is cleared, no other; workers end with their workflow."""

import os
import platform
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from csrd.errors import InputError
from csrd.jobs.owner import CLAIM, claim

HOLD = """
import sys
from csrd.jobs.owner import claim
print(len(claim(sys.argv[1])), flush=True)
sys.stdin.read()
"""


def python(*words: object) -> subprocess.Popen:
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", *map(str, words)], env=env, text=True, **pipes)


@contextmanager
def claimed(folder: Path):
    """Have another process claim the folder until it is killed; yield how many locks it cleared."""
    process = python(HOLD, folder)
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def lock(tmp_path) -> Path:
    (tmp_path / "locks").mkdir()
    return tmp_path / "locks" / "0.output.lock"


@pytest.mark.posix
def test_the_lock_of_a_killed_workflow_is_cleared_and_of_a_living_one_kept(tmp_path, lock):
    with claimed(tmp_path):
        lock.write_text("table1.csv\n")
        with claimed(tmp_path) as cleared:
            assert cleared == 0 and lock.exists()
    with claimed(tmp_path) as cleared:
        assert cleared == 1 and not lock.exists()


@pytest.mark.posix
def test_a_survivor_keeps_the_locks_of_all(tmp_path, lock):
    with claimed(tmp_path):
        with claimed(tmp_path):
            lock.write_text("table1.csv\n")
        with claimed(tmp_path) as cleared:
            assert cleared == 0 and lock.exists()


@pytest.mark.posix
@pytest.mark.parametrize("owners", ["", "another-machine\n", f"{platform.node()}\nanother-machine\n"])
def test_a_lock_from_another_machine_or_of_nobody_known_is_kept(tmp_path, lock, owners):
    (tmp_path / CLAIM).write_text(owners)
    lock.write_text("table1.csv\n")
    for _ in range(2):  # nor does the machine that kept it forget whose it is
        with claimed(tmp_path) as cleared:
            assert cleared == 0 and lock.exists()
    lock.unlink()  # as snakemake --unlock does
    with claimed(tmp_path):
        assert (tmp_path / CLAIM).read_text().split() == [platform.node()]


@pytest.mark.posix
def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write .*file/x.*; start in a folder"):
        claim(tmp_path / "file" / "x")


WORKER = """
import time
from csrd.errors import plain_errors
with plain_errors("worker.log"):
    open("at-work", "w").close()
    time.sleep(60)
"""
STARTER = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", sys.argv[1]], cwd=sys.argv[2]).wait()
"""


@pytest.mark.linux
def test_a_worker_ends_with_the_workflow(tmp_path):
    starter = python(STARTER, WORKER, tmp_path)
    try:
        while not (tmp_path / "at-work").exists() and starter.poll() is None:
            time.sleep(0.01)
        children = Path(f"/proc/{starter.pid}/task/{starter.pid}/children").read_text().split()
    finally:
        starter.send_signal(signal.SIGKILL)
        starter.wait()
    assert len(children) == 1
    status = Path(f"/proc/{children[0]}/status")
    until = time.monotonic() + 20
    while status.exists() and "\nState:\tZ" not in status.read_text():
        assert time.monotonic() < until, "the worker outlived its workflow"
        time.sleep(0.01)

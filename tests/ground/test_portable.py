"""What Windows lacks is named in two modules, which have another way there; Windows itself was not tried."""

import ast
import errno
import importlib.util
import subprocess
import sys
from types import SimpleNamespace

import pytest

from csrd.engines import child
from csrd.io import files, locks
from csrd.jobs import owner
from tests.conftest import REPOSITORY

MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios"}
NAMES = {
    "os": {
        "fork",
        "forkpty",
        "geteuid",
        "getpgid",
        "getuid",
        "killpg",
        "mkfifo",
        "sched_getaffinity",
        "setsid",
        "uname",
    },
    "signal": {"SIGALRM", "SIGHUP", "SIGKILL", "SIGSTOP", "SIGUSR1", "SIGUSR2", "alarm", "pthread_sigmask"},
}
"""What Python lacks on Windows."""
GUARDED = {"io/locks.py", "engines/child.py"}
"""The modules that have another way there."""


def posix_only(text: str) -> set[str]:
    """Return what a module names that Windows lacks."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & MODULES
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module} & MODULES
            found |= {alias.name for alias in node.names} & NAMES.get(node.module or "", set())
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found |= {node.attr} & NAMES.get(node.value.id, set())
    return found


def test_only_two_modules_name_what_windows_lacks():
    root = REPOSITORY / "csrd"
    modules = {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*.py")}
    assert {name for name, text in modules.items() if posix_only(text)} == GUARDED
    assert all('sys.platform == "win32"' in modules[name] for name in GUARDED)
    assert posix_only("import os, signal\nos.kill(1, signal.SIGKILL)") == {"SIGKILL"}


class FakeWindows:
    """The lock of a byte, as msvcrt has it."""

    LK_NBLCK = 2

    def __init__(self) -> None:
        self.held: dict[str, int] = {}

    def locking(self, descriptor: int, mode: int, count: int) -> None:
        assert mode == self.LK_NBLCK and count == 1
        if self.held.setdefault("owner", descriptor) != descriptor:
            raise OSError(errno.EACCES, "Permission denied")


@pytest.fixture
def windows(monkeypatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")


def test_a_lock_on_windows(tmp_path, monkeypatch, windows):
    monkeypatch.setitem(sys.modules, "msvcrt", FakeWindows())
    found = importlib.util.spec_from_file_location("locks_of_windows", locks.__file__)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    with open(tmp_path / "lock", "a+") as one, open(tmp_path / "lock", "a+") as two:
        module.lock(one)
        with pytest.raises(BlockingIOError):
            module.lock(two)
        with pytest.raises(OSError, match="shared"):
            module.lock(one, shared=True)
        one.write("process 1")
        one.flush()
        two.seek(0)
        assert two.read() == "process 1", "the text is not behind the locked byte"


def test_a_dead_workflows_lock_is_left_on_windows(tmp_path, windows):
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "0.output.lock").touch()
    assert owner.claim(tmp_path) == [] and (tmp_path / "locks" / "0.output.lock").exists()


def test_no_signal_asks_for_a_process_on_windows(monkeypatch, windows):
    monkeypatch.setattr(files.os, "kill", lambda *_: pytest.fail("signal 0 interrupts a process there"))
    assert files._alive(1)


def test_an_outside_command_is_ended_on_windows(windows):
    called = []
    process = SimpleNamespace(kill=lambda: called.append("kill"), wait=lambda: called.append("wait"))
    child._end(process)
    assert called == ["kill", "wait"]


@pytest.mark.posix
def test_locks_end_with_their_process(tmp_path):
    code = "import sys; from csrd.io.locks import lock; f = open(sys.argv[1], 'a+'); lock(f)\n"
    code += "print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "lock"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "1\n"
        with open(tmp_path / "lock", "a+") as stream:
            with pytest.raises(BlockingIOError):
                locks.lock(stream)
            process.kill()
            process.wait()
            locks.lock(stream)

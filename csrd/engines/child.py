"""An outside program as a child process, which ends with its children when this process is to end."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import BinaryIO

GRACE_S = 5.0
ENDING = [signal.SIGTERM]  # a scheduler's cancel; SIGINT already unwinds
if sys.platform != "win32":
    ENDING.append(signal.SIGHUP)  # a closed terminal


class Ended(BaseException):
    """A signal that asks this process to end; like KeyboardInterrupt it is no Exception."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number: int = number


@contextmanager
def unwound_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind the block, so that what it started and wrote is removed.

    Afterwards the signal has its usual effect. Signals reach the main thread only: in another one the block
    has no effect.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def unwind(number: int, frame: FrameType | None) -> None:
        for one in ENDING:
            signal.signal(one, signal.SIG_IGN)  # a second signal must not interrupt the removal
        raise Ended(number)

    asked = [one for one in ENDING if signal.getsignal(one) is not signal.SIG_IGN]  # nohup ignores SIGHUP
    before = {one: signal.signal(one, unwind) for one in asked}
    number = 0
    try:
        yield
    except Ended as ended:
        number = ended.number
    finally:
        for one in ENDING:
            signal.signal(one, before.get(one, signal.SIG_IGN))
        if number:
            signal.raise_signal(number)


def run_program(words: list[str], stream: BinaryIO, limit_s: float, folder: Path) -> int | None:
    """Run a program with its output in `stream`; return its exit status, None where it exceeded the limit.

    Its temporary files go into `folder`. In any case all processes that it started are ended.
    Raises OSError where it cannot be started.
    """
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=stream,
        stderr=stream,
        env={**os.environ, "TMPDIR": str(folder)},
        start_new_session=True,  # a group of its own, which _end ends as a whole
    )
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        _end(process)


def _end(process: subprocess.Popen) -> None:
    """End the program and all processes of its group; on Windows the program alone."""
    if sys.platform == "win32":
        process.kill()
        process.wait()
        return
    for order in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, order)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)

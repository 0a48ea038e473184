"""Termination of a worker with the workflow that started it."""

import ctypes
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

PR_SET_PDEATHSIG = 1  # from <linux/prctl.h>


@contextmanager
def ended_with_parent() -> Iterator[None]:
    """Make the kernel send this process SIGTERM if its parent process dies within the block.

    Otherwise a worker of a killed workflow would continue, and overwrite the file of a later run with other
    settings. Only Linux offers this; on other systems the block has no effect.
    """
    _order(signal.SIGTERM)
    try:
        yield
    finally:
        _order(0)


def _order(number: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)

"""A worker does not outlive the workflow that started it."""

import ctypes
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

PR_SET_PDEATHSIG = 1  # from <linux/prctl.h>


@contextmanager
def ended_with_parent() -> Iterator[None]:
    """Have the kernel send this process SIGTERM when, within the block, the one that started it dies.

    Else a worker of a killed workflow would go on, and put its file over the one of a later run with other
    settings. Linux alone offers this; elsewhere the block runs as it is.
    """
    _order(signal.SIGTERM)
    try:
        yield
    finally:
        _order(0)


def _order(number: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)

"""Threads and environment variables of the process, set within a block and restored afterwards."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

ITK_ON_ONE_THREAD = {"ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}
"""Read once, when ITK first computes. On several threads its sums depend on timing."""


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Run the block with environment variables set."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Run the block with a number of torch threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def numba_threads(threads: int) -> Iterator[None]:
    """Run the block with a number of numba threads, at most the number of cores."""
    import numba

    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    try:
        yield
    finally:
        numba.set_num_threads(before)

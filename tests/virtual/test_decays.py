"""Decays followed on a CUDA device against the CPU's, in numba's simulator, so that no GPU is needed."""

import os
import subprocess
import sys

import pytest

from csrd.errors import InputError
from csrd.virtual import acquire

PROGRAM = """
import numpy as np
from csrd.io.volume import Volume, centred_affine
from csrd.scanner.geometry import hrrt
from csrd.seeds import seed_sequence
from csrd.virtual import decays_cuda
from csrd.virtual.acquire import crystal_efficiencies
from csrd.virtual.decays import Decays
from csrd.virtual.scatter import ScatteredPairs

shape = (12, 12, 12)
grid = Volume(np.ones(shape, np.float32), centred_affine(shape, 12.0))
images = grid.like(grid.array * 1e4, "Bq/mL"), grid.like(grid.array * np.float32(0.096), "1/cm")
decays = Decays.of(*images, crystal_efficiencies(hrrt(), 1, "sub-01"), hrrt())
scattered, seconds = ScatteredPairs(decays), 400 / decays.decays_per_s
decays_cuda.AT_A_TIME = 5  # several launches a part
cpu, gpu = (decays.follow(seconds, seed_sequence(1, "device"), 1, on) for on in ("cpu", "cuda"))
assert len(cpu) > 40 and (cpu == gpu).all() and cpu.dtype == gpu.dtype
(cpu, times), (gpu, others) = (
    scattered.follow(3 * seconds, seed_sequence(1, "device"), 1, on) for on in ("cpu", "cuda")
)
assert len(cpu) > 10 and (cpu == gpu).all() and (times == others).all() and times.max() > 1
print("equal")
"""


def test_the_events_are_the_same_on_a_device():
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"},
        capture_output=True,
        text=True,
    )
    assert run.stdout.strip().endswith("equal"), run.stderr


def test_a_device_that_is_not_there_is_an_error_only_where_it_is_requested(monkeypatch):
    monkeypatch.setattr("csrd.scanner.projector_cuda.available", lambda: False)
    assert acquire.following_on("auto") == acquire.following_on("cpu") == "cpu"
    with pytest.raises(InputError, match="acquisition.device is cuda, but no CUDA device"):
        acquire.following_on("cuda")

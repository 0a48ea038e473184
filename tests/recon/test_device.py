"""Reconstruction on a CUDA device against the CPU's, in numba's simulator, so that no GPU is needed."""

import os
import subprocess
import sys

PROGRAM = """
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
import numpy as np
from csrd.io.volume import Volume, centred_affine
from csrd.listmode import open_listmode
from csrd.listmode.hrrt import write_hrrt
from csrd.recon import embedded, packed
from csrd.recon import sensitivity as library
from csrd.recon.scatter import table_shape
from csrd.scanner.geometry import hrrt

rng, shape, voxel = np.random.default_rng(0), (7, 6, 5), 40.0
grid = Volume(1 + rng.random(shape, dtype=np.float32), centred_affine(shape, voxel), "mm3")
mumap = grid.like(0.1 * rng.random(shape, dtype=np.float32), "1/cm")
efficiencies = rng.random(hrrt().crystals, dtype=np.float32) + 0.5
table = rng.random(table_shape(hrrt()), dtype=np.float32) * 1e-3
library.LINES_AT_A_TIME = 60


def close(gpu, cpu, name):
    assert np.count_nonzero(cpu) > cpu.size / 2, name
    worst = np.linalg.norm(gpu - cpu) / np.linalg.norm(cpu)
    assert worst < 1e-5, (name, worst)


lines = library.random_lines(rng, 90, hrrt()).astype(np.uint32)
lines.sort(axis=1)
efficiencies[lines[7, 0]] = 0  # a dead line among the prompts
kinds, times = rng.random(len(lines)) < 0.8, np.sort(rng.integers(900, size=len(lines))).astype(np.uint32)
kinds[7] = True
path = Path(sys.argv[1], "scan.l64")
header = {"isotope halflife": "1224", "branching factor": "1", "Dead time correction factor": "1"}
write_hrrt(path, [(lines, kinds, times)], header, 1000)
sampled = []
embedded.estimate = lambda prompts, *rest: (sampled.append(prompts), (table, 0.3))[1]
recon = SimpleNamespace(
    psf=SimpleNamespace(sigma_mm=20.0, tail_sigma_mm=30.0, tail_fraction=0.1, model_dump=dict), subsets=2,
    iterations=2, postfilter_fwhm_mm=0, estimates_scatter=True,
)  # fmt: skip
own = replace(hrrt(), measured_factors=lambda crystals: 1e-3 + 1e-9 * crystals.sum(1).astype(np.float32))
cases = {"computed": (hrrt(), None), "measured": (own, table), "long": (hrrt(), table)}
for name, (scanner, scatter) in cases.items():
    sensitivities, images, sidecars = [], [], []
    if name == "long":
        packed.LONG_BYTES, packed.PART_EVENTS, packed.CHUNK_WORDS = 1, 20, 16
    for device in ("cpu", "cuda"):
        recon.device = device
        sensitivity = library.subject_sensitivity(
            scanner, grid, mumap, efficiencies, 120, 1, "sub-01", device
        )
        arrays = mumap, efficiencies, grid, scanner
        image, sidecar = embedded.reconstruct(
            open_listmode(path), *arrays, recon, 4, 1, "sub-01", scatter_table=scatter
        )
        sensitivities.append(sensitivity.array), images.append(image.array), sidecars.append(sidecar)
    close(sensitivities[1], sensitivities[0], name)
    close(images[1], images[0], name)
    assert sidecars[0] == sidecars[1] and sidecars[0]["Prompts"] == kinds.sum() - 1, sidecars
cpu, gpu = sampled
assert cpu.every == gpu.every and (cpu.crystals == gpu.crystals).all() and (cpu.factors == gpu.factors).all()
print("equal")
"""


def test_a_scan_has_the_same_image_and_sensitivity_on_a_device(tmp_path):
    """Factors computed and measured, scatter estimated and given, files short and long, a dead line."""
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path],
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"},
        capture_output=True,
        text=True,
    )
    assert run.stdout.strip().endswith("equal"), run.stderr

"""Small anatomy and noise files: ellipsoidal heads, log-normal noise."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from csrd.synthetic.anatomies import T1_STEPS, VOXEL_MM
from csrd.synthetic.noise import FILTERS_MM, packed
from csrd.virtual.regions import REGIONS


@pytest.fixture(scope="session")
def anatomies(tmp_path_factory) -> Path:
    """Return a file of two heads: shells of scalp, bone, CSF, cortex and white matter round a putamen."""
    arrays = {}
    for name, half in (("one", (50, 60, 48)), ("two", (54, 58, 50))):
        radius = np.sqrt(sum((i / h) ** 2 for i, h in zip(_ogrid(half), half, strict=True)))
        labels, t1 = np.zeros(radius.shape, np.uint8), np.zeros(radius.shape)
        shells = (("scalp", 1.0, 0.6), ("bone", 0.94, 0.07), ("csf", 0.87, 0.28), ("frontal", 0.84, 0.72),
                  ("white_matter", 0.7, 1.0), ("putamen", 0.3, 0.79))  # fmt: skip
        for region, below, intensity in shells:
            labels[radius < below], t1[radius < below] = REGIONS[region], intensity
        arrays |= {f"{name}/labels": labels, f"{name}/t1": np.rint(t1 * T1_STEPS).astype(np.uint8)}
    path = tmp_path_factory.mktemp("anatomies") / "anatomies.npz"
    facts = {"voxel_mm": VOXEL_MM, "regions": REGIONS, "heads": ["one", "two"]}
    np.savez_compressed(path, facts=json.dumps(facts), **arrays)
    return path


def _ogrid(half: tuple[int, ...]) -> list[np.ndarray]:
    return np.ogrid[tuple(slice(-h - 2, h + 3) for h in half)]


@pytest.fixture(scope="session")
def noise_bank(tmp_path_factory) -> Path:
    """Return a file of two fields: log-normal, one skewed little and one much."""
    rng = np.random.default_rng(0)
    arrays, facts = {}, []
    for number, (voxel_mm, relative) in enumerate(((2.0, 0.2), (2.4375, 0.8))):
        noise = ndimage.gaussian_filter(rng.standard_normal((40, 48, 44)), 0.8)
        noise = np.exp(relative * noise / noise.std())
        arrays[f"field-{number:03d}"] = packed((noise - noise.mean()) / noise.std())
        facts.append({"voxel_mm": voxel_mm, "relative": relative,
                      "remaining": [1 / (1 + fwhm) for fwhm in FILTERS_MM]})  # fmt: skip
    path = tmp_path_factory.mktemp("noise") / "noise.npz"
    np.savez_compressed(path, facts=json.dumps({"fields": facts}), **arrays)
    return path


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Many small products of matrices: threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

"""The shipped noise against OSEM of two scans: HRRT unfiltered, mMR filtered by 3 mm.

`osem_noise.npz` holds the middle (40³ voxels) of simulated scans of one person (ds002748 sub-15) with FDG at
1/4 of the dose: the truth, and the low dose less the normal dose, over the mean in the head. No field of the
file was made of a brain, nor of FDG; but the exponent of the mean and the form of the skewness were chosen on
these two scans (docs/synthetic.md has others), so the test guards the agreement and does not prove it.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from csrd.synthetic import NOISE
from csrd.synthetic.grids import gaussian
from csrd.synthetic.noise import NoiseBank, reconstructed, reconstructed_factor
from csrd.synthetic.volumes import POWER
from csrd.units import SIGMA_PER_FWHM

SCANS = Path(__file__).with_name("osem_noise.npz")
VOXEL_MM, LAGS = 2.4375, 9  # 20 mm
OWN_NOISE = 0.5  # over the mean, before the filter, at about the counts of the scans


@pytest.fixture(params=["filter_0", "mMR"])
def pair(request) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """Return a scan's truth, its noise, the generator's of equal variance around that truth, its scanner."""
    with np.load(SCANS) as file:
        truth, noise = (file[f"{request.param}/{kind}"].astype(np.float32) for kind in ("truth", "noise"))
        facts = json.loads(str(file[f"{request.param}/facts"]))
    fields = [
        field
        for field in NoiseBank(NOISE, torch.device("cpu")).fields
        if facts["scanner"] in field.facts["scanner"]
        and (field.facts["psf"], field.facts["iterations"]) == ("narrow", 2)
    ]
    field = min(fields, key=lambda f: abs(np.log(f.facts["relative"] / OWN_NOISE)))
    clean = torch.from_numpy(truth).clamp(min=0)
    texture = reconstructed(field, truth.shape, VOXEL_MM, np.random.default_rng(5), interpolated=False)
    sigma, inside, strength = facts["filter_mm"] * SIGMA_PER_FWHM / VOXEL_MM, truth > 0.3, 0.5
    for _ in range(3):
        ratio = strength * clean.clamp(min=1e-4) ** (POWER - 1)
        factor = reconstructed_factor(texture, field.facts["relative"], ratio)
        made = gaussian(clean * factor - clean, sigma).numpy()
        strength *= noise[inside].std() / made[inside].std()
    return truth, noise, made, facts["scanner"]


def even(truth: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Return noise over what its standard deviation would be as a power of the mean, 0 outside the brain."""
    inside = truth > 0.3
    return np.where(inside, noise / np.maximum(truth, 0.3) ** POWER, 0)


def test_variance_follows_the_mean_alike(pair):
    truth, *noises, _ = pair
    edges = np.quantile(truth[truth > 0.3], np.linspace(0, 1, 6))
    real, made = (
        [n[(truth >= a) & (truth < b)].std() for a, b in zip(edges[:-1], edges[1:], strict=True)]
        for n in noises
    )
    assert np.allclose(np.log(made), np.log(real), atol=0.2)
    assert max(real) / min(real) > 1.5  # there is something to follow


def test_covariance_over_20_mm_is_alike(pair):
    truth, *noises, scanner = pair
    # the mMR's fields have voxels of 2.03 mm, those of the HRRT the scan's own
    most = {"HRRT": 0.09, "mMR": 0.16}[scanner]
    inside = truth > 0.3
    curves = []
    for noise in noises:
        n = even(truth, noise)
        rows = []
        for axis in (0, 1, 2):
            ends = [np.arange(truth.shape[axis] - lag) for lag in range(LAGS)]
            both = [inside.take(e, axis) & inside.take(e + lag, axis) for lag, e in enumerate(ends)]
            rows.append(
                [
                    (n.take(e, axis) * n.take(e + lag, axis))[b].mean()
                    for lag, (e, b) in enumerate(zip(ends, both, strict=True))
                ]
            )
        curves.append(np.array(rows) / np.array(rows)[:, :1])
    difference = np.abs(curves[1] - curves[0])
    assert difference.max() < most
    assert difference[:, 3:].max() < 0.05  # beyond 7 mm


def test_skewness_is_alike(pair):
    truth, *noises, _ = pair
    inside = truth > 0.3
    real, made = (
        np.mean(n[inside] ** 3) / np.mean(n[inside] ** 2) ** 1.5 for n in (even(truth, n) for n in noises)
    )
    assert real > 0.5
    assert made == pytest.approx(real, rel=0.25)

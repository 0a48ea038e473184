"""A uniform cylinder in the virtual HRRT, acquired and reconstructed once for all tests."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from csrd.config.sections import Recon
from csrd.io.volume import Volume, centred_affine
from csrd.listmode import open_listmode, thin
from csrd.recon.embedded import reconstruct
from csrd.recon.sensitivity import geometric_sensitivity, subject_sensitivity
from csrd.resample import resample
from csrd.scanner.geometry import hrrt
from csrd.stages.simulate import write_scan
from csrd.virtual.acquire import Acquisition, crystal_efficiencies

ACTIVITY = 10_000.0  # Bq/mL
RADIUS, HALF_LENGTH = 50.0, 60.0  # mm
SHAPE, VOXEL = (56, 56, 60), 2.4375
SETTINGS = Recon(matrix=SHAPE, voxel_mm=VOXEL, iterations=3, subsets=8, postfilter_fwhm_mm=0, scatter="none")
SCAN = Acquisition(duration_s=40, half_life_s=1224, branching=0.9976, randoms_fraction=0.25)


@dataclass(frozen=True)
class Cylinder:
    activity: Volume
    mumap: Volume
    efficiencies: np.ndarray
    geometric: Volume
    sensitivity: Volume
    path: Path
    counts: dict
    images: dict[int, Volume]
    sidecar: dict

    def radius(self) -> np.ndarray:
        """Return each voxel's distance from the axis in mm, inf near the ends and outside."""
        axis = (np.arange(SHAPE[0]) - (SHAPE[0] - 1) / 2) * VOXEL
        radius = np.hypot(*np.meshgrid(axis, axis, indexing="ij"))[:, :, None]
        z = abs((np.arange(SHAPE[2]) - (SHAPE[2] - 1) / 2) * VOXEL)
        return np.where(z < HALF_LENGTH - 12, radius, np.inf)


def uniform(value: float, unit: str, fine: float = VOXEL / 2) -> Volume:
    shape = tuple(2 * n for n in SHAPE)
    affine = centred_affine(shape, fine)
    x, y, z = np.meshgrid(*[affine[0, 3] + np.arange(n) * fine for n in shape[:2]],
                          affine[2, 3] + np.arange(shape[2]) * fine, indexing="ij")  # fmt: skip
    inside = (np.hypot(x, y) < RADIUS) & (abs(z) < HALF_LENGTH)
    return Volume((inside * value).astype(np.float32), affine, unit)


@pytest.fixture(scope="session")
def cylinder(tmp_path_factory) -> Cylinder:
    scanner, folder = hrrt(), tmp_path_factory.mktemp("cylinder")
    activity, mu = uniform(ACTIVITY, "Bq/mL"), uniform(0.096, "1/cm")
    efficiencies = crystal_efficiencies(scanner, 1, "sub-01")
    path = folder / "sub-01_listmode.l64"
    counts = write_scan(path, activity, mu, efficiencies, scanner, SCAN, seed=1, subject="sub-01", threads=2)
    geometric = geometric_sensitivity(scanner, SHAPE, VOXEL)
    mumap = resample(mu, geometric)
    sensitivity = subject_sensitivity(scanner, geometric, mumap, efficiencies, 4_000_000, 1, "sub-01")
    images = {}
    for drf in (1, 4, 6, 8, 10):
        source = path
        if drf > 1:
            source = folder / f"drf{drf}.l64"
            thin(path, source, drf=drf, seed=1)
        arguments = open_listmode(source), mumap, efficiencies, sensitivity, scanner, SETTINGS, drf
        images[drf], sidecar = reconstruct(*arguments, seed=1, subject="sub-01")
    return Cylinder(activity, mumap, efficiencies, geometric, sensitivity, path, counts, images, sidecar)

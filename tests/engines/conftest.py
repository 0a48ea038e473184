"""A body without any symmetry in the virtual mMR: an ellipsoid off the centre with a hot spot in it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from csrd.config.sections import Recon
from csrd.io.volume import Volume, centred_affine
from csrd.scanner.geometry import mmr
from csrd.stages.recon import embedded_image
from csrd.stages.scan import ScanFiles
from csrd.stages.simulate import write_scan
from csrd.virtual.acquire import Acquisition

SHAPE, VOXEL = (40, 36, 36), 6.0  # a coarse grid: the check's is coarser
CENTRE, HALF = np.array([24.0, -16.0, 20.0]), np.array([60.0, 44.0, 32.0])  # mm, RAS
SPOT, SPOT_RADIUS = np.array([56.0, -2.0, 8.0]), 14.0
WARM, HOT = 8_000.0, 48_000.0  # Bq/mL
RECON = Recon(
    matrix=SHAPE, voxel_mm=VOXEL, iterations=3, subsets=6, postfilter_fwhm_mm=0, psf=None, scatter="none"
)
SCAN = Acquisition(duration_s=2, half_life_s=6586.2, branching=0.97, randoms_fraction=0.3)


@dataclass(frozen=True)
class Scan:
    """The files of a scan, and its image by the embedded engine."""

    files: ScanFiles
    image: Volume
    counts: dict


@pytest.fixture(scope="session")
def scan(tmp_path_factory) -> Scan:
    """Return the scan, with efficiencies that rise along the axis, and the embedded engine's image."""
    folder, fine = tmp_path_factory.mktemp("engines"), tuple(2 * n for n in SHAPE)
    affine = centred_affine(fine, VOXEL / 2)
    at = (np.moveaxis(np.indices(fine), 0, -1) - (np.array(fine) - 1) / 2) * VOXEL / 2
    body = (((at - CENTRE) / HALF) ** 2).sum(-1) < 1
    hot = ((at - SPOT) ** 2).sum(-1) < SPOT_RADIUS**2
    activity = Volume(np.where(hot, HOT, body * WARM).astype(np.float32), affine, "Bq/mL")
    mumap = Volume((body * 0.096).astype(np.float32), affine, "1/cm")
    mumap.save(folder / "mu.nii.gz")
    rings = np.linspace(0.3, 0.9, mmr().rings).repeat(mmr().columns)
    efficiencies = np.tile(rings, mmr().heads).astype(np.float32)
    np.save(folder / "efficiencies.npy", efficiencies)
    path = folder / "scan.l"
    arguments = activity, mumap, efficiencies, mmr(), SCAN
    counts = write_scan(path, *arguments, seed=1, subject="sub-01", threads=1)
    files = ScanFiles(path, Path(f"{path}.hdr"), folder / "mu.nii.gz", folder / "efficiencies.npy")
    image, _ = embedded_image(files, RECON, drf=1, seed=1, subject="sub-01", threads=1)
    return Scan(files, image, counts)

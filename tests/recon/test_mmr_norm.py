"""A cylinder in the virtual mMR, as perfect crystals and as a norm.bf of random factors would record it."""

from pathlib import Path

import numpy as np
import pytest

from csrd.config.sections import Recon
from csrd.io.volume import Volume, centred_affine
from csrd.recon.sensitivity import geometric_sensitivity
from csrd.scanner.geometry import mmr
from csrd.scanner.mmr_norm import Norm
from csrd.stages.recon import ScanFiles, image_of, subject_sensitivity
from csrd.stages.simulate import write_scan
from csrd.virtual.acquire import Acquisition
from tests.siemens_files import norm_pair, pair_of, perfect_norm, recorded, varied

pytestmark = pytest.mark.long
SHAPE, VOXEL = (48, 48, 40), 4.0625
RADIUS, HALF_LENGTH, ACTIVITY = 70.0, 60.0, 30_000.0  # mm, Bq/mL
SETTINGS = Recon(matrix=SHAPE, voxel_mm=VOXEL, iterations=2, subsets=6, postfilter_fwhm_mm=6)
SCAN = Acquisition(duration_s=4, half_life_s=6586.2, branching=0.97, randoms_fraction=0)


def uniform(value: float, unit: str) -> Volume:
    shape = tuple(2 * n for n in SHAPE)
    affine = centred_affine(shape, VOXEL / 2)
    x, y, z = (np.moveaxis(np.indices(shape), 0, -1) * VOXEL / 2 + affine[:3, 3]).transpose(3, 0, 1, 2)
    inside = (np.hypot(x, y) < RADIUS) & (abs(z) < HALF_LENGTH)
    return Volume((inside * value).astype(np.float32), affine, unit)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> dict[str, tuple[Volume, dict]]:
    folder = tmp_path_factory.mktemp("norm")
    uniform(0.096, "1/cm").save(folder / "mu.nii.gz")
    perfect = np.ones(mmr().crystals, np.float32)
    body = uniform(ACTIVITY, "Bq/mL"), uniform(0.096, "1/cm")
    write_scan(folder / "perfect.l", *body, perfect, mmr(), SCAN, seed=1, subject="norm", threads=1)
    base = perfect_norm()
    norm = varied(base, gap_marked=True)
    recorded(folder / "perfect.l", norm, folder / "varied.l")
    np.save(folder / "perfect.npy", perfect)
    files = {
        "computed": (folder / "perfect.l", folder / "perfect.npy"),
        "perfect": (folder / "perfect.l", pair(base, folder / "base.dcm")),
        "varied": (pair_of(folder / "varied.l", folder / "scan.dcm"), pair(norm, folder / "varied-norm.dcm")),
        "ignored": (folder / "varied.l", folder / "perfect.npy"),
    }
    geometric_sensitivity(mmr(), SHAPE, VOXEL).save(folder / "geometric.nii.gz")
    images = {}
    for name, (scan, normalisation) in files.items():
        sensitivity = folder / f"{normalisation.stem}.nii.gz"
        if not sensitivity.exists():
            corrections = folder / "mu.nii.gz", normalisation, sensitivity
            how = {"lines": 2_000_000, "seed": 1, "subject": "norm", "threads": 1, "listmode": scan}
            subject_sensitivity(folder / "geometric.nii.gz", *corrections, **how)
        found = ScanFiles(scan, None, folder / "mu.nii.gz", normalisation, sensitivity)
        images[name] = image_of(found, SETTINGS, 1, 1, "norm", 1, folder / "unused")
    return images


def pair(norm: Norm, target: Path) -> Path:
    return norm_pair(norm.values, target, norm.quantification)


def shells(image: Volume) -> np.ndarray:
    """Return the mean of shells around the axis, 12 mm thick."""
    at = np.moveaxis(np.indices(SHAPE), 0, -1) - (np.array(SHAPE) - 1) / 2
    radius, z = np.hypot(at[..., 0], at[..., 1]) * VOXEL, abs(at[..., 2]) * VOXEL
    long = z < HALF_LENGTH - 15
    return np.array([image.array[long & (radius // 12 == shell)].mean() for shell in range(5)])


def test_the_norms_own_factors_give_the_computed_ones_image(images):
    computed, perfect = shells(images["computed"][0]), shells(images["perfect"][0])
    assert computed == pytest.approx(ACTIVITY, rel=0.04)
    assert perfect == pytest.approx(computed, rel=0.015)


def test_random_factors_leave_the_shells_as_they_are(images):
    image, sidecar = images["varied"]
    assert shells(image) == pytest.approx(shells(images["computed"][0]), rel=0.025)
    assert sidecar["NormalisationTurn"].startswith("1, by the gap crystals")
    assert sidecar["NormalisationCorrection"].startswith("components")
    assert "none" in sidecar["NormalisationDeadTime"]


def test_without_the_norm_they_would_not(images):
    """The same events taken as those of perfect crystals: the test above can fail."""
    slices = [
        np.array([images[key][0].array[20:28, 20:28, z].mean() for z in range(8, 32)]) for key in images
    ]
    computed, _, _, ignored = slices
    assert abs(ignored / ignored.mean() / (computed / computed.mean()) - 1).max() > 0.05

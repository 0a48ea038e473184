"""A body in the virtual mMR, written as PETLINK list-mode and reconstructed: place, size, orientation."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from csrd.config.sections import Recon
from csrd.io.volume import Volume, centred_affine
from csrd.listmode import open_listmode, thin
from csrd.recon.sensitivity import geometric_sensitivity, subject_sensitivity
from csrd.resample import resample
from csrd.scanner.geometry import mmr
from csrd.stages.recon import image_of
from csrd.stages.scan import ScanFiles
from csrd.stages.simulate import write_scan
from csrd.virtual.acquire import Acquisition

SHAPE, VOXEL = (48, 44, 34), 4.0625
CENTRE, HALF = np.array([24.0, -16.0, 20.0]), np.array([60.0, 44.0, 32.0])  # mm, RAS
SPOT, SPOT_RADIUS = np.array([56.0, -2.0, 8.0]), 12.0
WARM, HOT = 8_000.0, 48_000.0  # Bq/mL
SETTINGS = Recon(matrix=SHAPE, voxel_mm=VOXEL, iterations=3, subsets=6, postfilter_fwhm_mm=0, scatter="none")
SCAN = Acquisition(duration_s=2, half_life_s=6586.2, branching=0.97, randoms_fraction=0.15)


def places(shape: tuple[int, ...], voxel_mm: float) -> np.ndarray:
    """Return the voxels' centres, (X, Y, Z, 3) in mm."""
    return (np.moveaxis(np.indices(shape), 0, -1) - (np.array(shape) - 1) / 2) * voxel_mm


def body(shape: tuple[int, ...], voxel_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Return where the ellipsoid and the hot spot in it are, two masks."""
    at = places(shape, voxel_mm)
    return (((at - CENTRE) / HALF) ** 2).sum(-1) < 1, ((at - SPOT) ** 2).sum(-1) < SPOT_RADIUS**2


@pytest.fixture(scope="module")
def scan(tmp_path_factory) -> ScanFiles:
    folder, fine = tmp_path_factory.mktemp("mmr"), tuple(2 * n for n in SHAPE)
    affine = centred_affine(fine, VOXEL / 2)
    inside, hot = body(fine, VOXEL / 2)
    activity = Volume(np.where(hot, HOT, inside * WARM).astype(np.float32), affine, "Bq/mL")
    mumap = Volume((inside * 0.096).astype(np.float32), affine, "1/cm")
    mumap.save(folder / "mu.nii.gz")
    efficiencies = np.ones(mmr().crystals, np.float32)
    np.save(folder / "efficiencies.npy", efficiencies)
    path = folder / "scan.l"
    write_scan(path, activity, mumap, efficiencies, mmr(), SCAN, seed=1, subject="mmr", threads=1)
    return ScanFiles(path, mumap=folder / "mu.nii.gz", normalisation=folder / "efficiencies.npy")


@pytest.fixture(scope="module")
def images(scan, tmp_path_factory) -> dict[int, Volume]:
    folder, scanner = tmp_path_factory.mktemp("images"), mmr()
    thin(scan.listmode, folder / "low.l", drf=4, seed=1)
    geometric = geometric_sensitivity(scanner, SHAPE, VOXEL)
    mumap, efficiencies = resample(Volume.load(scan.mumap), geometric), np.load(scan.normalisation)
    sensitivity = subject_sensitivity(scanner, geometric, mumap, efficiencies, 500_000, 1, "mmr")
    sensitivity.save(folder / "sensitivity.nii.gz")
    return {
        drf: image_of(
            replace(scan, listmode=path, sensitivity=folder / "sensitivity.nii.gz"),
            SETTINGS, drf, seed=1, subject="mmr", threads=1, log=folder / "unused",
        )[0]
        for drf, path in {1: scan.listmode, 4: folder / "low.l"}.items()
    }  # fmt: skip


def spread(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean place and the standard deviations around it, (3,) each in mm."""
    at, share = places(SHAPE, VOXEL), weights[..., None] / weights.sum()
    mean = (share * at).sum((0, 1, 2))
    return mean, np.sqrt((share * (at - mean) ** 2).sum((0, 1, 2)))


@pytest.mark.parametrize("drf", [1, 4])
def test_body_has_its_activity_place_size_and_orientation(images, drf):
    image, at = images[drf], places(SHAPE, VOXEL)
    around_spot = ((at - SPOT) ** 2).sum(-1) < (SPOT_RADIUS + 10) ** 2
    core = (((at - CENTRE) / (HALF - 12)) ** 2).sum(-1) < 1
    assert image.unit == "Bq/mL"
    assert image.array[core & ~around_spot].mean() == pytest.approx(WARM, rel=0.04)
    smooth = gaussian_filter(image.array, 1)
    place, _ = spread(np.clip(smooth - 2 * WARM, 0, None))
    np.testing.assert_allclose(place, SPOT, atol=1.0)
    place, deviations = spread(1.0 * (smooth > WARM / 2))
    np.testing.assert_allclose(place, CENTRE, atol=1.0)
    np.testing.assert_allclose(deviations * np.sqrt(5), HALF, rtol=0.04)  # h²/5: an ellipsoid's moments


def test_hot_spot_is_as_hot(images):
    at = places(SHAPE, VOXEL)
    heart = ((at - SPOT) ** 2).sum(-1) < 6**2
    assert images[1].array[heart].mean() == pytest.approx(HOT, rel=0.08)


def test_written_events_are_read_back_as_lines_of_the_scanner(scan):
    listmode = open_listmode(scan.listmode)
    info, scanner = listmode.info(), mmr()
    blocks = list(listmode.blocks())
    crystals = np.concatenate([block.crystals for block in blocks])
    assert len(crystals) == info["prompts"] + info["delayeds"], "no event was lost on the way"
    assert info["duration_s"] == SCAN.duration_s and info["scanner"] == scanner.name
    heads = {tuple(pair) for pair in scanner.head_pairs}
    assert set(map(tuple, (crystals[:5000] // scanner.crystals_per_head).tolist())) <= heads
    assert scanner.in_reach(crystals).all()


def test_the_real_sample_is_reconstructed_by_the_command(mmr_sample, tmp_path):
    """307 ms make no picture, but 107,000 lines of a real scan: the object is where most of them cross."""
    (tmp_path / "coarse.yaml").write_text(
        "recon: {matrix: [40, 40, 32], voxel_mm: 8.125, iterations: 1, subsets: 4}\n"
        "align: {shape: [40, 40, 32]}"
    )
    csrd = Path(sys.executable).with_name("csrd")
    subprocess.run(
        [csrd, "thin", mmr_sample, tmp_path / "low.l", "--drf", "4"], check=True, capture_output=True
    )
    for drf, path in {1: mmr_sample, 4: tmp_path / "low.l"}.items():
        target = tmp_path / f"drf{drf}.nii.gz"
        settings = "--config", tmp_path / "coarse.yaml", "--no-attenuation", "--threads", "1"
        subprocess.run([csrd, "recon", path, target, *settings], check=True, capture_output=True)
        sidecar = json.loads((tmp_path / f"drf{drf}.json").read_text())
        assert sidecar["FrameDuration"] == [0.307], "as long as its time tags, not the header's 900 s"
        assert sidecar["DoseReductionFactor"] == drf and sidecar["AttenuationCorrection"].startswith("none")
        image = gaussian_filter(Volume.load(target).array, 1)
        assert sidecar["Prompts"] == pytest.approx(108_400 / drf, rel=0.02)
        assert image[12:28, 12:28].mean() > 3 * image[:6].mean(), "the patient is in the middle"

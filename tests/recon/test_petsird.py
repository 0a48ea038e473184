"""A body in a scanner that only a PETSIRD header describes: written, thinned, reconstructed."""

import json
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import petsird
import pytest
from scipy.ndimage import gaussian_filter

from csrd.config.sections import Recon
from csrd.errors import InputError
from csrd.io.volume import Volume, centred_affine
from csrd.listmode import open_listmode, thin, write_petsird
from csrd.scanner.petsird import scanner_of_scan
from csrd.scanner.response import line_factors
from csrd.seeds import generator
from csrd.stages.recon import image_of as reconstructed
from csrd.stages.scan import ScanFiles
from csrd.stages.simulate import write_scan
from csrd.virtual.acquire import Acquisition
from tests.petsird_files import cylinder, header_of, read, write

SHAPE, VOXEL = (40, 36, 24), 4.0
CENTRE, HALF = np.array([16.0, -12.0, 10.0]), np.array([48.0, 36.0, 26.0])  # mm, RAS
SPOT, SPOT_RADIUS = np.array([40.0, 0.0, 2.0]), 10.0
WARM, HOT = 20_000.0, 120_000.0  # Bq/mL
DURATION_S = 4.0
IN_MODULE = generator(1, "petsird-efficiencies").uniform(0.15, 0.75, 96)  # of its crystals, in every module
SETTINGS = Recon(
    matrix=SHAPE,
    voxel_mm=VOXEL,
    iterations=4,
    subsets=4,
    subject_lines=500_000,
    postfilter_fwhm_mm=0,
    scatter="none",
)


def places(shape: tuple[int, ...], voxel_mm: float) -> np.ndarray:
    """Return the voxels' centres, (X, Y, Z, 3) in mm."""
    return (np.moveaxis(np.indices(shape), 0, -1) - (np.array(shape) - 1) / 2) * voxel_mm


def scanner_information() -> petsird.ScannerInformation:
    """Return 20 modules around the axis, two along it with a gap of one ring, of efficiencies that differ."""
    scanner = cylinder(
        modules=20, crystals=(1, 8, 12), size=(20.0, 4.0, 4.0), along_axis=2, spacing=13 * 4.0, radius=110.0
    )
    scanner.detection_efficiencies.detection_bin_efficiencies[0] = np.tile(IN_MODULE, 40).tolist()
    return scanner


@pytest.fixture(scope="module")
def scan(tmp_path_factory) -> ScanFiles:
    folder, fine = tmp_path_factory.mktemp("petsird"), tuple(2 * n for n in SHAPE)
    header = header_of(scanner_information())
    write(folder / "empty.petsird", header, [])
    scanner = scanner_of_scan(open_listmode(folder / "empty.petsird"))
    at, affine = places(fine, VOXEL / 2), centred_affine(fine, VOXEL / 2)
    inside = (((at - CENTRE) / HALF) ** 2).sum(-1) < 1
    hot = ((at - SPOT) ** 2).sum(-1) < SPOT_RADIUS**2
    activity = Volume(np.where(hot, HOT, inside * WARM).astype(np.float32), affine, "Bq/mL")
    mumap = Volume((inside * 0.096).astype(np.float32), affine, "1/cm")
    mumap.save(folder / "mu.nii.gz")
    write_scan(
        folder / "scan.petsird", activity, mumap, scanner.efficiencies, scanner,
        Acquisition(DURATION_S, 6586.2, 0.9686, 0.15), seed=1, subject="petsird", threads=1,
        write=partial(write_petsird, record=header, duration_ms=round(1000 * DURATION_S)),
    )  # fmt: skip
    return ScanFiles(folder / "scan.petsird", mumap=folder / "mu.nii.gz")


def image_of(files: ScanFiles, drf: int = 1) -> tuple[Volume, dict]:
    return reconstructed(files, SETTINGS, drf, seed=1, subject="petsird", threads=1, log=Path("unused"))


@pytest.fixture(scope="module")
def images(scan, tmp_path_factory) -> dict[int, Volume]:
    low = tmp_path_factory.mktemp("low") / "low.petsird"
    thin(scan.listmode, low, drf=4, seed=1)
    return {
        drf: image_of(replace(scan, listmode=path), drf)[0]
        for drf, path in {1: scan.listmode, 4: low}.items()
    }


def spread(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean place and the standard deviations around it, (3,) each in mm."""
    at, share = places(SHAPE, VOXEL), weights[..., None] / weights.sum()
    mean = (share * at).sum((0, 1, 2))
    return mean, np.sqrt((share * (at - mean) ** 2).sum((0, 1, 2)))


@pytest.mark.parametrize(("drf", "tolerance"), [(1, 0.04), (4, 0.07)])  # the mean varies by 1 and 2 %
def test_body_has_its_activity_place_size_and_orientation(images, drf, tolerance):
    image, at = images[drf], places(SHAPE, VOXEL)
    around_spot = ((at - SPOT) ** 2).sum(-1) < (SPOT_RADIUS + 10) ** 2
    core = (((at - CENTRE) / (HALF - 12)) ** 2).sum(-1) < 1
    assert image.array[core & ~around_spot].mean() == pytest.approx(WARM, rel=tolerance)
    smooth = gaussian_filter(image.array, 1)
    place, _ = spread(np.clip(smooth - 2 * WARM, 0, None))
    np.testing.assert_allclose(place, SPOT, atol=1.5)
    place, deviations = spread(1.0 * (smooth > WARM / 2))
    np.testing.assert_allclose(place, CENTRE, atol=1.5)
    np.testing.assert_allclose(deviations * np.sqrt(5), HALF, rtol=0.06)  # h²/5: an ellipsoid's moments


def test_the_file_is_the_package_s_and_covers_the_scan(scan):
    info = open_listmode(scan.listmode).info()
    _, blocks = read(scan.listmode)
    assert info["prompts"] == sum(len(block.value.prompt_events[0][0]) for block in blocks) > 100_000
    assert info["duration_s"] == DURATION_S and len(blocks) == 40
    first = blocks[0].value.prompt_events[0][0][0]
    assert first.detection_bins[0] >= first.detection_bins[1]


def with_header(scan: ScanFiles, information: petsird.ScannerInformation, folder: Path) -> ScanFiles:
    """Return the scan with another header before its time blocks."""
    write(folder / "head.petsird", header_of(information), [])
    head, source = (open_listmode(path) for path in (folder / "head.petsird", scan.listmode))
    content = head.path.read_bytes()[: head.places.body] + scan.listmode.read_bytes()[source.places.body :]
    (folder / "scan.petsird").write_bytes(content)
    return replace(scan, listmode=folder / "scan.petsird")


def test_efficiencies_of_module_pairs_stand_in_the_place_of_computed_factors(scan, images, tmp_path):
    """Tables of all there is, in another unit, and crystals of 1: the same image; without tables another."""
    information = scanner_information()
    efficiencies = information.detection_efficiencies
    efficiencies.detection_bin_efficiencies[0] = [1.0] * len(efficiencies.detection_bin_efficiencies[0])
    pictures = [images[1].array]
    pictures.append(image_of(with_header(scan, information, tmp_path))[0].array)
    scanner = scanner_of_scan(open_listmode(scan.listmode))
    bins = open_listmode(scan.listmode).grid.crystal_of_bin.reshape(40, 96)
    tables, groups = [], {}
    for high, row in enumerate(efficiencies.module_pair_sgidlut[0][0]):
        for low in np.flatnonzero(np.array(row) >= 0).tolist():
            apart = (high // 2 - low // 2, high % 2, low % 2)
            if apart not in groups:
                lines = np.stack(np.meshgrid(bins[high], bins[low], indexing="ij"), -1).reshape(-1, 2)
                groups[apart] = len(tables)
                tables.append(
                    7 * np.outer(IN_MODULE, IN_MODULE) * line_factors(scanner, lines).reshape(96, 96)
                )
            row[low] = groups[apart]
    efficiencies.module_pair_efficiencies_vectors = [
        [[petsird.ModulePairEfficiencies(values=t.tolist(), sgid=n) for n, t in enumerate(tables)]]
    ]
    measured, sidecar = image_of(with_header(scan, information, tmp_path))
    assert sidecar["NormalisationCorrection"].startswith("efficiencies of crystals and of pairs of modules")
    whole, plain, tabled = (picture / picture.sum() for picture in (*pictures, measured.array))
    errors = [np.linalg.norm(picture - whole) / np.linalg.norm(whole) for picture in (tabled, plain)]
    assert errors[0] < 0.03 and errors[1] > 2 * errors[0]


def test_events_of_crystals_said_to_be_dead_are_left_out(scan, images, tmp_path):
    information = scanner_information()
    efficiencies = information.detection_efficiencies.detection_bin_efficiencies[0]
    efficiencies[: 3 * 96] = [0.0] * (3 * 96)
    image, sidecar = image_of(with_header(scan, information, tmp_path))
    whole = open_listmode(scan.listmode).info()["prompts"]
    assert np.isfinite(image.array).all() and 0.8 * whole < sidecar["Prompts"] < 0.95 * whole
    at = places(SHAPE, VOXEL)
    core = (((at - CENTRE) / (HALF - 12)) ** 2).sum(-1) < 1
    assert image.array[core].mean() == pytest.approx(images[1].array[core].mean(), rel=0.03)


def test_a_bed_that_moves_is_refused(scan, tmp_path):
    blocks = []
    for ms, z in ((0, 0.0), (100, 5.0)):
        moved = petsird.RigidTransformation(matrix=np.eye(3, 4, dtype=np.float32))
        moved.matrix[2, 3] = z
        bed = petsird.BedMovementTimeBlock(
            time_interval=petsird.TimeInterval(start=ms, stop=ms + 100), transform=moved
        )
        blocks.append(petsird.TimeBlock.BedMovementTimeBlock(bed))
    path = write(tmp_path / "moved.petsird", header_of(scanner_information()), blocks)
    with pytest.raises(InputError, match=r"the bed moves in .*moved.petsird at 100 ms"):
        list(open_listmode(path).blocks())


def test_the_command_thins_and_reconstructs_it(scan, tmp_path):
    (tmp_path / "coarse.yaml").write_text(
        "recon: {matrix: [20, 18, 12], voxel_mm: 8.0, iterations: 1, subsets: 4, subject_lines: 100000}\n"
        "align: {shape: [20, 18, 12]}"
    )
    csrd = Path(sys.executable).with_name("csrd")
    low, image = tmp_path / "low.petsird", tmp_path / "low.nii.gz"
    subprocess.run([csrd, "thin", scan.listmode, low, "--drf", "4"], check=True, capture_output=True)
    options = "--mumap", scan.mumap, "--config", tmp_path / "coarse.yaml", "--threads", "1"
    subprocess.run([csrd, "recon", low, image, *options], check=True, capture_output=True)
    sidecar = json.loads((tmp_path / "low.json").read_text())
    assert sidecar["DoseReductionFactor"] == 4 and sidecar["FrameDuration"] == [DURATION_S]
    assert sidecar["NormalisationCorrection"] == "efficiencies of crystals in the list-mode file"
    assert sidecar["RadionuclideHalfLife"] == 6586.2

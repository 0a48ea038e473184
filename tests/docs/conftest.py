"""What the documentation says one can type, and a folder with the files that it names."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.ndimage import gaussian_filter

from csrd.io.files import write_json
from csrd.io.volume import Volume, centred_affine, writing_frames
from csrd.pretrained import packaged
from csrd.scanner.geometry import Scanner, hrrt, mmr
from csrd.seeds import generator
from csrd.stages.kinetics import tacs
from csrd.stages.simulate import write_scan
from csrd.virtual.acquire import Acquisition
from tests.align.head_phantom import grid_points, head
from tests.conftest import REPOSITORY
from tests.kinetics.tissue import frame_means
from tests.petsird_files import cylinder, header_of, time_blocks, write
from tests.siemens_files import pair_of

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
SHAPE, VOXEL_MM = (24, 28, 26), 2.4375  # the voxels that the packaged models know
SUBJECTS = ("sub-01", "sub-02", "sub-06")
DRFS = (4,)  # config/test.yaml's train_drfs
SMALLER = {
    "recon": {"voxel_mm": VOXEL_MM, "matrix": SHAPE, "subsets": 4, "iterations": 1, "subject_lines": 100_000},
    "align": {"shape": (20, 24, 20)},
}


def blocks(language: str) -> list[tuple[str, str]]:
    """Return the page and the text of every fenced block of a language."""
    return [
        (page.name, text)
        for page in PAGES
        for found, text in FENCE.findall(page.read_text())
        if found == language
    ]


def lines() -> list[str]:
    """Return every line of the pages' shell blocks once, without its comment and its line breaks."""
    text = "\n".join(text for _, text in blocks("sh")).replace("\\\n", " ")
    return list(dict.fromkeys(" ".join(line.split("  #")[0].split()) for line in text.splitlines() if line))


def spans() -> list[str]:
    """Return what stands in code type within the pages' sentences, once each."""
    texts = [FENCE.sub("", page.read_text()) for page in PAGES]
    return list(dict.fromkeys(span for text in texts for span in re.findall(r"`([^`\n]+)`", text)))


@pytest.fixture(scope="session")
def desk(tmp_path_factory) -> Path:
    """Return a folder with small files of all the names that the commands in the documentation give."""
    folder = tmp_path_factory.mktemp("desk")
    normal, low, anatomy = images()
    for name, volume in {
        "normal": normal,
        "low": low,
        "quarter": low,
        "clean": low,
        "t1w": anatomy,
        "mask": normal.like(normal.array > 500, "mask"),
        "mu": normal.like((normal.array > 500) * np.float32(0.096), "1/cm"),
    }.items():
        volume.save(folder / f"{name}.nii.gz")
    with writing_frames(folder / "dynamic.nii.gz", low, 2) as append:
        for frame in (low, normal):
            append(frame.array)
    write_json(folder / "dynamic.json", {"FrameTimesStart": [3000, 4200], "FrameDuration": [1200, 1200]})
    for scanner, name in ((hrrt(), "scan.l64"), (hrrt(), "quarter.l64"), (mmr(), "sample.l")):
        scan(scanner, normal, Volume.load(folder / "mu.nii.gz"), folder / name)
    pair_of(folder / "sample.l", folder / "scan.dcm")
    ring = cylinder()
    for name in ("scan", "old"):  # of this version too: what is shown of others must run
        write(folder / f"{name}.petsird", header_of(ring), time_blocks(ring))
    np.save(folder / "eff.npy", np.ones(hrrt().crystals, np.float32))
    for subject in SUBJECTS:
        save_derivatives(folder / "results" / "derivatives" / "csrd" / subject, normal, low, anatomy)
    settings = yaml.safe_load((REPOSITORY / "config" / "test.yaml").read_text())
    write_json(folder / "mine.yaml", settings | SMALLER)  # which YAML is too
    for model in ("results/models/csrd", "models/csrd"):
        shutil.copytree(packaged("csrd"), folder / model)
    dynamic(folder, low)
    return folder


def images() -> tuple[Volume, Volume, Volume]:
    """Return a small head at the normal dose, at a low one, and in the MR, on one grid."""
    affine = centred_affine(SHAPE, VOXEL_MM)
    points = 3.3 * grid_points(SHAPE, affine)
    normal = gaussian_filter(head(points, 0), 0.7)
    noise = gaussian_filter(generator(1, "docs").standard_normal(SHAPE), 0.5)
    low = normal + noise * np.sqrt(normal.clip(0) + 100) * 25 / noise.std()
    pets = (Volume(array.astype(np.float32), affine, "Bq/mL") for array in (normal, low))
    return *pets, Volume(head(points, 1).astype(np.float32), affine, "arbitrary")


def dynamic(folder: Path, grid: Volume) -> None:
    """Write a dynamic scan of two regions with BP_ND 1.5, its labels and its curves."""
    edges = np.array([0, 60, 120, 240, 480, 900, 1500, 2100, 2700, 3600.0])
    labels = np.zeros(SHAPE, np.uint8)
    labels[4:12, 6:20, 6:20], labels[12:20, 6:20, 6:20] = 10, 20
    curves = {label: frame_means(edges, 0.001 / (1 + bp)) for label, bp in ((10, 0.0), (20, 1.5))}
    with writing_frames(folder / "sub-01_pet.nii.gz", grid, len(edges) - 1) as append:
        for index in range(len(edges) - 1):
            frame = np.zeros(SHAPE)
            for label, curve in curves.items():
                frame[labels == label] = curve[index]
            append(frame)
    times = {"FrameTimesStart": edges[:-1].tolist(), "FrameDuration": np.diff(edges).tolist()}
    known = {"Units": "Bq/mL", "TracerRadionuclide": "C11", "ImageDecayCorrected": True}
    write_json(folder / "sub-01_pet.json", times | known)
    Volume(labels, grid.affine, "label").save(folder / "sub-01_dseg.nii.gz")
    (folder / "sub-01_dseg.tsv").write_text("index\tname\n10\tcerebellum\n20\tputamen\n")
    tacs(folder / "sub-01_pet.nii.gz", folder / "curves.tsv", labels=folder / "sub-01_dseg.nii.gz")


def scan(scanner: Scanner, activity: Volume, mumap: Volume, path: Path) -> None:
    """Write the list-mode of a second of a hundredth of the dose."""
    lasting = Acquisition(duration_s=1, half_life_s=1224, branching=0.9976, randoms_fraction=0.2)
    weak = activity.like(activity.array * np.float32(1e-2))
    write_scan(path, weak, mumap, np.ones(scanner.crystals, np.float32), scanner, lasting, 1, "docs")


def save_derivatives(folder: Path, normal: Volume, low: Volume, anatomy: Volume) -> None:
    """Save one aligned subject as the workflow would."""
    name = folder.name
    normal.save(folder / "pet" / f"{name}_trc-DASB_rec-acstat_desc-reference_pet.nii.gz")
    for drf in DRFS:
        low.save(folder / "pet" / f"{name}_trc-DASB_rec-acstatDrf{drf}_desc-lowdose_pet.nii.gz")
    anatomy.save(folder / "anat" / f"{name}_space-pet_desc-preproc_T1w.nii.gz")
    mask = normal.like(normal.array > 500, "mask")
    mask.save(folder / "anat" / f"{name}_space-pet_desc-head_mask.nii.gz")

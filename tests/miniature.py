"""A miniature of a dataset of the Biograph mMR on OpenNeuro: heads scanned by the virtual mMR.

The files have the real names and forms: pairs .dcm and .bf, μ-maps in the patient's coordinates and 1/cm ×
10,000, sidecars of dcm2niix, and the vendor's image, which here is the truth at its resolution, on the voxels
of the vendor. A hot ball off all axes makes every head asymmetric from left to right, front to back and along
the scanner.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from csrd.io.volume import Volume, centred_affine
from csrd.resample import resample
from csrd.scanner.geometry import mmr
from csrd.scanner.mmr_norm import Norm
from csrd.stages.simulate import simulate_anatomy, write_scan
from csrd.virtual.acquire import Acquisition
from tests.siemens_files import norm_pair, pair_of, perfect_norm, recorded, varied

FDG = "config/tracers/FDG.tsv"
BED_MM = -36.0
SECONDS = {"sub-02": 6, "sub-05": 6, "sub-06": 60}
VENDOR_SHAPE, VENDOR_VOXEL = (172, 172, 127), (1.39084, 1.39084, 2.03125)  # half of the vendor's 344 × 344
VENDOR_SIGMA_MM = 2.1  # 5 mm FWHM
BALL, BALL_MM, BALL_AT, BALL_RATIO = 22, 16.0, (30.0, 24.0, 18.0), 1.6
"""Label of the ball, its radius, its centre from the brain's centre, its activity over the brain's mean."""


@dataclass(frozen=True)
class Miniature:
    """The dataset's folder; of each subject the truth, regions, μ-map, and the scan of perfect crystals."""

    folder: Path
    truth: dict[str, Volume] = field(default_factory=dict)
    labels: dict[str, Volume] = field(default_factory=dict)
    perfect: dict[str, Path] = field(default_factory=dict)
    mumaps: dict[str, Path] = field(default_factory=dict)


def miniature(folder: Path, scratch: Path, seconds: Mapping[str, float] = SECONDS) -> Miniature:
    """Write the dataset, with scans of these durations; return where, and the truth."""
    write(folder / "dataset_description.json", {"DatasetDOI": "doi:10.18112/openneuro.ds003382.v1.5.0"})
    rows = "\n".join(["participant_id\tbody_weight\tdose", *(f"{name}\t70\t100" for name in seconds)])
    (folder / "participants.tsv").write_text(rows + "\n")
    norm, found = varied(perfect_norm()), Miniature(folder)
    for name, duration in seconds.items():
        subject(found, norm, name, duration, scratch / name)
    return found


def subject(found: Miniature, norm: Norm, name: str, duration: float, scratch: Path) -> None:
    """Write one subject's files."""
    raw, own = found.folder / "sourcedata" / name / "pet", found.folder / name
    images = anatomy(name, scratch)
    activity, mumap, labels = images["activity"], images["mumap"], images["labels"]
    perfect, plain = np.ones(mmr().crystals, np.float32), scratch / "plain.l"
    scan = Acquisition(duration, half_life_s=6586.2, branching=0.97, randoms_fraction=0.2, scatter=True)
    header = {"start horizontal bed position (mm)": f"{BED_MM:g}"}
    write_scan(plain, activity, mumap, perfect, mmr(), scan, 7, name, 1, header=header)
    recorded(plain, norm, scratch / "scan.l")
    software = "syngo MR E11" if name.endswith("5") else "syngo MR B20P"
    pair_of(scratch / "scan.l", raw / f"{name}_run-001_listmode.dcm", software)
    norm_pair(norm.values, raw / f"{name}_run-001_norm.dcm", norm.quantification, software)
    write(raw / f"{name}_run-001_listmode.json", {"TracerName": "FDG"})
    converted = {"ConversionSoftware": "dcm2niix", "Manufacturer": "Siemens", "PatientPosition": "HFS"}
    umap = mumap.like((mumap.array * 1e4).astype(np.float32), "")
    for image, stem, sidecar in (
        (images["mr"], f"anat/{name}_run-001_T1w", converted),
        (
            of_patient(umap),
            f"ute/{name}_run-001_ute-umap",
            converted | {"ImageType": ["DERIVED", "PRIMARY", "UMAP3D"]},
        ),
        (
            of_patient(vendor_image(activity)),
            f"pet/{name}_task-checkerboard_trc-18FFDG_rec-acstat_run-001_pet",
            converted | {"Units": "Bq/ml"},
        ),
    ):
        write(own / f"{stem}.json", sidecar)
        image.save(own / f"{stem}.nii.gz")
    found.truth[name], found.labels[name] = activity, labels
    found.perfect[name], found.mumaps[name] = plain, scratch / "mumap.nii.gz"


def anatomy(name: str, scratch: Path) -> dict[str, Volume]:
    """Return the images of a virtual head of the project's cohort, with the ball in it."""
    facts = {"tracer": "FDG", "weight_kg": 70.0, "injected_MBq": 100.0}
    outs = {key: scratch / f"{key}.nii.gz" for key in ("mr", "mumap", "activity", "labels", "brainmask")}
    scratch.mkdir(parents=True)
    how = {"start_s": 2700, "voxel_mm": 2.4375, "seed": 7, "subject": name}
    others = {"facts_out": scratch / "facts.json", "mr_to_pet": scratch / "mr.json"}
    simulate_anatomy(FDG, facts, **outs, **others, **how)
    images = {key: Volume.load(path) for key, path in outs.items()}
    brain = images["brainmask"].array > 0
    ball, activity = ball_in(images["brainmask"]), images["activity"].array.copy()
    activity[ball] = BALL_RATIO * activity[brain].mean()
    images["activity"] = images["activity"].like(activity)
    labels = np.where(ball, BALL, images["labels"].array).astype(np.int16)
    return images | {"labels": images["labels"].like(labels, "label")}


def ball_in(brain: Volume) -> np.ndarray:
    """Return the voxels of the ball in a head."""
    at = np.moveaxis(np.indices(brain.shape), 0, -1) @ brain.affine[:3, :3].T + brain.affine[:3, 3]
    centre = at[brain.array > 0].mean(0) + BALL_AT
    return np.linalg.norm(at - centre, axis=-1) < BALL_MM


def vendor_image(activity: Volume) -> Volume:
    """Return the activity at the vendor's resolution, on its voxels; the first axis runs to the left."""
    smooth = activity.like(gaussian_filter(activity.array, VENDOR_SIGMA_MM / activity.voxel_mm))
    affine = centred_affine(VENDOR_SHAPE, 1.0)
    affine[:3] *= np.array(VENDOR_VOXEL)[:, None]
    grid = Volume(np.broadcast_to(np.float32(0), VENDOR_SHAPE), affine)
    upright = resample(smooth, grid)
    affine = affine @ np.diag([-1.0, 1, 1, 1])
    affine[0, 3] *= -1
    return Volume(np.ascontiguousarray(upright.array[::-1]), affine, "")


def of_patient(volume: Volume) -> Volume:
    """Return an image in scanner coordinates in those of the patient."""
    affine = volume.affine.copy()
    affine[2, 3] += BED_MM
    return Volume(volume.array, affine, volume.unit)


def write(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))

"""A miniature of OpenNeuro's ds001420: its layout, and curves of known BP_ND in the atlas's head."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np

from csrd.align.labels import majority, write_names
from csrd.io.files import write_json
from csrd.io.volume import Volume
from csrd.resample import resample
from csrd.virtual.atlas import atlas
from csrd.virtual.regions import REGIONS
from tests.bids.layouts import build
from tests.kinetics.tissue import frame_means

EDGES = np.array([0, 60, 180, 420, 900, 1500, 2300, 3200, 4200.0])
K2, VOXEL_MM = 0.06 / 60, 5.0
BP = {"putamen": 2.0, "caudate": 1.6, "thalamus": 1.2, "midbrain": 1.5, "white_matter": 0.1}
CORTEX = 0.3
WITHOUT = ("cerebellar_cortex", "csf", "bone", "scalp")


def bp(region: str, subject: str, session: str) -> float:
    """Return BP_ND of a region: a fifth higher in sub-02, and 5 % lower in each retest."""
    value = 0 if region in WITHOUT else BP.get(region, CORTEX)
    return value * (1.2 if subject == "sub-02" else 1) * (0.95 if session == "ses-rescan" else 1)


def write_study(folder: Path, noise: float = 0.1) -> tuple[Path, Path]:
    """Write the dataset and, beside it, a dataset of labels; return their roots.

    `noise` is the standard deviation of a voxel over the mean of the scan, in every frame.
    """
    root, others = build("ds001420", folder, most_frames=1), folder / "labels"
    found, rng = atlas(), np.random.default_rng(1)
    affine = found.t1.affine.copy()
    affine[:3, :3] = VOXEL_MM * np.eye(3)
    shape = tuple(np.ceil(np.array(found.t1.shape) * found.t1.voxel_mm / VOXEL_MM).astype(int))
    grid = Volume(np.zeros(shape, np.float32), affine, "Bq/mL")
    labels = majority(found.labels, grid).astype(np.int16)
    t1 = resample(found.t1, grid, np.eye(4), order=1).array
    write_json(others / "dataset_description.json", {"Name": "labels", "BIDSVersion": "1.10.0"})
    for scan in sorted(root.glob("sub-*/ses-*/pet/*_pet.nii.gz")):
        subject, session = scan.parts[-4:-2]
        curves = np.zeros((len(EDGES) - 1, max(REGIONS.values()) + 1))
        for region, label in REGIONS.items():
            curves[:, label] = frame_means(EDGES, K2 / (1 + bp(region, subject, session)))
        frames = curves[:, labels]
        frames += noise * frames.mean() * rng.standard_normal(frames.shape) * (labels > 0)
        nib.save(nib.Nifti1Image(np.moveaxis(frames, 0, -1).astype(np.float32), affine), scan)
        sidecar = scan.with_name(scan.name.replace(".nii.gz", ".json"))
        times = {"FrameTimesStart": EDGES[:-1].tolist(), "FrameDuration": np.diff(EDGES).tolist()}
        sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | times))
        anat = root / subject / session / "anat" / f"{subject}_{session}_T1w.nii"
        nib.save(nib.Nifti1Image(t1, affine), anat)
        image = others / subject / session / "anat" / f"{subject}_{session}_dseg.nii.gz"
        image.parent.mkdir(parents=True)
        nib.save(nib.Nifti1Image(labels, affine), image)
        write_names(found.regions, image)
    return root, others

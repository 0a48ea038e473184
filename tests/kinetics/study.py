"""A miniature of OpenNeuro's ds001420: its layout and sidecars, and curves of known BP_ND in a head."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np

from csrd.io.files import write_json, write_text
from tests.align.head_phantom import head
from tests.bids.layouts import AFFINE, POINTS, SHAPE, build
from tests.kinetics.tissue import frame_means

EDGES = np.array([0, 60, 120, 300, 600, 900, 1500, 2100, 2700, 3300, 3900.0])
K2 = 0.06 / 60
REGIONS = {1: "cerebellar cortex", 2: "thalamus", 3: "putamen"}
BP = {2: 1.0, 3: 2.0}
"""BP_ND of sub-01's test; `bp` has the others'."""


def bp(subject: str, session: str, label: int) -> float:
    """Return BP_ND of a region: a fifth higher in sub-02, and 5 % lower in each retest."""
    return BP[label] * (1.2 if subject == "sub-02" else 1) * (0.95 if session == "ses-rescan" else 1)


def write_study(folder: Path, noise: float = 0.05) -> tuple[Path, Path]:
    """Write the dataset and, beside it, a dataset of labels; return their roots."""
    root, others = build("ds001420", folder, most_frames=1), folder / "labels"
    brain, rng = head(POINTS, 0) > 100, np.random.default_rng(1)
    parts = np.array_split(np.flatnonzero(brain.any((0, 1))), 3)
    labels = np.zeros(SHAPE, np.int16)
    for label, slices in zip(REGIONS, parts, strict=True):
        labels[:, :, slices] = label * brain[:, :, slices]
    write_json(others / "dataset_description.json", {"Name": "labels", "BIDSVersion": "1.10.0"})
    write_text(others / "dseg.tsv", "index\tname\n" + "".join(f"{k}\t{v}\n" for k, v in REGIONS.items()))
    for scan in root.glob("sub-*/ses-*/pet/*_pet.nii.gz"):
        subject, session = scan.parts[-4:-2]
        curves = [0 * EDGES[1:], frame_means(EDGES, K2)]
        curves += [frame_means(EDGES, K2 / (1 + bp(subject, session, label))) for label in BP]
        frames = np.array(curves).T[:, labels]
        frames = frames + noise * frames.mean() * 8 * rng.standard_normal(frames.shape) * brain
        image = nib.Nifti1Image(np.moveaxis(frames, 0, -1).astype(np.float32), AFFINE)
        nib.save(image, scan)
        sidecar = scan.with_name(scan.name.replace(".nii.gz", ".json"))
        times = {"FrameTimesStart": EDGES[:-1].tolist(), "FrameDuration": np.diff(EDGES).tolist()}
        sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | times))
        image = others / subject / session / "anat" / f"{subject}_{session}_dseg.nii.gz"
        image.parent.mkdir(parents=True)
        nib.save(nib.Nifti1Image(labels, AFFINE), image)
    return root, others

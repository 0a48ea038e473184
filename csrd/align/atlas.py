"""Labels of the packaged atlas on one subject, by a registration of its template."""

import numpy as np

from csrd.align.register import register, warped_labels
from csrd.errors import InputError
from csrd.io.volume import Volume
from csrd.resample import resample
from csrd.virtual.atlas import atlas

LEAST_HEAD_ML = 2000
"""Tissue of an MR, below which its skull and scalp seem to be removed.

Brains alone have 1,100 to 1,550 mL in six real images, four virtual heads 2,400 to 2,950 mL."""
TISSUE = 0.1  # of the 99th percentile, above which a voxel is tissue


def atlas_labels(anatomy: Volume, seed: int, threads: int) -> np.ndarray:
    """Return the atlas's labels on the grid of a subject's MR, (X, Y, Z) uint8.

    The template is matched to it by an affine registration, then by a smooth deformation.
    Raises InputError where the image is empty or sheared, or shows less than a head.
    """
    if (tissue := tissue_ml(anatomy)) < LEAST_HEAD_ML:
        raise InputError(
            f"the MR shows {tissue:.0f} mL of tissue, and a head has more than {LEAST_HEAD_ML}: the packaged "
            "atlas needs a whole head with its skull; give the MR as it was before the skull was removed"
        )
    found = atlas()
    matrix = register(found.t1, anatomy, seed, threads, kind="Affine")
    template = resample(found.t1, anatomy, matrix)
    return warped_labels(resample(found.labels, anatomy, matrix, order=0), template, anatomy, seed)


def tissue_ml(anatomy: Volume) -> float:
    """Return how much of an MR is brighter than `TISSUE`, in mL."""
    bright = anatomy.array[anatomy.array > 0]
    if not bright.size:
        return 0.0
    level = TISSUE * np.percentile(bright, 99)
    return float(np.count_nonzero(bright > level) * anatomy.voxel_mm.prod() / 1e3)

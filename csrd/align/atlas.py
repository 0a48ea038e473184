"""Labels of the packaged atlas on one subject, by a registration of its template."""

import numpy as np

from csrd.align.register import register, warped_labels
from csrd.errors import InputError
from csrd.io.volume import Volume
from csrd.resample import resample
from csrd.virtual.atlas import Atlas, atlas
from csrd.virtual.template import solid

LEAST_HEAD_ML = 2000
"""Tissue of an MR, below which its skull and scalp seem to be removed.

Brains alone have 1,100 to 1,550 mL in six real images, four virtual heads 2,400 to 2,950 mL."""
LEAST_BRAIN_ML = 700
FAINT = 0.02  # of the 99th percentile: an image without skull has nothing fainter than tissue around it
MOST_AROUND = 1.3  # volume above FAINT over the volume of tissue, up to which the rest was removed
TISSUE = 0.1  # of the 99th percentile, above which a voxel is tissue


def atlas_labels(anatomy: Volume, seed: int, threads: int) -> np.ndarray:
    """Return the atlas's labels on the grid of a subject's MR, (X, Y, Z) uint8.

    The template is matched to it by an affine registration, then by a smooth deformation. To an MR whose
    skull was removed (`is_stripped`) the template's brain alone is matched, and labels lie inside that MR's.
    Raises InputError where the image is empty or sheared, or shows neither a head nor a brain.
    """
    stripped = is_stripped(anatomy)
    found = brain_alone(atlas()) if stripped else atlas()
    matrix = register(found.t1, anatomy, seed, threads, kind="Affine")
    template = resample(found.t1, anatomy, matrix)
    labels = warped_labels(resample(found.labels, anatomy, matrix, order=0), template, anatomy, seed)
    return np.where(anatomy.array > FAINT * _bright(anatomy), labels, 0) if stripped else labels


def is_stripped(anatomy: Volume) -> bool:
    """Return whether an MR shows a brain alone: little tissue, and nothing faint around it.

    Raises InputError where it shows neither a head nor a brain.
    """
    tissue = tissue_ml(anatomy)
    if tissue >= LEAST_HEAD_ML:
        return False
    around = tissue_ml(anatomy, FAINT)
    if tissue >= LEAST_BRAIN_ML and around <= MOST_AROUND * tissue:
        return True
    raise InputError(
        f"the MR shows {tissue:.0f} mL of tissue: a head has more than {LEAST_HEAD_ML}, and a brain whose "
        f"skull was removed more than {LEAST_BRAIN_ML}, with zeros around it; give the MR of a whole head or "
        "of a whole brain"
    )


def brain_alone(head: Atlas) -> Atlas:
    """Return an atlas without skull and scalp, and without the labels outside the brain but for CSF in it."""
    brain = solid(np.isin(head.labels.array, list(head.regions)))
    return Atlas(
        head.labels.like(np.where(brain, head.labels.array, np.uint8(0)), "label"),
        head.t1.like(np.where(brain, head.t1.array, np.float32(0))),
        head.sources,
    )


def _bright(anatomy: Volume) -> float:
    """Return the 99th percentile of an MR's voxels above zero, 0 without one."""
    bright = anatomy.array[anatomy.array > 0]
    return float(np.percentile(bright, 99)) if bright.size else 0.0


def tissue_ml(anatomy: Volume, fraction: float = TISSUE) -> float:
    """Return how much of an MR is brighter than a fraction of its 99th percentile, in mL."""
    level = fraction * _bright(anatomy)
    bright = np.count_nonzero(anatomy.array > level) if level else 0
    return float(bright * anatomy.voxel_mm.prod() / 1e3)

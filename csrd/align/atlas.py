"""Labels of the packaged atlas on one subject, by a registration of its template."""

import numpy as np

from csrd.align.register import register, warped_labels
from csrd.io.volume import Volume
from csrd.resample import resample
from csrd.virtual.atlas import atlas


def atlas_labels(anatomy: Volume, seed: int, threads: int) -> np.ndarray:
    """Return the atlas's labels on the grid of a subject's MR, (X, Y, Z) uint8.

    The template is matched to it by an affine registration, then by a smooth deformation.
    Raises InputError where the image is empty or sheared.
    """
    found = atlas()
    matrix = register(found.t1, anatomy, seed, threads, kind="Affine")
    template = resample(found.t1, anatomy, matrix)
    return warped_labels(resample(found.labels, anatomy, matrix, order=0), template, anatomy, seed)

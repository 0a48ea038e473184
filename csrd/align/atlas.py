"""Labels of the packaged atlas on one subject, by an affine registration of its template."""

import numpy as np

from csrd.align.register import register
from csrd.io.volume import Volume
from csrd.resample import resample
from csrd.virtual.atlas import atlas


def atlas_labels(anatomy: Volume, seed: int, threads: int) -> np.ndarray:
    """Return the atlas's labels on the grid of a subject's image, (X, Y, Z) uint8.

    The template is matched to the image by rotation, translation, scales and shears only: borders of regions
    are off by millimetres.
    Raises InputError where the image is empty or sheared.
    """
    found = atlas()
    matrix = register(found.t1, anatomy, seed, threads, kind="Affine")
    return resample(found.labels, anatomy, matrix, order=0).array

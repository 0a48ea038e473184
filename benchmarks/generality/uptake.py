"""The uptake in the heads of the kept scans, with PET-only spots, and a T2w-like contrast."""

import numpy as np
from scipy import ndimage

from csrd.virtual.anatomy import Anatomy
from csrd.virtual.spots import Spot, apply_spot, lesions
from csrd.virtual.tracer import EDGE_VOXELS, Tracer, subject_suv
from csrd.virtual.variation import by_side, texture

SIDES_SD = 0.05  # of a region's uptake, left and right
# T2w-like intensity of a T1w one: CSF bright, fat and white matter dark
T1_LEVELS, T2_LEVELS = (0.0, 0.07, 0.28, 0.5, 0.72, 0.86, 1.0, 1.4), (0.0, 0.1, 1.8, 1.5, 1.0, 0.85, 0.7, 0.6)


def uptake(anatomy: Anatomy, tracer: Tracer, rng: np.random.Generator) -> tuple[np.ndarray, list[Spot]]:
    """Return SUV (X, Y, Z) float32 and its spots: regions, left and right, and smooth fields vary."""
    table, labels = subject_suv(rng, tracer), anatomy.labels
    left, right = (table * (1 + SIDES_SD * rng.standard_normal(len(table))) for _ in range(2))
    suv = by_side(left, right, labels) * texture(rng, labels)
    suv = ndimage.gaussian_filter(suv.clip(0).astype(np.float32), EDGE_VOXELS)
    suv[labels.array == 0] = 0
    spots = lesions(rng, anatomy, [])
    for spot in spots:
        apply_spot(suv, anatomy.labels.affine, spot)
    return suv, spots


def t2_like(t1: np.ndarray) -> np.ndarray:
    """Return a T1 contrast (white matter = 1) turned into one like T2: CSF bright, white matter dark."""
    return np.interp(t1, T1_LEVELS, T2_LEVELS).astype(np.float32)

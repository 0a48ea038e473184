"""The uptake in the heads of the kept scans, with PET-only spots, and a T2w-like contrast."""

import numpy as np
from scipy import ndimage

from csrd.io.volume import Volume
from csrd.virtual.anatomy import Anatomy
from csrd.virtual.regions import REGIONS
from csrd.virtual.tracer import (
    EDGE_VOXELS,
    HOT,
    SPOT_RADIUS_MM,
    Spot,
    Tracer,
    apply_spot,
    free_place,
    subject_suv,
)

SIDES_SD = 0.05  # of a region's uptake, left and right
FIELDS = ((0.08, 8.0), (0.04, 4.0))  # standard deviation and σ in mm of uptake inside regions
SPOTS_PER_TISSUE = 4  # hot ones; as many cold ones
# T2w-like intensity of a T1w one: CSF bright, fat and white matter dark
T1_LEVELS, T2_LEVELS = (0.0, 0.07, 0.28, 0.5, 0.72, 0.86, 1.0, 1.4), (0.0, 0.1, 1.8, 1.5, 1.0, 0.85, 0.7, 0.6)


def uptake(anatomy: Anatomy, tracer: Tracer, rng: np.random.Generator) -> tuple[np.ndarray, list[Spot]]:
    """Return SUV (X, Y, Z) float32 and its spots: regions, left and right, and smooth fields vary."""
    labels = anatomy.labels.array
    left = (anatomy.labels.affine[0, 3] + np.arange(labels.shape[0]) * anatomy.labels.voxel_mm[0]) < 0
    table = subject_suv(rng, tracer)
    sides = [table * (1 + SIDES_SD * rng.standard_normal(len(table))) for _ in range(2)]
    suv = np.where(left[:, None, None], sides[0][labels], sides[1][labels])
    for sd, sigma_mm in FIELDS:
        suv *= 1 + sd * smooth_field(rng, anatomy.labels, sigma_mm)
    suv = ndimage.gaussian_filter(suv.clip(0).astype(np.float32), EDGE_VOXELS)
    suv[labels == 0] = 0
    spots = draw_spots(rng, anatomy)
    for spot in spots:
        apply_spot(suv, anatomy.labels.affine, spot)
    return suv, spots


def smooth_field(rng: np.random.Generator, grid: Volume, sigma_mm: float) -> np.ndarray:
    """Return Gaussian noise of σ `sigma_mm` with unit variance, (X, Y, Z), drawn every σ / 2."""
    step = sigma_mm / 2
    noise = rng.standard_normal(tuple(int(edge // step) + 3 for edge in grid.shape * grid.voxel_mm))
    noise = ndimage.gaussian_filter(noise, 2.0, mode="wrap")
    return ndimage.affine_transform(
        noise / noise.std(), np.diag(grid.voxel_mm / step), output_shape=grid.shape, order=1
    )


def draw_spots(rng: np.random.Generator, anatomy: Anatomy) -> list[Spot]:
    """Return hot spots in grey and in white matter and their cold twins, which do not touch each other.

    A twin has the radius of the hot spot and the contrast 2 − that of the hot one, elsewhere in that tissue.
    """
    labels = anatomy.labels.array
    deep = ndimage.distance_transform_edt(anatomy.brain.array, anatomy.labels.voxel_mm) > SPOT_RADIUS_MM[1]
    white = labels == REGIONS["white_matter"]
    grey = (labels > 0) & (labels < REGIONS["white_matter"])
    spots: list[Spot] = []
    for tissue in (grey & deep, white & deep):
        places = np.argwhere(tissue)
        for _ in range(SPOTS_PER_TISSUE):
            radius, contrast = rng.uniform(*SPOT_RADIUS_MM), rng.uniform(*HOT)
            for own in (contrast, 2 - contrast):
                centre = free_place(rng, places, anatomy.labels.affine, radius, spots)
                spots.append(Spot(tuple(centre.tolist()), radius, own))
    return spots


def t2_like(t1: np.ndarray) -> np.ndarray:
    """Return a T1 contrast (white matter = 1) turned into one like T2: CSF bright, white matter dark."""
    return np.interp(t1, T1_LEVELS, T2_LEVELS).astype(np.float32)

"""Spots of uptake that only the PET shows: any of a wide range, and the test set of the test subjects."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from csrd.virtual.anatomy import Anatomy
from csrd.virtual.regions import REGIONS

APART_MM = 2.0  # least distance between the surfaces of two spots

SPOTS = (4, 8)  # of the wide range, in every head
RADIUS_MM = (2.0, 12.0)
RATIO = (0.3, 3.0)
RATIO_SD = 0.55  # of ln ratio before it is limited: small deviations are the more frequent
EDGE = (0.0, 1.0)  # width of the edge over the radius, for every other spot; the others are sharp

HOT = (1.4, 1.8)  # of the test set; its cold spots have 2 − that
SIZES = {"lesion": (4.0, 7.0), "small": (2.0, 4.0), "large": (7.0, 12.0)}
"""Radius in mm of the test set's spots, by size."""
TEST_SET = {"lesion": 4, "small": 1, "large": 1}
"""Hot ones of each size in each tissue; as many cold ones."""


@dataclass(frozen=True)
class Spot:
    """A sphere in the brain, in scanner mm, in which uptake is `contrast` times its surroundings'.

    The contrast falls to 1 over `edge_mm` across the surface; 0: within a voxel. `size` is that of a spot of
    the test set (`SIZES`), "" of any other.
    """

    centre_mm: tuple[float, float, float]
    radius_mm: float
    contrast: float
    edge_mm: float = 0.0
    size: str = ""


def any_spots(rng: np.random.Generator, anatomy: Anatomy) -> list[Spot]:
    """Return spots of the wide range, in grey and white matter in turn, that do not touch each other."""
    depth, tissues = _depth(anatomy), _tissues(anatomy)
    spots: list[Spot] = []
    for n in range(rng.integers(SPOTS[0], SPOTS[1] + 1)):
        radius = float(np.exp(rng.uniform(*np.log(RADIUS_MM))))
        contrast = float(np.exp(np.clip(rng.normal(0, RATIO_SD), *np.log(RATIO))))
        edge = radius * rng.uniform(*EDGE) * (n // 2 % 2)
        places = np.argwhere(tissues[n % 2] & (depth > radius))
        if len(places):  # the white matter of a small head has no place for the largest
            centre = free_place(rng, places, anatomy.labels.affine, radius, spots)
            spots.append(Spot(tuple(centre.tolist()), radius, contrast, edge))
    return spots


def fixed_spots(rng: np.random.Generator, anatomy: Anatomy, others: list[Spot]) -> list[Spot]:
    """Return the spots of the test set, of every size, clear of `others`."""
    spots: list[Spot] = []
    for size, per_tissue in TEST_SET.items():
        spots += lesions(rng, anatomy, [*others, *spots], size, per_tissue)
    return spots


def lesions(
    rng: np.random.Generator,
    anatomy: Anatomy,
    others: list[Spot],
    size: str = "lesion",
    per_tissue: int = TEST_SET["lesion"],
) -> list[Spot]:
    """Return sharp hot spots in grey and in white matter and their cold twins, clear of `others`.

    A twin has the radius of the hot spot and the contrast 2 − that of the hot one, elsewhere in that tissue.
    """
    deep = _depth(anatomy) > SIZES[size][1]
    spots: list[Spot] = []
    for tissue in _tissues(anatomy):
        places = np.argwhere(tissue & deep)
        for _ in range(per_tissue):
            radius, contrast = rng.uniform(*SIZES[size]), rng.uniform(*HOT)
            for own in (contrast, 2 - contrast):
                centre = free_place(rng, places, anatomy.labels.affine, radius, [*others, *spots])
                spots.append(Spot(tuple(centre.tolist()), radius, own, size=size))
    return spots


def free_place(
    rng: np.random.Generator, places: np.ndarray, affine: np.ndarray, radius: float, spots: list[Spot]
) -> np.ndarray:
    """Return the centre in mm of a random voxel of `places` (N, 3), clear of the spots before it."""
    while True:
        centre = affine[:3, :3] @ places[rng.integers(len(places))] + affine[:3, 3]
        gaps = [np.linalg.norm(centre - s.centre_mm) - radius - s.radius_mm for s in spots]
        if min(gaps, default=np.inf) > APART_MM:
            return centre


def apply_spot(uptake: np.ndarray, affine: np.ndarray, spot: Spot) -> None:
    """Multiply `uptake` (X, Y, Z) in place by the spot's contrast, in part where its surface crosses."""
    voxel = float(affine[0, 0])
    width = max(spot.edge_mm, voxel)  # no edge is sharper than a voxel
    middle = (np.array(spot.centre_mm) - affine[:3, 3]) / voxel
    reach = (spot.radius_mm + spot.edge_mm / 2) / voxel + 1
    low = np.maximum(np.floor(middle - reach).astype(int), 0)
    high = np.minimum(np.ceil(middle + reach).astype(int) + 1, uptake.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    index = np.ogrid[box]
    distance = voxel * np.sqrt(sum((i - m) ** 2 for i, m in zip(index, middle, strict=True)))
    inside = np.clip((spot.radius_mm - distance) / width + 0.5, 0, 1)
    uptake[box] *= 1 + (spot.contrast - 1) * inside


def _depth(anatomy: Anatomy) -> np.ndarray:
    """Return the distance in mm to what lies outside the skull's inside, (X, Y, Z)."""
    return ndimage.distance_transform_edt(anatomy.brain.array, anatomy.labels.voxel_mm)


def _tissues(anatomy: Anatomy) -> tuple[np.ndarray, np.ndarray]:
    """Return the voxels of grey and of white matter, (X, Y, Z) bool each."""
    labels, white = anatomy.labels.array, REGIONS["white_matter"]
    return (labels > 0) & (labels < white), labels == white

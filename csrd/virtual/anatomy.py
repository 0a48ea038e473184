"""One virtual subject's head: regions, T1 contrast and attenuation on one grid in scanner coordinates."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from csrd.io.volume import Volume, centred_affine
from csrd.seeds import generator
from csrd.virtual.head import Head, Layers, head_around
from csrd.virtual.regions import REGIONS
from csrd.virtual.t1w import individual_brain
from csrd.virtual.template import Brain, template
from csrd.virtual.warp import pulled, random_affine, random_displacement, random_pose

VOXEL_MM = 1.21875  # the HRRT's own
EXTENT_MM = (195.0, 234.0, 195.0)  # the crop of the pipeline

MU_SOFT, MU_BONE = 0.096, 0.15  # 1/cm at 511 keV

# T1 intensity, white matter = 1. Inside the brain it is mixed with the T1 image itself.
T1_INTENSITY = {
    **dict.fromkeys(REGIONS, 0.72),
    "caudate": 0.75,
    "putamen": 0.79,
    "pallidum": 0.93,
    "thalamus": 0.86,
    "midbrain": 0.92,
    "raphe": 0.90,
    "pons": 0.94,
    "white_matter": 1.0,
    "csf": 0.28,
    "bone": 0.07,
    "scalp": 0.62,
}
SKIN_FAT = 1.0  # the outermost soft tissue is fat, bright in T1
HEAD_CENTRE_MM = (0.0, -17.0, 3.0)  # the template head's middle, put at the scanner's centre


@dataclass(frozen=True)
class Anatomy:
    """A head in scanner coordinates; four Volumes on one axis-aligned grid.

    `labels` ("label", uint8: template.REGIONS, 0 is air), `brain` ("mask": what lies inside the skull),
    `t1` ("arbitrary": noise-free T1 contrast, white matter = 1), `mumap` ("1/cm").
    """

    labels: Volume
    brain: Volume
    t1: Volume
    mumap: Volume


def make_anatomy(
    seed: int,
    subject: str,
    voxel_mm: float = VOXEL_MM,
    shape: tuple[int, ...] | None = None,
    t1w: Volume | None = None,
) -> Anatomy:
    """Return the subject's head: the template's, randomly deformed, or a real skull-stripped T1w image's.

    Both get a random pose of a few degrees and mm, and a modelled skull and scalp. The grid covers
    `EXTENT_MM` unless a `shape` is given. Equal arguments give equal bytes. Raises InputError for an
    unusable `t1w`.
    """
    shape = shape or tuple(round(extent / voxel_mm) for extent in EXTENT_MM)
    rng = generator(seed, "anatomy", subject)
    affine = centred_affine(shape, voxel_mm)
    pose, layers = random_pose(rng), Layers.random(rng)
    if t1w is None:
        thresholds = rng.uniform(0.45, 0.55), rng.uniform(0.70, 0.80)
        brain, t1_share = _deformed_template(rng, pose, affine, shape), 0.5
    else:
        thresholds = 0.5, 0.5
        brain, t1_share = individual_brain(t1w, pose, affine, shape), 1.0
    head = head_around(brain.mask, voxel_mm, layers)
    labels = label_head(brain, head, *thresholds)
    grid = Volume(labels, affine, "label")
    t1 = t1_contrast(brain, head, labels, t1_share)
    return Anatomy(
        grid, grid.like(head.inside, "mask"), grid.like(t1, "arbitrary"), grid.like(mu(labels), "1/cm")
    )


def label_head(brain: Brain, head: Head, white_above: float, tissue_above: float) -> np.ndarray:
    """Return the label of every voxel, (X, Y, Z) uint8: white matter, grey region, CSF, bone, scalp, air."""
    labels = np.zeros(brain.mask.shape, dtype=np.uint8)
    labels[head.soft] = REGIONS["scalp"]
    labels[head.bone] = REGIONS["bone"]
    labels[head.inside] = REGIONS["csf"]
    grey = head.inside & (brain.region > 0) & (brain.grey + brain.white > tissue_above)
    labels[grey] = brain.region[grey]
    labels[head.inside & (brain.white > white_above)] = REGIONS["white_matter"]
    return labels


def mu(labels: np.ndarray) -> np.ndarray:
    """Return the linear attenuation at 511 keV in 1/cm of every voxel, (X, Y, Z) float32."""
    table = np.full(max(REGIONS.values()) + 1, MU_SOFT, dtype=np.float32)
    table[0], table[REGIONS["bone"]] = 0.0, MU_BONE
    return table[labels]


def t1_contrast(brain: Brain, head: Head, labels: np.ndarray, share: float) -> np.ndarray:
    """Return noise-free T1 intensity, (X, Y, Z) float32: `share` of the T1 image, the rest from the labels.

    The template's T1 is an average of many people and blurred as such; the labels give it back its edges.
    """
    table = np.zeros(max(REGIONS.values()) + 1, dtype=np.float32)
    table[list(REGIONS.values())] = [T1_INTENSITY[name] for name in REGIONS]
    modelled = table[labels]
    modelled[head.soft & (head.depth < 3.0)] = SKIN_FAT
    modelled = ndimage.gaussian_filter(modelled, 0.5)
    share = share * ndimage.gaussian_filter(brain.mask.astype(np.float32), 0.5)
    return (1 - share) * modelled + share * brain.t1


def _deformed_template(
    rng: np.random.Generator, pose: np.ndarray, affine: np.ndarray, shape: tuple[int, ...]
) -> Brain:
    """Return the template's tissue in one subject's random shape and pose."""
    source = template()
    displacement = random_displacement(rng, source, ventricle_mm=rng.uniform(-1.0, 3.0))
    centred = np.eye(4)
    centred[:3, 3] = HEAD_CENTRE_MM
    from_scanner = centred @ np.linalg.inv(pose @ random_affine(rng))
    return pulled(source, displacement, from_scanner, affine, shape)

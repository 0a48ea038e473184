"""A real, skull-stripped T1w image as a subject's brain: its own tissue, the template's regions."""

import tempfile

import numpy as np
from scipy import ndimage

from csrd.errors import InputError
from csrd.io.volume import Volume
from csrd.process import ITK_ON_ONE_THREAD, environment
from csrd.virtual.regions import REGIONS
from csrd.virtual.template import DEEP, Brain, Template, solid, template

REGISTER_MM = 2.0
BIAS_MM = 4.0  # a bias field is smooth: fitted to voxels of this size or a little more
BIAS_ROUNDS = {"iters": [30, 30, 30], "tol": 1e-6}  # a fifth of the default's time; 20 differ by < 2 %
BRAIN_LITRES = (0.7, 2.2)  # what a skull-stripped adult brain can measure
PRIOR_FLOOR = 0.02  # the template may be mistaken about a voxel's tissue
ROUNDS = 12
SEED = {"ANTS_RANDOM_SEED": "1"}  # the only seed that ANTs heeds; equal inputs then give equal bytes


def individual_brain(image: Volume, pose: np.ndarray, affine: np.ndarray, shape: tuple[int, ...]) -> Brain:
    """Return the brain in a T1w image on the grid of `affine` and `shape`, its middle at 0 before `pose`.

    The template is registered to it (affine, then SyN; Avants et al. 2008) and brings regions and priors.
    Raises InputError where the image is no skull-stripped brain.
    """
    with environment(**SEED, **ITK_ON_ONE_THREAD):
        return _individual_brain(image, pose, affine, shape)


def _individual_brain(image: Volume, pose: np.ndarray, affine: np.ndarray, shape: tuple[int, ...]) -> Brain:
    t1, mask = _placed(image, pose, affine, shape)
    voxel_mm = float(affine[0, 0])
    t1 = _unbiased(t1, mask, voxel_mm)
    source = template()
    region, grey, white = _carried(source, t1, voxel_mm)
    region = np.rint(region).astype(np.uint8) * mask
    deep = np.isin(region, [REGIONS[name] for name in DEEP])
    nucleus, beside = deep & (grey >= 0.5), deep & (grey < 0.5)
    grey, white, white_mean = tissue(t1, mask, grey, white)
    # A nucleus may look white, and the edge of white matter and ventricle grey: there the prior decides.
    grey, white = (
        np.where(nucleus, grey + white, np.where(beside, 0, grey)),
        np.where(beside, grey + white, np.where(nucleus, 0, white)),
    )
    return Brain(grey, white, region, t1 / white_mean, mask)


def _placed(
    image: Volume, pose: np.ndarray, affine: np.ndarray, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the image and its brain mask on the grid, the brain's middle at 0 and then moved by `pose`."""
    stripped = image.array > 0
    litres = stripped.sum() * np.prod(image.voxel_mm) / 1e6
    if not BRAIN_LITRES[0] <= litres <= BRAIN_LITRES[1]:
        raise InputError(
            f"the T1w image has {litres:.2f} L above 0, which is no skull-stripped brain; "
            "strip the skull first (e.g. with SynthStrip or HD-BET)"
        )
    index = np.argwhere(stripped)
    middle = image.affine[:3, :3] @ ((index.min(0) + index.max(0)) / 2) + image.affine[:3, 3]
    centred = np.eye(4)
    centred[:3, 3] = middle
    to_image = np.linalg.inv(image.affine) @ centred @ np.linalg.inv(pose) @ affine
    t1, mask = (
        ndimage.affine_transform(a, to_image[:3, :3], to_image[:3, 3], output_shape=shape, order=1)
        for a in (image.array, stripped.astype(np.float32))
    )
    mask = solid(mask >= 0.5)
    return t1 * mask, mask


def tissue(
    t1: np.ndarray, mask: np.ndarray, grey: np.ndarray, white: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the probabilities of grey and white matter, and white matter's mean intensity.

    Three Gaussians (CSF, grey, white) fitted to the intensities by expectation maximisation under the
    template's priors (Ashburner & Friston 2005, without their deformation).
    """
    prior = np.stack([1 - grey[mask] - white[mask], grey[mask], white[mask]]).clip(0)
    prior = PRIOR_FLOOR + (1 - 3 * PRIOR_FLOOR) * prior
    values = t1[mask]
    posterior = prior
    for _ in range(ROUNDS):
        weight = posterior.sum(axis=1)
        means = posterior @ values / weight
        spreads = np.sqrt((posterior * (values - means[:, None]) ** 2).sum(axis=1) / weight)
        likelihood = np.exp(-0.5 * ((values - means[:, None]) / spreads[:, None]) ** 2) / spreads[:, None]
        posterior = prior * likelihood + 1e-12
        posterior /= posterior.sum(axis=0)
    grey, white = np.zeros(mask.shape, np.float32), np.zeros(mask.shape, np.float32)
    grey[mask], white[mask] = posterior[1], posterior[2]
    return grey, white, float(means[2])


def _unbiased(t1: np.ndarray, mask: np.ndarray, voxel_mm: float) -> np.ndarray:
    """Return the image without its bias field (N4; Tustison et al. 2010)."""
    import ants

    image, inside = _ants(t1, voxel_mm), _ants(mask.astype(np.float32), voxel_mm)
    shrink = int(np.ceil(BIAS_MM / voxel_mm))
    unbiased = ants.n4_bias_field_correction(image, inside, shrink_factor=shrink, convergence=BIAS_ROUNDS)
    return unbiased.numpy().astype(np.float32) * mask


def _carried(source: Template, t1: np.ndarray, voxel_mm: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the template's region, grey and white on the subject's grid, by affine and SyN registration."""
    import ants

    fixed = _ants(t1, voxel_mm)
    coarse = ants.resample_image(fixed, (max(REGISTER_MM, voxel_mm),) * 3, interp_type=0)
    moving = ants.resample_image(_ants(source.t1, 1.0), (REGISTER_MM,) * 3, interp_type=0)
    with tempfile.TemporaryDirectory() as folder:
        found = ants.registration(coarse, moving, "SyN", outprefix=f"{folder}/")
        return tuple(
            ants.apply_transforms(fixed, _ants(array, 1.0), found["fwdtransforms"], interpolator).numpy()
            for array, interpolator in (
                (source.region.astype(np.float32), "nearestNeighbor"),
                (source.grey, "linear"),
                (source.white, "linear"),
            )
        )


def _ants(array: np.ndarray, voxel_mm: float):
    """Return an ANTs image of `array` in a frame of its own, centred at 0: only relative places matter."""
    import ants

    origin = tuple(-(n - 1) / 2 * voxel_mm for n in array.shape)
    return ants.from_numpy(np.ascontiguousarray(array), origin=origin, spacing=(voxel_mm,) * 3)

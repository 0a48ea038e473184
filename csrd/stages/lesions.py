"""Spots in a test subject's images: what is left of the true ones, and how many false ones there are."""

from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import numpy as np

from csrd.errors import InputError
from csrd.io.bids import sidecar_path
from csrd.io.files import read_json
from csrd.io.tables import KEYS, write_rows
from csrd.io.volume import Volume
from csrd.metrics.lesions import SPOT_KEYS, false_spots
from csrd.metrics.regions import NORMAL, recovered, spot_masks, without_spots
from csrd.metrics.truth import blurred
from csrd.resample import resample
from csrd.stages.evaluate import on_grid
from csrd.virtual.regions import REGIONS
from csrd.virtual.spots import Spot


def lesions(
    images: Sequence[str | Path],
    normal: str | Path,
    mask: str | Path,
    activity: str | Path,
    labels: str | Path,
    spots: str | Path,
    matched: str | Path,
    recovery: str | Path,
    false: str | Path,
    *,
    methods: Sequence[str],
    drfs: Sequence[int],
    subject: str,
) -> None:
    """Write what each image keeps of the test set's spots, and how many hot spots the truth does not have.

    The table `recovery` is ``subject,drf,method,spot,kind,size,radius_mm,contrast,recovery``, a row per image
    and spot; `false` is ``subject,drf,method,false_spots``. `images` are those of the first method at all
    `drfs`, then of the next, …; the normal dose itself is the method "normal" at dose 1. `activity`, `labels`
    and `spots` are the simulation's on its fine grid, `matched` is the truth of `match_truth`.
    Raises InputError where an image is not on the grid of the normal dose.
    """
    pet = Volume.load(normal)
    inside = on_grid(mask, pet, normal, unit="mask").array > 0
    truth = on_grid(matched, pet, normal).array
    tested = [spot for spot in read_spots(spots) if spot.size]
    fwhm_mm = read_json(sidecar_path(matched))["FWHM_mm"]
    bare = blurred(without_spots(Volume.load(activity), tested), pet, fwhm_mm)
    places = [
        (key, spot, np.flatnonzero(where))
        for spot, (key, where) in zip(tested, spot_masks(tested, pet).items(), strict=True)
    ]
    tissue = _tissue(Volume.load(labels, unit="label"), pet) & inside
    found, counted = [], []
    for (method, drf), path in _files(images, normal, methods, drfs):
        image = on_grid(path, pet, normal).array
        for (name, kind), spot, where in places:
            share = recovered(*(array.ravel()[where] for array in (image, truth, bare)))
            facts = spot.size, spot.radius_mm, spot.contrast
            found.append((subject, drf, method, name, kind, *facts, share))
        counted.append((subject, drf, method, false_spots(image, truth, tissue, pet.voxel_mm)))
    columns = ["kind", "size", "radius_mm", "contrast", "recovery"]
    write_rows(found, [*SPOT_KEYS[len(KEYS) :], *columns], recovery)
    write_rows(counted, ["false_spots"], false)


def _files(
    images: Sequence[str | Path], normal: str | Path, methods: Sequence[str], drfs: Sequence[int]
) -> Iterator[tuple[tuple[str, int], str | Path]]:
    """Yield (method, dose) and file of the normal dose and of every image, doses ascending."""
    yield (NORMAL, 1), normal
    files = dict(zip(product(methods, drfs), images, strict=True))
    for method, drf in product(methods, sorted(drfs)):
        yield (method, drf), files[method, drf]


def _tissue(labels: Volume, grid: Volume) -> np.ndarray:
    """Return which voxels of the grid are brain tissue, (X, Y, Z) bool."""
    nearest = resample(labels, grid, order=0).array
    return (nearest > 0) & (nearest < REGIONS["csf"])


def read_spots(path: str | Path) -> list[Spot]:
    """Return the PET-only spots that a simulation wrote beside its truth.

    Raises InputError where the file does not list them.
    """
    try:
        return [Spot(**spot) for spot in read_json(path)["spots"]]
    except (KeyError, TypeError):
        raise InputError(f"{path} does not list the spots; simulate the subject again") from None

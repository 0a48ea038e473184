"""Uptake region by region: every method's mean and maximum, and how much of each PET-only spot it keeps."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from csrd.align.derivatives import sidecar_path
from csrd.errors import InputError
from csrd.io.files import read_json
from csrd.io.volume import Volume
from csrd.metrics.evaluate import KBQ_PER_BQ, KEYS, write_csv
from csrd.metrics.truth import blurred
from csrd.resample import resample
from csrd.virtual.template import REGIONS
from csrd.virtual.tracer import Spot, apply_spot

REGION_KEYS = [*KEYS, "target", "region"]
LEFT_OUT = ("csf", "bone", "scalp")  # with hardly any uptake, a share of it says nothing
NORMAL = "normal"  # the normal dose as a row of its own, against the truth


@dataclass(frozen=True)
class Truth:
    """What the simulation knows of a subject: files of the activity, labels and spots on the fine grid, and
    of the activity as a reconstruction shows it (`match_truth`)."""

    activity: str | Path
    labels: str | Path
    spots: str | Path
    matched: str | Path


def regional(
    normal: str | Path,
    mask: str | Path,
    truth: Truth,
    images: Mapping[str, Mapping[int, str | Path]],
    out: str | Path,
    *,
    subject: str,
) -> None:
    """Write ``subject,drf,method,target,region,kind,voxels,mean,max,target_mean,target_max,recovery``.

    A row per dose, method, target ("normal" dose or "truth") and region; `kind` is region, hot or cold (a
    spot). Means and maxima are in kBq/mL over the region's voxels in the head `mask`; `recovery` is that of
    `recovered`, of spots against the truth only. The normal dose itself stands there as method "normal" at
    dose 1. `images` are the methods' files by dose.
    Raises InputError where an image is not on the grid of the normal dose.
    """
    pet = Volume.load(normal)
    head, matched = (_on_grid(path, pet, normal) for path in (mask, truth.matched))
    spots = read_spots(truth.spots)
    masks = region_masks(Volume.load(truth.labels, unit="label"), pet) | spot_masks(spots, pet)
    places = {key: np.flatnonzero(where & (head.array > 0)) for key, where in masks.items()}
    places = {key: where for key, where in places.items() if where.size}  # few coarse voxels may miss one
    bare = blurred(without_spots(Volume.load(truth.activity), spots), pet, _fwhm_mm(truth.matched)).ravel()
    targets = {"normal": pet.array.ravel(), "truth": matched.array.ravel()}
    rows = []
    for method, drf, path in [(NORMAL, 1, normal), *_each(images)]:
        image = _on_grid(path, pet, normal).array.ravel()
        for target, wanted in targets.items():
            if method == target:
                continue
            for (name, kind), where in places.items():
                of_spot = kind != "region" and target == "truth"
                share = recovered(image[where], wanted[where], bare[where]) if of_spot else np.nan
                sizes = (image[where].mean(), image[where].max(), wanted[where].mean(), wanted[where].max())
                values = [float(size) * KBQ_PER_BQ for size in sizes]
                rows.append((subject, drf, method, target, name, kind, where.size, *values, share))
    columns = ["kind", "voxels", "mean", "max", "target_mean", "target_max", "recovery"]
    write_csv(pd.DataFrame(rows, columns=[*REGION_KEYS, *columns]), out)


def region_masks(labels: Volume, grid: Volume) -> dict[tuple[str, str], np.ndarray]:
    """Return the voxels (X, Y, Z) bool of each region of brain tissue on `grid`, by (name, "region")."""
    nearest = resample(labels, grid, order=0).array
    return {(name, "region"): nearest == label for name, label in REGIONS.items() if name not in LEFT_OUT}


def spot_masks(spots: Iterable[Spot], grid: Volume) -> dict[tuple[str, str], np.ndarray]:
    """Return the voxels (X, Y, Z) bool whose centre lies in each spot, by (name, "hot" or "cold")."""
    masks = {}
    for number, spot in enumerate(spots, start=1):
        index = np.linalg.solve(grid.affine, np.append(spot.centre_mm, 1.0))[:3]
        steps = np.ogrid[tuple(slice(0, n) for n in grid.shape)]
        squares = sum(((step - i) * mm) ** 2 for step, i, mm in zip(steps, index, grid.voxel_mm, strict=True))
        inside = squares <= max(spot.radius_mm**2, float(squares.min()))  # the nearest voxel at least
        masks[f"spot {number}", "hot" if spot.contrast > 1 else "cold"] = inside
    return masks


def read_spots(path: str | Path) -> list[Spot]:
    """Return the PET-only spots that a simulation noted beside its truth.

    Raises InputError where the file does not name them.
    """
    try:
        return [Spot(**spot) for spot in read_json(path)["spots"]]
    except (KeyError, TypeError):
        raise InputError(f"{path} does not list the spots; simulate the subject anew") from None


def without_spots(activity: Volume, spots: Iterable[Spot]) -> Volume:
    """Return the activity as it was before the spots were put into it."""
    factors = np.ones(activity.shape, np.float32)
    for spot in spots:
        apply_spot(factors, activity.affine, spot)
    return activity.like(activity.array / factors)


def recovered(image: np.ndarray, truth: np.ndarray, bare: np.ndarray) -> float:
    """Return how much of a spot an image keeps: mean (image − bare) / mean (truth − bare) over its voxels.

    `bare` is the truth without spots. 1: as in the truth; 0: as if there were none.

    >>> recovered(np.array([2.5]), np.array([3.0]), np.array([2.0]))
    0.5
    """
    return float((image.mean() - bare.mean()) / (truth.mean() - bare.mean()))


def _each(images: Mapping[str, Mapping[int, str | Path]]) -> list[tuple[str, int, str | Path]]:
    return [(method, drf, path) for method, files in images.items() for drf, path in sorted(files.items())]


def _fwhm_mm(matched: str | Path) -> float:
    return read_json(sidecar_path(matched))["FWHM_mm"]


def _on_grid(path: str | Path, grid: Volume, name: str | Path) -> Volume:
    volume = Volume.load(path)
    if not volume.same_grid(grid):
        raise InputError(f"{path} is not on the grid of {name}; run the align stage on both")
    return volume

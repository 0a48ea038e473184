"""Comparison with the ground truth of a virtual subject: regions, and bias over several thinnings."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np

from csrd.errors import InputError
from csrd.io.bids import save_with_sidecar
from csrd.io.tables import KEYS, write_rows
from csrd.io.volume import Volume
from csrd.metrics.noise import over_draws
from csrd.metrics.regions import NORMAL, REGION_KEYS, region_masks
from csrd.metrics.truth import blurred, resolution
from csrd.stages.evaluate import on_grid
from csrd.units import KBQ_PER_BQ


def match_truth(activity: str | Path, normal: str | Path, mask: str | Path, truth: str | Path) -> None:
    """Write the truth on the grid and at the resolution of the normal dose; beside it the FWHM as JSON.

    `activity` is the simulated one (Bq/mL, any grid), `mask` the head's.
    Raises InputError where the mask is not on the normal dose's grid, is empty, or the units differ.
    """
    simulated, pet = Volume.load(activity), Volume.load(normal)
    head = on_grid(mask, pet, normal, unit="mask")
    if not head.array.any():
        raise InputError(f"{mask} is empty; make it again from {normal}")
    if simulated.unit != pet.unit:
        raise InputError(
            f"{activity} is in {simulated.unit} and {normal} in {pet.unit}; have the reconstruction write "
            f"{simulated.unit}"
        )
    fwhm_mm = resolution(simulated, pet, head.array > 0)
    sidecar = {"Description": "noise-free truth", "FWHM_mm": round(fwhm_mm, 3)}
    save_with_sidecar(pet.like(blurred(simulated, pet, fwhm_mm)), truth, sidecar)


def regions(
    images: Sequence[str | Path],
    normal: str | Path,
    mask: str | Path,
    labels: str | Path,
    matched: str | Path,
    table: str | Path,
    *,
    methods: Sequence[str],
    drfs: Sequence[int],
    subject: str,
) -> None:
    """Write ``subject,drf,method,target,region,voxels,mean,max,target_mean,target_max``.

    A row per dose, method, target ("normal" dose or "truth") and region. Means and maxima are in kBq/mL over
    the region's voxels in the head `mask`. The normal dose itself is the method "normal" at dose 1. `images`
    are those of the first method at all `drfs`, then of the next, …; `labels` are the simulation's on its
    fine grid, `matched` is the truth of `match_truth`.
    Raises InputError where an image is not on the grid of the normal dose.
    """
    pet = Volume.load(normal)
    head, truth = on_grid(mask, pet, normal, unit="mask"), on_grid(matched, pet, normal)
    masks = region_masks(Volume.load(labels, unit="label"), pet)
    places = {name: np.flatnonzero(where & (head.array > 0)) for name, where in masks.items()}
    places = {
        name: where for name, where in places.items() if where.size
    }  # a small region may contain no voxel of a coarse grid
    targets = {"normal": pet.array.ravel(), "truth": truth.array.ravel()}
    rows = []
    pairs = product(methods, sorted(drfs))
    files = dict(zip(product(methods, drfs), images, strict=True))
    for method, drf in [(NORMAL, 1), *pairs]:
        path = files.get((method, drf), normal)
        image = on_grid(path, pet, normal).array.ravel()
        for target, wanted in targets.items():
            if method == target:
                continue
            for name, where in places.items():
                sizes = (image[where].mean(), image[where].max(), wanted[where].mean(), wanted[where].max())
                values = [float(size) * KBQ_PER_BQ for size in sizes]
                rows.append((subject, drf, method, target, name, where.size, *values))
    columns = ["voxels", "mean", "max", "target_mean", "target_max"]
    write_rows(rows, [*REGION_KEYS[len(KEYS) :], *columns], table)


def noise(
    images: Sequence[str | Path],
    truth: str | Path,
    labels: str | Path,
    mask: str | Path,
    table: str | Path,
    *,
    methods: Sequence[str],
    draws: Sequence[int],
    subject: str,
    drf: int,
) -> None:
    """Write ``subject,drf,method,region,voxels,draws,truth,bias,sd,voxel_bias,voxel_sd`` in kBq/mL.

    A row per method and region of the simulation's `labels` in the head `mask`, from the moments of
    `over_draws`. `images` are those of the first method at all thinnings `draws`, of the next, …; `truth` is
    that of `match_truth`. Raises InputError for fewer than two thinnings, or an image on another grid.
    """
    wanted = Volume.load(truth)
    head = on_grid(mask, wanted, truth, unit="mask")
    masks = region_masks(Volume.load(labels, unit="label"), wanted)
    places = {name: np.flatnonzero(where & (head.array > 0)) for name, where in masks.items()}
    if len(draws) < 2:
        raise InputError(f"there is {len(draws)} draw; a deviation needs two or more (noise.draws)")
    rows = []
    for number, method in enumerate(methods):
        paths = images[number * len(draws) : (number + 1) * len(draws)]
        values_of = [on_grid(path, wanted, truth).array.ravel() for path in paths]
        for region, where in places.items():
            if where.size:
                drawn = np.stack([values[where] for values in values_of])
                moments = over_draws(drawn, wanted.array.ravel()[where])
                sizes = [size * KBQ_PER_BQ for size in moments]
                rows.append((subject, drf, method, region, where.size, len(paths), *sizes))
    columns = ["region", "voxels", "draws", "truth", "bias", "sd", "voxel_bias", "voxel_sd"]
    write_rows(rows, columns, table)

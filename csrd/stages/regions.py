"""Comparison with the ground truth of a virtual subject: regions, spots, and bias over several thinnings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from csrd.errors import InputError
from csrd.io.bids import save_with_sidecar, sidecar_path
from csrd.io.files import read_json
from csrd.io.tables import KEYS, write_rows
from csrd.io.volume import Volume
from csrd.metrics.noise import over_draws
from csrd.metrics.regions import NORMAL, REGION_KEYS, recovered, region_masks, spot_masks, without_spots
from csrd.metrics.truth import blurred, resolution
from csrd.stages.evaluate import on_grid
from csrd.units import KBQ_PER_BQ
from csrd.virtual.tracer import Spot


@dataclass(frozen=True)
class Truth:
    """Files of a simulation: activity, labels and spots on the fine grid, and the `matched` activity."""

    activity: str | Path
    labels: str | Path
    spots: str | Path
    matched: str | Path


def match_truth(activity: str | Path, normal: str | Path, mask: str | Path, out: str | Path) -> None:
    """Write the truth on the grid and at the resolution of the normal dose; beside it the FWHM as JSON.

    `activity` is the simulated one (Bq/mL, any grid), `mask` the head's.
    Raises InputError where the mask is not on the normal dose's grid, is empty, or the units differ.
    """
    truth, pet = Volume.load(activity), Volume.load(normal)
    head = on_grid(mask, pet, normal, unit="mask")
    if not head.array.any():
        raise InputError(f"{mask} is empty; make it anew from {normal}")
    if truth.unit != pet.unit:
        raise InputError(
            f"{activity} is in {truth.unit} and {normal} in {pet.unit}; have the reconstruction write "
            f"{truth.unit}"
        )
    fwhm_mm = resolution(truth, pet, head.array > 0)
    sidecar = {"Description": "noise-free truth", "FWHM_mm": round(fwhm_mm, 3)}
    save_with_sidecar(pet.like(blurred(truth, pet, fwhm_mm)), out, sidecar)


def regions(
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
    `recovered`, of spots against the truth only. The normal dose itself is the method "normal" at dose 1.
    `images` are the methods' files by dose.
    Raises InputError where an image is not on the grid of the normal dose.
    """
    pet = Volume.load(normal)
    head, matched = (on_grid(path, pet, normal) for path in (mask, truth.matched))
    spots = _spots(truth.spots)
    masks = region_masks(Volume.load(truth.labels, unit="label"), pet) | spot_masks(spots, pet)
    places = {key: np.flatnonzero(where & (head.array > 0)) for key, where in masks.items()}
    places = {key: where for key, where in places.items() if where.size}  # few coarse voxels may miss one
    fwhm_mm = read_json(sidecar_path(truth.matched))["FWHM_mm"]
    bare = blurred(without_spots(Volume.load(truth.activity), spots), pet, fwhm_mm).ravel()
    targets = {"normal": pet.array.ravel(), "truth": matched.array.ravel()}
    rows = []
    for method, drf, path in [(NORMAL, 1, normal), *_each(images)]:
        image = on_grid(path, pet, normal).array.ravel()
        for target, wanted in targets.items():
            if method == target:
                continue
            for (name, kind), where in places.items():
                of_spot = kind != "region" and target == "truth"
                recovery = recovered(image[where], wanted[where], bare[where]) if of_spot else np.nan
                sizes = (image[where].mean(), image[where].max(), wanted[where].mean(), wanted[where].max())
                values = [float(size) * KBQ_PER_BQ for size in sizes]
                rows.append((subject, drf, method, target, name, kind, where.size, *values, recovery))
    columns = ["kind", "voxels", "mean", "max", "target_mean", "target_max", "recovery"]
    write_rows(rows, [*REGION_KEYS[len(KEYS) :], *columns], out)


def noise(
    images: Mapping[str, Sequence[str | Path]],
    truth: str | Path,
    labels: str | Path,
    mask: str | Path,
    out: str | Path,
    *,
    subject: str,
    drf: int,
) -> None:
    """Write ``subject,drf,method,region,voxels,draws,truth,bias,sd,voxel_bias,voxel_sd`` in kBq/mL.

    A row per method and region of the simulation's `labels` in the head `mask`, from the moments of
    `over_draws`. `images` are each method's files, one a thinning, `truth` is that of `match_truth`.
    Raises InputError where a method has fewer than two images or an image is on another grid.
    """
    wanted = Volume.load(truth)
    head = on_grid(mask, wanted, truth, unit="mask")
    masks = region_masks(Volume.load(labels, unit="label"), wanted)
    places = {name: np.flatnonzero(where & (head.array > 0)) for (name, _), where in masks.items()}
    rows = []
    for method, paths in images.items():
        if len(paths) < 2:
            raise InputError(f"{method} has {len(paths)} draw; a deviation needs two or more (noise.draws)")
        draws = [on_grid(path, wanted, truth).array.ravel() for path in paths]
        for region, where in places.items():
            if where.size:
                values = over_draws(np.stack([draw[where] for draw in draws]), wanted.array.ravel()[where])
                sizes = [size * KBQ_PER_BQ for size in values]
                rows.append((subject, drf, method, region, where.size, len(paths), *sizes))
    columns = ["region", "voxels", "draws", "truth", "bias", "sd", "voxel_bias", "voxel_sd"]
    write_rows(rows, columns, out)


def _spots(path: str | Path) -> list[Spot]:
    """Return the PET-only spots that a simulation noted beside its truth.

    Raises InputError where the file does not name them.
    """
    try:
        return [Spot(**spot) for spot in read_json(path)["spots"]]
    except (KeyError, TypeError):
        raise InputError(f"{path} does not list the spots; simulate the subject anew") from None


def _each(images: Mapping[str, Mapping[int, str | Path]]) -> list[tuple[str, int, str | Path]]:
    return [(method, drf, path) for method, files in images.items() for drf, path in sorted(files.items())]

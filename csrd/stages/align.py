"""Alignment of one subject: PET and MR on one cropped grid, with sidecars, head mask and a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from csrd.align.head import head_mask, mask_centre_mm
from csrd.align.picture import registration_picture
from csrd.align.register import check_cover, crop, register
from csrd.config.sections import Align
from csrd.errors import InputError, naming, notice
from csrd.extras import require
from csrd.io.bids import bids_uri, inherited, pet_sidecar, save_with_sidecar
from csrd.io.files import read_json, whole_file, write_json
from csrd.io.volume import NOTES_KEY, Volume, refuse_other_grid
from csrd.resample import resample
from csrd.units import suv_per_bq_ml

CUT_HEAD_WARNING = 0.01


def align(
    normal: str | Path,
    lows: Sequence[str | Path],
    *,
    reference: str | Path,
    lows_out: Sequence[str | Path],
    head: str | Path,
    picture: str | Path,
    drfs: Sequence[int],
    align: Align,
    seed: int,
    threads: int = 1,
    t1w: str | Path | None = None,
    t1w_out: str | Path | None = None,
    transform: str | Path | None = None,
    facts: str | Path | None = None,
) -> None:
    """Write a subject's PET, MR and head mask on the same voxels of the PET grid, and a picture to check it.

    `lows` and `lows_out` are in the order of `drfs`. `align.shape` is along right, anterior, superior,
    whatever the order of the files' axes. PET voxels are copied, never interpolated. The MR is registered to
    the normal dose, or with `align.register_to` "low" to the lowest dose, and resampled once. The sidecars
    contain `tracer`, `weight_kg` and `activity_MBq` of the JSON file `facts`. The box is centred on the MR's
    field of view, else on the head, and moved inside the PET's. Without a `t1w`, `t1w_out` and `transform`
    are not written.
    Raises InputError where the PET images differ in grid, an image is empty, or the dose to register to is
    missing.
    """
    require("register", "aligning a subject's images")
    if t1w is not None and align.register_to == "low" and not lows:
        raise InputError("align.register_to is low, but there is no low dose; give one, or set it to normal")
    whole = Volume.load(normal)
    shape = whole.in_order_of_axes(align.shape)
    pets = [_same_grid(path, whole, normal) for path in lows]
    mr = None if t1w is None else Volume.load(t1w, unit="arbitrary")
    lowest = drfs.index(max(drfs)) if align.register_to == "low" else None
    target = normal if lowest is None else lows[lowest]
    with naming(normal):
        mask = head_mask(whole)
    if mr is None:
        matrix, centre = None, mask_centre_mm(mask, whole.affine)
    else:
        with naming(f"{t1w} with {normal}"):
            matrix = register(mr, whole if lowest is None else pets[lowest], seed, threads)
            covered = check_cover(mr, whole, matrix)
        centre = _view_centre(mr, matrix)
    centre = _centre_inside(whole, shape, centre)
    _warn_of_cut_head(whole.like(mask, "mask"), shape, centre, normal)

    box = crop(whole, shape, centre)
    with naming(normal):
        mask = head_mask(box)
    known = _known(read_json(facts) if facts else {})
    _write_pet(box, reference, normal, 1, known | whole.sidecar_notes)
    for drf, pet, low, out in zip(drfs, pets, lows, lows_out, strict=True):
        _write_pet(crop(pet, shape, centre), out, low, drf, known | pet.sidecar_notes)
    space = {"SpatialReference": bids_uri(reference)}
    what = {"Description": "head in the normal-dose PET", "Type": "ROI", "Sources": [bids_uri(reference)]}
    save_with_sidecar(box.like(mask, "mask"), head, {**what, **space})
    mr_on_pet = None
    if t1w is not None and mr is not None and matrix is not None:
        assert t1w_out is not None and transform is not None, "a T1w image comes with its outputs"
        mr_on_pet = resample(mr, box, matrix, order=3)
        save_with_sidecar(mr_on_pet, t1w_out, _mr_sidecar(t1w, mr, matrix, covered, space))
        write_json(transform, _transform(matrix, t1w, target, seed))
    _write_picture(picture, box, mask, mr_on_pet)


def align_mr(
    low: str | Path,
    t1w: str | Path,
    *,
    t1w_out: str | Path,
    transform: str | Path,
    picture: str | Path,
    seed: int,
    threads: int = 1,
) -> None:
    """Write the MR on the voxels of the low dose, of a subject without a normal dose, and the transform.

    The PET keeps its own grid. Raises InputError where an image is empty.
    """
    require("register", "aligning a subject's images")
    pet, mr = Volume.load(low), Volume.load(t1w, unit="arbitrary")
    with naming(f"{t1w} with {low}"):
        matrix = register(mr, pet, seed, threads)
        covered = check_cover(mr, pet, matrix)
        mask = head_mask(pet)
    on_pet = resample(mr, pet, matrix, order=3)
    space = {"SpatialReference": bids_uri(low)}
    save_with_sidecar(on_pet, t1w_out, _mr_sidecar(t1w, mr, matrix, covered, space))
    write_json(transform, _transform(matrix, t1w, low, seed))
    _write_picture(picture, pet, mask, on_pet)


def crop_like(pet: str | Path, reference: str | Path, pet_out: str | Path, *, drf: int) -> None:
    """Write `pet` cropped to the voxels of `reference`, of the same scan, and a sidecar.

    Raises InputError where the voxels of the two do not coincide.
    """
    kept = Volume.load(reference)
    centre = kept.affine @ np.append((np.array(kept.shape) - 1) / 2, 1.0)
    box = crop(Volume.load(pet), kept.shape, centre[:3])
    if not box.same_grid(kept):
        raise InputError(f"the voxels of {pet} are not those of {reference}; reconstruct both alike")
    _write_pet(box, pet_out, pet, drf)


def _write_picture(path: str | Path, pet: Volume, mask: np.ndarray, mr: Volume | None) -> None:
    with whole_file(path) as temporary:
        registration_picture(pet, mask, mr).save(temporary, format="PNG", optimize=True)


def _write_pet(
    pet: Volume, path: str | Path, source: str | Path, drf: int, known: Mapping[str, object] | None = None
) -> None:
    what = "normal-dose PET, the reference" if drf == 1 else f"PET at 1/{drf} of the dose"
    said = {"Description": what, "DoseReductionFactor": drf, **(known or {})}
    save_with_sidecar(pet, path, pet_sidecar(source, pet.unit, **said))


def _known(facts: Mapping[str, Any]) -> dict[str, object]:
    """Return the sidecar keys for the known facts of a subject."""
    known = {"TracerName": facts["tracer"]} if facts.get("tracer") else {}
    weight, activity = facts.get("weight_kg"), facts.get("activity_MBq")
    if weight and activity:
        known["SUVPerBqPerML"] = suv_per_bq_ml(weight, activity)
    return known


def _same_grid(path: str | Path, reference: Volume, normal: str | Path) -> Volume:
    pet = Volume.load(path)
    refuse_other_grid(pet, reference, path, normal, "reconstruct both with the same matrix and voxel")
    return pet


def _view_centre(mr: Volume, matrix: np.ndarray) -> np.ndarray:
    """Return the centre of the MR's field of view in PET space, mm, (3,)."""
    centre = mr.affine @ np.append((np.asarray(mr.shape) - 1) / 2, 1.0)
    return (np.linalg.inv(matrix) @ centre)[:3]


def _centre_inside(pet: Volume, shape: tuple[int, int, int], centre_mm: np.ndarray) -> np.ndarray:
    """Return the nearest centre whose box lies inside the PET, mm; the PET's own along too short an axis."""
    index = np.linalg.solve(pet.affine, np.append(centre_mm, 1.0))[:3]
    half, last = (np.asarray(shape) - 1) / 2, np.asarray(pet.shape) - 1
    index = np.where(2 * half > last, last / 2, np.clip(index, half, np.maximum(last - half, half)))
    return (pet.affine @ np.append(index, 1.0))[:3]


def _warn_of_cut_head(
    head: Volume, shape: tuple[int, int, int], centre: np.ndarray, path: str | Path
) -> None:
    cut = 1 - crop(head, shape, centre).array.sum() / head.array.sum()
    if cut > CUT_HEAD_WARNING:
        notice(
            f"{path}: {cut:.0%} of the head lies outside the {'×'.join(map(str, shape))} voxels kept; "
            "enlarge align.shape to keep it"
        )


def _mr_sidecar(t1w: str | Path, mr: Volume, matrix: np.ndarray, covered: float, space: dict) -> dict:
    """Return the MR's sidecar. SkullStripped is taken from the input's sidecar."""
    known = inherited(t1w)
    stripped, notes = known.get("SkullStripped", False), [*known.get(NOTES_KEY, ()), *mr.notes]
    return {
        "Description": "T1-weighted MR, registered rigidly to the PET and resampled onto its voxels",
        "SkullStripped": stripped,
        "Sources": [bids_uri(t1w)],
        "RegistrationMatrix": matrix.tolist(),
        "HeadCoverage": round(covered, 3),
        **({NOTES_KEY: notes} if notes else {}),
        **space,
    }


def _transform(matrix: np.ndarray, t1w: str | Path, target: str | Path, seed: int) -> dict:
    return {
        "Description": "world of the T1w image <- world of the PET image, RAS+ mm",
        "RegistrationMatrix": matrix.tolist(),
        "From": bids_uri(t1w),
        "To": bids_uri(target),
        "Method": "rigid, Mattes mutual information (ANTs)",
        "Seed": seed,
    }

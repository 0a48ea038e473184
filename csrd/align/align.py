"""The align stage: one subject's PET and MR on one cropped grid, with sidecars, head mask and QC picture."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from csrd.align.derivatives import bids_uri, inherited, pet_sidecar, save_derivative
from csrd.align.head import head_mask, mask_centre_mm
from csrd.align.picture import registration_picture
from csrd.align.register import crop, register, resample
from csrd.errors import InputError
from csrd.files import write_json
from csrd.volume import Volume

CUT_HEAD_WARNING = 0.01


@dataclass(frozen=True)
class AlignOutputs:
    """Where the stage writes. `t1w` and `transform` stay unwritten where there is no MR, and may be None."""

    reference: str | Path
    lowdose: dict[int, str | Path]
    head: str | Path
    picture: str | Path
    t1w: str | Path | None = None
    transform: str | Path | None = None


def align(
    normal: str | Path,
    lows: dict[int, str | Path],
    t1w: str | Path | None,
    out: AlignOutputs,
    *,
    shape: tuple[int, int, int],
    register_to: str = "normal",
    seed: int,
    threads: int = 1,
) -> None:
    """Write a subject's derivatives: PET, MR and head mask on the same `shape` voxels of the PET grid.

    PET voxels are copied, never interpolated; the MR is registered to the normal dose (or, with `register_to`
    "low", to the lowest dose, as one would have to without a normal-dose scan) and resampled once.
    The box is centred on the MR's field of view, else on the head, and moved back inside the PET's.
    Raises InputError where the PET images differ in grid, or an image is empty.
    """
    reference = Volume.load(normal)
    pets = {drf: _same_grid(path, reference, normal) for drf, path in lows.items()}
    mr = None if t1w is None else Volume.load(t1w, unit="arbitrary")
    target = reference if register_to == "normal" else pets[max(pets)]
    matrix = None if mr is None else register(mr, target, seed, threads)

    whole_head = head_mask(reference)
    centre = mask_centre_mm(whole_head, reference.affine) if mr is None else _view_centre(mr, matrix)
    centre = _centre_inside(reference, shape, centre)
    _warn_of_cut_head(reference.like(whole_head, "mask"), shape, centre, normal)
    box = crop(reference, shape, centre)
    mask = head_mask(box)

    space = {"SpatialReference": bids_uri(out.reference)}
    save_derivative(box, out.reference, pet_sidecar(normal, box.unit, DoseReductionFactor=1))
    for drf, pet in pets.items():
        sidecar = pet_sidecar(lows[drf], pet.unit, DoseReductionFactor=drf)
        save_derivative(crop(pet, shape, centre), out.lowdose[drf], sidecar)
    of_mask = {"Type": "ROI", "RawSources": [bids_uri(normal)], "Sources": [bids_uri(out.reference)], **space}
    save_derivative(box.like(mask, "mask"), out.head, of_mask)
    mr_on_pet = None
    if mr is not None:
        mr_on_pet = resample(mr, box, matrix, order=3)
        save_derivative(mr_on_pet, out.t1w, _mr_sidecar(t1w, matrix, space))
        write_json(out.transform, _transform(matrix, t1w, lows, normal, register_to, seed))
    registration_picture(out.picture, box, mask, mr_on_pet)


def _same_grid(path: str | Path, reference: Volume, normal: str | Path) -> Volume:
    pet = Volume.load(path)
    if not pet.same_grid(reference):
        raise InputError(
            f"{path} is not on the grid of {normal}; reconstruct both with the same matrix and voxel"
        )
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
        print(
            f"{path}: {cut:.0%} of the head lies outside the {'×'.join(map(str, shape))} voxels kept; "
            "enlarge align.shape to keep it",
            file=sys.stderr,
        )


def _mr_sidecar(t1w: str | Path, matrix: np.ndarray, space: dict) -> dict:
    """Return the MR's sidecar. The MR is never stripped here; an input that says it is stays so."""
    stripped = inherited(t1w).get("SkullStripped", False)
    return {
        "SkullStripped": stripped,
        "Sources": [bids_uri(t1w)],
        "RegistrationMatrix": matrix.tolist(),
        **space,
    }


def _transform(
    matrix: np.ndarray, t1w: str | Path, lows: dict, normal: str | Path, register_to: str, seed: int
) -> dict:
    target = normal if register_to == "normal" else lows[max(lows)]
    return {
        "Description": "world of the T1w image <- world of the PET image, RAS+ mm",
        "RegistrationMatrix": matrix.tolist(),
        "From": bids_uri(t1w),
        "To": bids_uri(target),
        "Method": "rigid, Mattes mutual information (ANTs)",
        "Seed": seed,
    }

"""Denoising of files, for the command and the workflow."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from csrd.errors import InputError
from csrd.io.bids import pet_sidecar, save_with_sidecar, with_known
from csrd.io.dicom import check_writable, write_series
from csrd.io.files import refuse_locked, write_text
from csrd.io.frames import (
    read_frames,
)
from csrd.io.images import Image
from csrd.io.nifti import refuse_dicom_file
from csrd.progress import progress
from csrd.stages.denoiser import Denoised, Denoiser
from csrd.stages.dynamic import check_frames_writable, denoise_frames
from csrd.stages.opened import opened_mr, single

SUFFIXES = (".nii.gz", ".nii")


def predict(
    lows: Sequence[str | Path],
    images: Sequence[str | Path],
    *,
    mr: str | Path | None = None,
    stds: Sequence[str | Path] | None = None,
    model: str | Path | None = None,
    drf: float | None = None,
    device: str = "auto",
    units: str | None = None,
    allow_incomplete: bool = False,
    reports: Sequence[str | Path] | None = None,
    labels: str | Path | None = None,
    static: tuple[float, float] | None = None,
    known: Mapping[str, Any] | None = None,
    **choices: object,
) -> None:
    """Denoise low-dose images; write the images, their predicted standard deviations `stds`, and sidecars.

    The result for a DICOM series is a series in a new folder. A dynamic scan is denoised frame by frame; with
    `static` the mean of its frames between two times, in s after TimeZero, is denoised as one image, and
    written as NIfTI. `known` are further entries of the sidecars. `reports` are the pages of the scans,
    ``.html``, with the regions in `labels` (`csrd.stages.page`). The other parameters are those of
    `csrd.denoise`; `model` may be its ``model.json``, and is loaded once.
    Raises InputError before any computation where a file cannot be written. No image is left incomplete after
    any other error.
    """
    _check_targets(lows, images, mr, stds, static is not None)
    if reports:
        from csrd.stages.page import check_page, scan_page_of
        from csrd.stages.page import page as page_of_files

        for report in reports:
            check_page(report)
    denoiser = Denoiser.load(model, opened_mr(mr), stds is not None, device, choices)
    of_frames = denoiser  # the page of a dynamic scan has no deviation
    if reports and denoiser.method.predicts_std:
        denoiser = replace(denoiser, std=True)
    deviations: Sequence[str | Path | None] = stds or [None] * len(lows)
    pages: Sequence[str | Path | None] = reports or [None] * len(lows)
    jobs = list(zip(lows, images, deviations, pages, strict=True))
    for low, image, std, page in progress(jobs, f"{denoiser.method.key}: denoising"):
        frames = read_frames(low, units, allow_incomplete)
        if frames is not None and static is None:
            if page is not None and frames.files is not None:
                raise InputError(
                    f"{low} is a dynamic series, of which no page is written; give --static, or no --report"
                )
            check_frames_writable(frames, image)
            denoise_frames(of_frames, frames, drf, image, std, known)
            if page is not None:
                known_mr = mr if denoiser.method.wants_mr else None
                page_of_files(low, image, page, mr=known_mr, labels=labels, units=units)
            continue
        pet = single(low, frames, static, units, allow_incomplete)
        if pet.series:
            check_writable(image, pet.series)
        found = denoiser.denoise(pet, drf)
        _write(found, pet, image, std, known)
        if page is not None:
            anatomy = denoiser.mr if denoiser.method.wants_mr else None
            write_text(
                page, scan_page_of(pet, found.image, anatomy, found.facts, std=found.std, labels=labels)
            )


def _write(
    found: Denoised,
    pet: Image,
    image: str | Path,
    std: str | Path | None,
    known: Mapping[str, Any] | None,
) -> None:
    """Write a denoised image, its standard deviation where there is one, and the sidecars."""
    label, unit = found.facts["Denoising"], found.image.unit
    assert pet.path is not None, "what is written was read from a file"
    sidecar = with_known(pet_sidecar(pet.path, unit, **pet.sidecar | found.facts), known, pet.path)
    if pet.series:
        write_series(found.image, image, pet.series, f"denoised by {label}")
    else:
        drf = found.facts.get("DoseReductionFactor")
        text = f"{'PET' if drf is None else f'PET at 1/{drf:.3g} of the dose'}, denoised by {label}"
        save_with_sidecar(found.image, image, sidecar | {"Description": text})
    if std is not None and found.std is not None:
        of = found.facts.get("StandardDeviationOf", "normal dose")
        text = f"Standard deviation of the {of} around {Path(image).name}, by {label}"
        save_with_sidecar(found.std, std, sidecar | {"Description": text})


def _check_targets(
    lows: Sequence[str | Path],
    images: Sequence[str | Path],
    mr: str | Path | None,
    stds: Sequence[str | Path] | None,
    static: bool,
) -> None:
    """Raise InputError where an output cannot be written, is an input, or is named twice."""
    for low, image in zip(lows, images, strict=True):
        _check_kind(Path(low), Path(image), static)
    files = [image for low, image in zip(lows, images, strict=True) if static or not Path(low).is_dir()]
    targets, sources = [*files, *(stds or [])], [*lows, *([mr] if mr else [])]
    read, seen = {Path(source).resolve() for source in sources}, set()
    for target in targets:
        if not str(target).endswith(SUFFIXES):
            raise InputError(f"the output is {target}; name it with {' or '.join(SUFFIXES)}")
        if (place := Path(target).resolve()) in read:
            raise InputError(f"{target} is an input too; choose another output file")
        if place in seen:
            raise InputError(
                f"{target} is named for the image and for the standard deviation; choose two files"
            )
        seen.add(place)
        refuse_locked(target)
    if mr and Path(mr).resolve() in {Path(low).resolve() for low in lows}:
        raise InputError(f"{mr} is given as the PET and as the MR; give the subject's T1w image as the MR")


def _check_kind(low: Path, image: Path, static: bool) -> None:
    """Raise InputError where a scan does not exist, is one DICOM slice, or needs a folder as output."""
    if not low.exists():
        raise InputError(f"{low} does not exist; check the path")
    refuse_dicom_file(low)
    if low.is_dir() and not static and image.name.endswith(SUFFIXES):
        raise InputError(f"{image} is a file, but the result for {low} is a series; give a new folder")

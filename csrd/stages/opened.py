"""Scans and MRs from files, folders of DICOM or memory, for denoising."""

from collections.abc import Sequence
from pathlib import Path

from csrd.errors import InputError, naming
from csrd.io.frames import (
    Frames,
    frames_of,
    read_frames,
    static_image,
)
from csrd.io.images import Image, read_mr, read_pet, refuse_pet
from csrd.io.nifti import checked
from csrd.io.volume import Volume
from csrd.units import agreed_unit, pet_unit

Source = Volume | str | Path


def opened_pet(
    low: Source,
    units: str | None,
    allow_incomplete: bool,
    static: tuple[float, float] | None = None,
) -> Image:
    """Return a PET scan with its unit and sidecar, from a volume, a NIfTI file or a folder of DICOM.

    Of a dynamic scan it is the mean of the frames between two times, `static`.
    Raises InputError where it cannot be used, its unit is not known, or it is dynamic without `static`.
    """
    if not isinstance(low, Volume):
        frames = read_frames(low, units, allow_incomplete)
        if frames is not None and static is None:
            raise InputError(
                f"{low} has {frames.count} frames; use csrd.denoise_frames, or give a window, static"
            )
        return single(low, frames, static, units, allow_incomplete)
    if static is not None:
        raise InputError("static is given, but the low-dose image has one frame only; leave it out")
    refuse_pet(low, "the low-dose image")
    low = low.like(checked("the low-dose image", low.array, low.unit))
    with naming("the low-dose image"):
        if units is not None:
            pet_unit(units)
        unit = agreed_unit({"volume": low.unit, "-units": units})
        if unit:
            pet_unit(unit)
    return Image(low if unit in (None, low.unit) else low.like(low.array, unit), "the low-dose image")


def opened_frames(
    low: Sequence[Volume] | str | Path,
    durations: Sequence[float] | None,
    units: str | None,
    allow_incomplete: bool,
) -> Frames:
    """Return a dynamic scan from its frames in memory, a NIfTI file or a folder of DICOM.

    Raises InputError where it cannot be used, or has one frame only in a file.
    """
    if not isinstance(low, str | Path):
        return frames_of([opened_pet(frame, units, False).volume for frame in low], "the scan", durations)
    if durations is not None:
        raise InputError(f"durations are given, but {low} is a file; write FrameDuration into its sidecar")
    frames = read_frames(low, units, allow_incomplete)
    if frames is None:
        raise InputError(f"{low} has one frame only; use csrd.denoise")
    return frames


def opened_mr(mr: Source | None) -> Image | None:
    """Return an MR from a volume, a NIfTI file or a folder of DICOM."""
    if mr is None or not isinstance(mr, Volume):
        return None if mr is None else read_mr(mr)
    return Image(mr.like(checked("the MR", mr.array, mr.unit)), "the MR")


def single(
    low: str | Path,
    frames: Frames | None,
    static: tuple[float, float] | None,
    units: str | None,
    allow_incomplete: bool,
) -> Image:
    """Return a scan as one 3D image: as it is, or the mean of the frames between two times."""
    if static is None:
        return read_pet(low, units, allow_incomplete)
    if frames is None:
        raise InputError(f"{low} has one frame only; leave static out")
    return static_image(frames, *static)

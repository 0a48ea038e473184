"""Denoising of dynamic scans, frame by frame; memory does not grow with the number of frames."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from csrd.align.head import head_mask
from csrd.errors import InputError, naming, notice
from csrd.io.bids import pet_sidecar, sidecar_path, with_known
from csrd.io.dicom import check_writable, new_series
from csrd.io.files import write_json
from csrd.io.frames import Frames
from csrd.io.images import Image
from csrd.io.volume import NOTES_KEY, Volume, writing_frames
from csrd.progress import progress

if TYPE_CHECKING:
    from csrd.stages.predict import Denoiser

EMPTY = 1e-4
"""Mean in the head, relative to the mean frame's, up to which a frame is without counts: integers with an
offset are not exactly zero."""
MEAN_KEPT = 0.2
"""Change of the mean in the head by denoising, relative to it, from which on a frame is left as it is.

In a phantom, noise of 2.5 times the mean changed it by 4 %, noise of 5 times by 170 %.
"""
EMPTY_KEY, NOISY_KEY = "FramesWithoutCounts", "FramesTooNoisy"
"""The sidecar's keys for the numbers, from 1 on, of frames that are passed through as they are."""


@dataclass
class Course:
    """What the frames of a scan had in common and not: each frame's dose, the empty ones, the doubts."""

    drfs: list[float | None] = field(default_factory=list)
    empty: list[int] = field(default_factory=list)
    noisy: list[int] = field(default_factory=list)
    failed: InputError | None = None
    doubts: dict[int, str] = field(default_factory=dict)

    def facts(self, drf: float | None) -> dict:
        """Return the entries of a sidecar; `drf` is the dose of all frames, None where it was estimated."""
        passed = {EMPTY_KEY: self.empty, NOISY_KEY: self.noisy}
        found: dict = {key: numbers for key, numbers in passed.items() if numbers}
        if drf is not None:
            return found | {"DoseReductionFactor": int(drf) if float(drf).is_integer() else drf}
        if all(used is None for used in self.drfs):
            return found
        each = ["n/a" if used is None else float(used) for used in self.drfs]
        return found | {"FrameDoseReductionFactor": each, "DoseReductionFactorEstimated": True}

    def notes(self, name: str, count: int) -> list[str]:
        """Return sentences about the frames without counts, and those unlike the training."""
        found = []
        if self.empty:
            found.append(
                f"{name}: {_numbered(self.empty)} of {count} without counts in the head: passed through as "
                "before"
            )
        if self.noisy:
            found.append(
                f"{name}: {_numbered(self.noisy)} of {count} with too much noise to be denoised: passed "
                "through as before"
            )
        if self.doubts:
            first, text = next(iter(self.doubts.items()))
            found.append(f"{name}: doubts about {_numbered(list(self.doubts))}; of frame {first}: {text}")
        return found


def denoise_frames(
    denoiser: "Denoiser",
    frames: Frames,
    drf: float | None,
    image: str | Path,
    std: str | Path | None,
    known: Mapping[str, Any] | None = None,
) -> None:
    """Denoise a dynamic scan frame by frame, each by its own noise; write image, deviation and sidecars.

    The MR is registered once, to the mean of the frames weighted by duration. A frame whose mean in the head
    is at most `EMPTY` of the mean frame's, or is not kept (`MEAN_KEPT`), is passed through, and numbered in
    the sidecar; its standard deviation is zero.
    The result for a DICOM series is a series, that for a NIfTI file a 4D NIfTI file.
    Raises InputError where the scan or its MR cannot be used; no file is then left.
    """
    drf, notes = denoiser.dose(frames.name, frames.path, frames.sidecar, drf)
    mean = frames.mean(range(frames.count), frames.weights)
    with naming(frames.name):
        mask = head_mask(mean)
    least = EMPTY * float(mean.array[mask].mean(dtype=float))
    anatomy, registration = denoiser.mr_on(mean)
    with naming(frames.name):
        usual = set(denoiser.method.doubts(mean, None))  # a mean has less noise than any frame
        doubts = [doubt for doubt in denoiser.method.doubts(mean, anatomy) if doubt not in usual]
        notes += [notice(f"{frames.name}: {doubt}") for doubt in doubts]
    course = Course()
    label = f"{denoiser.method.key}: frames"
    with ExitStack() as open_files:
        write_image = open_files.enter_context(_output(frames, image, denoiser.method.label))
        write_std = None if std is None else open_files.enter_context(_nifti(frames, std))
        for number, frame in enumerate(progress(frames, label, frames.count), start=1):
            out, deviation = _denoised(denoiser, frame, number, mask, least, anatomy, drf, course)
            write_image(out, frame)
            if write_std is not None:
                write_std(deviation, frame)
        if len(course.empty) + len(course.noisy) == frames.count:
            why = course.failed or "they have no counts in the head, or too much noise"
            raise InputError(f"no frame of {frames.name} can be denoised: {why}")
    notes = [*frames.notes, *denoiser.mr_notes, *notes, *map(notice, course.notes(frames.name, frames.count))]
    facts = course.facts(drf) | denoiser.facts(frames.path) | registration
    facts |= {NOTES_KEY: notes} if notes else {}
    unit = frames.grid.unit or frames.sidecar.get("Units", "")
    sidecar = with_known(pet_sidecar(frames.path, unit, **frames.sidecar | facts), known, frames.path)
    _write_sidecars(frames, sidecar, denoiser.method.label, image, std)


def _denoised(
    denoiser: "Denoiser",
    frame: Image,
    number: int,
    mask: np.ndarray,
    least: float,
    anatomy: Volume | None,
    drf: float | None,
    course: Course,
) -> tuple[Volume, Volume]:
    """Return a frame's image and standard deviation, and add to what is known of the frames."""
    pet, nothing = frame.volume, frame.volume.like(np.zeros_like(frame.volume.array))
    uptake = float(pet.array[mask].mean(dtype=float))
    if not uptake > least:
        course.empty.append(number)
        course.drfs.append(None)
        return pet, nothing
    try:
        doubts = denoiser.method.doubts(pet, None)
        used, out, std = denoiser.applied(pet, anatomy, drf)
    except InputError as error:  # no head in so much noise; the first is raised where no frame has one
        course.failed = course.failed or error
        course.noisy.append(number)
        course.drfs.append(None)
        return pet, nothing
    if abs(float(out.array[mask].mean(dtype=float)) / uptake - 1) > MEAN_KEPT:
        course.noisy.append(number)
        course.drfs.append(None)
        return pet, nothing
    if doubts:
        course.doubts[number] = doubts[0]
    course.drfs.append(used)
    return out, nothing if std is None else std


Write = Callable[[Volume, Image], None]


@contextmanager
def _output(frames: Frames, target: str | Path, label: str) -> Iterator[Write]:
    """Yield a function that writes the next frame: into a series for a series, else into a NIfTI file."""
    if frames.files is None:
        with _nifti(frames, target) as write:
            yield write
        return
    with new_series(target, f"denoised by {label}") as add:

        def write_slices(volume: Volume, frame: Image) -> None:
            assert frame.series is not None, "a frame of a series has its headers"
            add(volume.like(volume.array, frame.series.volume.unit), frame.series)

        yield write_slices


@contextmanager
def _nifti(frames: Frames, target: str | Path) -> Iterator[Write]:
    with writing_frames(target, frames.grid, frames.count, frames.step) as append:
        yield lambda volume, frame: append(volume.array)


def _write_sidecars(
    frames: Frames, sidecar: dict, label: str, image: str | Path, std: str | Path | None
) -> None:
    if frames.files is None:
        text = f"PET, {frames.count} frames, each denoised by {label}"
        write_json(sidecar_path(image), sidecar | {"Description": text})
    if std is not None:
        of = sidecar.get("StandardDeviationOf", "normal dose")
        text = f"Standard deviation of the {of} around {Path(image).name}, frame by frame, by {label}"
        write_json(sidecar_path(std), sidecar | {"Description": text})


def check_frames_writable(frames: Frames, image: str | Path) -> None:
    """Raise InputError where a series derived from a dynamic one cannot be written into a folder."""
    if frames.files is not None:
        first = next(iter(frames))
        assert first.series is not None, "a frame of a series has its headers"
        check_writable(image, replace(first.series, notes=()))


def _numbered(numbers: list[int]) -> str:
    """Return frames by their numbers, neighbours as a range.

    >>> _numbered([1, 2, 3, 7]), _numbered([4])
    ('frames 1-3, 7', 'frame 4')
    """
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    text = ", ".join(f"{a}-{b}" if b > a else str(a) for a, b in ranges)
    return f"frame{'s' if len(numbers) > 1 else ''} {text}"

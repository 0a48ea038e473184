"""Denoising of dynamic scans, frame by frame; memory does not grow with the number of frames."""

from collections.abc import Callable, Iterable, Iterator, Mapping
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
from csrd.methods.base.denoise import Shown, box_for
from csrd.methods.base.surroundings import Box, box_facts
from csrd.progress import progress

if TYPE_CHECKING:
    from csrd.stages.denoiser import Denoiser

EMPTY = 1e-4
"""Mean in the head, relative to the mean frame's, up to which a frame is without counts: integers with an
offset are not exactly zero."""
MEAN_KEPT = 0.2
"""Change of the mean in the head by denoising, relative to it, from which on a frame is left as it is.

In a phantom, noise of 2.5 times the mean changed it by 4 %, noise of 5 times by 170 %.
"""
EMPTY_KEY, NOISY_KEY = "FramesWithoutCounts", "FramesTooNoisy"
"""The sidecar's keys for the numbers, from 1 on, of frames that are passed through as they are."""


@dataclass(frozen=True)
class Outcome:
    """Image, standard deviation and dose of a frame of the result.

    `passed` is the sidecar's key for the reason why it was left as it is, "" where it was denoised.
    """

    image: Volume
    std: Volume
    drf: float | None = None
    passed: str = ""
    doubt: str = ""
    error: InputError | None = None


@dataclass
class Course:
    """What the frames of a scan had in common and not: each frame's dose, the empty ones, the doubts."""

    drfs: list[float | None] = field(default_factory=list)
    empty: list[int] = field(default_factory=list)
    noisy: list[int] = field(default_factory=list)
    failed: InputError | None = None
    doubts: dict[int, str] = field(default_factory=dict)

    def add(self, number: int, outcome: Outcome) -> None:
        """Add the frame of this number, from 1 on."""
        self.drfs.append(outcome.drf)
        self.failed = self.failed or outcome.error
        if outcome.passed:
            {EMPTY_KEY: self.empty, NOISY_KEY: self.noisy}[outcome.passed].append(number)
        if outcome.doubt:
            self.doubts[number] = outcome.doubt

    def refuse_none(self, frames: Frames) -> None:
        """Raise InputError where no frame was denoised."""
        if len(self.empty) + len(self.noisy) == frames.count:
            why = self.failed or "they have no counts in the head, or too much noise"
            raise InputError(f"no frame of {frames.name} can be denoised: {why}")

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


@dataclass(frozen=True)
class Prepared:
    """A dynamic scan before its frames are denoised: dose, head and MR, which all frames have in common.

    `least` is the mean in the head above which a frame has counts, `facts` those of model and registration.
    """

    denoiser: "Denoiser"
    frames: Frames
    drf: float | None
    mask: np.ndarray
    box: Box
    least: float
    anatomy: Volume | None
    facts: dict
    notes: tuple[str, ...]

    def outcomes(self, frames: Iterable[Image]) -> Iterator[tuple[Image, Outcome]]:
        """Yield the scan's frames, each with what became of it.

        Raises InputError after the last one where none could be denoised.
        """
        course = Course()
        for number, frame in enumerate(frames, start=1):
            outcome = _denoised(self, frame)
            course.add(number, outcome)
            yield frame, outcome
        course.refuse_none(self.frames)


def prepared(denoiser: "Denoiser", frames: Frames, drf: float | None) -> Prepared:
    """Return what all frames of a scan have in common; the MR is registered to their mean by duration.

    Raises InputError where the scan or its MR cannot be used.
    """
    drf, notes = denoiser.dose(frames.name, frames.path, frames.sidecar, drf)
    mean = frames.mean(range(frames.count), frames.weights)
    with naming(frames.name):
        mask = head_mask(mean)
    box = box_for(denoiser.method, mean, mask)
    least = EMPTY * float(mean.array[mask].mean(dtype=float))
    anatomy, registration = denoiser.mr_on(mean, mask, box, frames.name)
    with naming(frames.name):
        shown = Shown.to(denoiser.method, mean, anatomy, box)
        usual = set(replace(shown, mr=None).doubts())  # a mean has less noise than any frame
        doubts = [doubt for doubt in shown.doubts() if doubt not in usual]
        notes += [notice(f"{frames.name}: {doubt}") for doubt in doubts]
    facts = denoiser.facts(frames.path) | registration | box_facts(mean, box)
    said = (*frames.notes, *denoiser.mr_notes, *notes)
    return Prepared(denoiser, frames, drf, mask, box, least, anatomy, facts, said)


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
    assert frames.path is not None, "what is written was read from a file"
    scan, course = prepared(denoiser, frames, drf), Course()
    shown = progress(frames, f"{denoiser.method.key}: frames", frames.count)
    with ExitStack() as open_files:
        write_image = open_files.enter_context(_output(frames, image, denoiser.method.label))
        write_std = None if std is None else open_files.enter_context(_nifti(frames, std))
        for number, (frame, outcome) in enumerate(scan.outcomes(shown), start=1):
            course.add(number, outcome)
            write_image(outcome.image, frame)
            if write_std is not None:
                write_std(outcome.std, frame)
    notes = [*scan.notes, *map(notice, course.notes(frames.name, frames.count))]
    facts = course.facts(scan.drf) | scan.facts | ({NOTES_KEY: notes} if notes else {})
    unit = frames.grid.unit or frames.sidecar.get("Units", "")
    sidecar = with_known(pet_sidecar(frames.path, unit, **frames.sidecar | facts), known, frames.path)
    _write_sidecars(frames, sidecar, denoiser.method.label, image, std)


def _denoised(scan: Prepared, frame: Image) -> Outcome:
    """Return what becomes of a frame."""
    denoiser, pet = scan.denoiser, frame.volume
    nothing = pet.like(np.zeros_like(pet.array))
    uptake = float(pet.array[scan.mask].mean(dtype=float))
    if not uptake > scan.least:
        return Outcome(pet, nothing, passed=EMPTY_KEY)
    try:
        shown = Shown.to(denoiser.method, pet, scan.anatomy, scan.box)
        doubts = replace(shown, mr=None).doubts()
        used, out, std = shown.denoised(scan.drf, with_std=denoiser.std)
    except InputError as error:  # no head in so much noise; the first is raised where no frame has one
        return Outcome(pet, nothing, passed=NOISY_KEY, error=error)
    if abs(float(out.array[scan.mask].mean(dtype=float)) / uptake - 1) > MEAN_KEPT:
        return Outcome(pet, nothing, passed=NOISY_KEY)
    doubts += denoiser.method.doubts_after(pet, out, scan.mask)
    return Outcome(out, nothing if std is None else std, used, doubt="; ".join(doubts))


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

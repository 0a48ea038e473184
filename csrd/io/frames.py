"""Dynamic PET: a 4D image or a dynamic DICOM series, read frame by frame, and the times of its frames."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from csrd.errors import InputError, notice
from csrd.io.bids import inherited
from csrd.io.dicom import frame_files, read_files, times_of
from csrd.io.images import Image, check_units, pet_sidecar_unit, refuse_pet
from csrd.io.volume import Volume
from csrd.nuclides import NUCLIDES, nuclide_named

EDGE_S, EDGE_OF_FRAME = 1.0, 0.1
"""How far an end of a window may lie from a frame's, in s and in durations: clocks are rounded."""

STATIC_FRAMES_KEY, STATIC_WEIGHTS_KEY = "StaticFrames", "StaticWeights"
UNWEIGHTED = "{} does not say how long its frames are: all have the same weight in their mean"


@dataclass(frozen=True)
class FrameTimes:
    """Starts and durations of frames, (N,) in s after TimeZero; with `overlap` they contradict each other."""

    starts: np.ndarray
    durations: np.ndarray
    overlap: bool = False

    def window(self, start: float, end: float, name: str) -> np.ndarray:
        """Return the indices of the frames between two times in s.

        Raises InputError where the times overlap, or a frame lies only partly between them.
        """
        if self.overlap:
            raise InputError(f"the frames of {name} overlap by its sidecar; correct FrameDuration there")
        ends, edge = self.starts + self.durations, np.minimum(EDGE_S, EDGE_OF_FRAME * self.durations)
        inside = (self.starts >= start - edge) & (ends <= end + edge)
        touched = (self.starts < end - edge) & (ends > start + edge)
        if not touched.any():
            raise InputError(
                f"{name} has no frame from {start:g} to {end:g} s: its frames are from {self.starts[0]:g} to "
                f"{ends[-1]:g} s"
            )
        if (cut := np.flatnonzero(touched & ~inside)).size:
            index = int(cut[0])
            first, last = np.flatnonzero(touched)[[0, -1]]
            raise InputError(
                f"{start:g}-{end:g} s cuts frame {index + 1} of {name}, {self.starts[index]:g} to "
                f"{ends[index]:g} s; write {self.starts[first]:g}-{ends[last]:g}"
            )
        return np.flatnonzero(inside)


@dataclass(frozen=True)
class Frames:
    """A dynamic PET scan of `count` frames on one `grid`; iteration reads one frame at a time as an `Image`.

    `step` is the distance of frames in a NIfTI header. `files` are those of each frame of a DICOM series,
    None for NIfTI. `volumes` are the frames of a scan in memory, which has no `path`. `times` are None where
    they are not known.
    """

    name: str
    path: Path | None
    grid: Volume
    count: int
    sidecar: dict
    step: float = 1.0
    times: FrameTimes | None = None
    notes: tuple[str, ...] = ()
    files: Sequence[Sequence[Path]] | None = None
    how: dict[str, Any] = field(default_factory=dict)
    volumes: Sequence[Volume] | None = None

    def __iter__(self) -> Iterator[Image]:
        if self.volumes is not None:
            yield from (Image(volume, self.name, self.sidecar) for volume in self.volumes)
            return
        assert self.path is not None, "frames are in memory or in files"
        if self.files is None:
            for volume in Volume.frames(self.path):
                yield Image(replace(volume, notes=()), self.name, self.sidecar, self.path)
            return
        for number, files in enumerate(self.files, start=1):
            series = read_files(self.path, files, **self.how, warn=False)
            if not series.volume.same_grid(self.grid):
                raise InputError(f"frame {number} of {self.path} lies on another grid; export it again")
            image = Image(series.volume, self.name, self.sidecar, self.path, series)
            yield replace(image, volume=replace(series.volume, notes=()))

    @property
    def weights(self) -> np.ndarray:
        """Return the weights (N,) of the frames' mean, with the sum 1: their durations, or all the same."""
        weights = np.ones(self.count) if self.times is None else self.times.durations
        return weights / weights.sum()

    def mean(self, frames: Sequence[int], weights: np.ndarray) -> Volume:
        """Return the mean of some frames, by their indices and weights (of any sum)."""
        wanted = dict(zip(frames, np.asarray(weights, float) / np.sum(weights), strict=True))
        total = np.zeros(self.grid.shape)
        for index, frame in enumerate(self):
            if index in wanted:
                total += wanted[index] * frame.volume.array
        return self.grid.like(total.astype(np.float32))


def read_frames(path: str | Path, units: str | None = None, allow_incomplete: bool = False) -> Frames | None:
    """Return a dynamic PET scan in a NIfTI file or a folder of DICOM; None where it has one frame only.

    Raises InputError where its headers cannot be used, or its sidecar's times are not those of its frames.
    """
    path = Path(path)
    check_units(units)
    if path.is_dir():
        return _dicom_frames(path, units, allow_incomplete)
    count, step = Volume.count_frames(path)
    if count == 1:
        return None
    grid, sidecar = Volume.grid_of(path, frames=True), inherited(path)
    unit = pet_sidecar_unit(path, grid, sidecar, units)
    refuse_pet(grid, path)
    sidecar |= {"Units": unit} if unit else {}
    times, notes = frame_times(path, sidecar, count)
    notes = (*map(notice, grid.notes), *notes)
    return Frames(str(path), path, replace(grid, notes=()), count, sidecar, step, times, notes)


def frames_of(volumes: Sequence[Volume], name: str, durations: Sequence[float] | None = None) -> Frames:
    """Return a dynamic scan from its frames in memory, and their durations in s where these are known.

    Raises InputError where there is no frame, or grids, units or the number of durations differ.
    """
    if not volumes:
        raise InputError(f"{name} has no frame; give one volume for each")
    first = volumes[0]
    for number, volume in enumerate(volumes, start=1):
        if difference := volume.grid_difference(first):
            raise InputError(f"frame {number} of {name} lies on another grid ({difference}); resample it")
        if volume.unit != first.unit:
            raise InputError(
                f"frame {number} of {name} is in {volume.unit or 'no unit'}, the first in "
                f"{first.unit or 'none'}; convert them to one"
            )
    times: FrameTimes | None = None
    notes: tuple[str, ...] = ()
    count = len(volumes)
    if durations is None:
        notes = (notice(UNWEIGHTED.format(name)),)
    else:
        lasting = np.array(durations, float).reshape(-1)
        if len(lasting) != count or not (np.isfinite(lasting) & (lasting > 0)).all():
            raise InputError(
                f"{name} has {count} frames, but durations are {durations!r}; give seconds for each"
            )
        times = FrameTimes(np.append(0, lasting.cumsum()[:-1]), lasting)
    grid = replace(first.like(np.broadcast_to(np.float32(0), first.shape)), notes=())
    return Frames(name, None, grid, count, {}, 1.0, times, notes, volumes=volumes)


def _dicom_frames(path: Path, units: str | None, allow_incomplete: bool) -> Frames | None:
    files = frame_files(path)
    if len(files) < 2:
        return None
    how: dict[str, Any] = {"units": units, "allow_incomplete": allow_incomplete}
    first = read_files(path, files[0], **how)
    facts, more = times_of([group[0] for group in files], first.volume.unit)
    times, notes = frame_times(path, facts, len(files))
    notes = (*first.volume.notes, *(notice(f"{path} {note}") for note in more), *notes)
    grid = first.volume.like(np.broadcast_to(np.float32(0), first.volume.shape))
    grid = replace(grid, notes=())
    return Frames(str(path), path, grid, len(files), facts, 1.0, times, notes, files, how)


def frame_times(path: Path, sidecar: dict, count: int) -> tuple[FrameTimes | None, tuple[str, ...]]:
    """Return the times of `count` frames by the keys of BIDS, None where they are absent, and notes.

    Raises InputError where there are more or fewer times than frames, or one is not a number.
    """
    found: dict[str, np.ndarray] = {}
    for key in ("FrameTimesStart", "FrameDuration"):
        if (values := sidecar.get(key)) is None:
            continue
        try:
            found[key] = np.array(values, float).reshape(-1)
        except (TypeError, ValueError):
            raise InputError(f"the sidecar of {path} has {key} {values!r}; write a list of numbers") from None
        if len(found[key]) != count or not np.isfinite(found[key]).all():
            raise InputError(
                f"{path} has {count} frames, but its sidecar has {len(found[key])} numbers in {key}; "
                "correct the sidecar"
            )
    if "FrameDuration" not in found:
        return None, (notice(UNWEIGHTED.format(path)),)
    durations = found["FrameDuration"]
    starts = found.get("FrameTimesStart", np.append(0, durations.cumsum()[:-1]))
    if durations.min() <= 0 or np.diff(starts).min() <= 0:
        raise InputError(
            f"the frames of {path} do not follow one another by its sidecar; correct FrameTimesStart or "
            "FrameDuration there"
        )
    ends = starts + durations
    if (ends[:-1] <= starts[1:] + EDGE_S).all():
        return FrameTimes(starts, durations), ()
    if np.allclose(durations[:-1], starts[1:], atol=EDGE_S):
        text = "FrameDuration holds the ends of the frames in {}: durations are ends minus FrameTimesStart"
        return FrameTimes(starts, durations - starts), (notice(text.format(path)),)
    text = f"the frames of {path} overlap by FrameTimesStart and FrameDuration in its sidecar"
    return FrameTimes(starts, durations, overlap=True), (notice(text),)


def static_image(frames: Frames, start: float, end: float) -> Image:
    """Return the mean of the frames from `start` to `end`, s after TimeZero, as a 3D image with its sidecar.

    Frames are weighted by duration. In an image that is corrected for decay each weight is multiplied by the
    fraction of the activity that had not decayed, i.e. divided by the frame's decay correction: this is the
    image of all counts of the window, with one decay correction, as reconstructing them at once gives it.
    Raises InputError where a frame's times or decay correction are not known, or the window cuts a frame.
    """
    if frames.times is None:
        raise InputError(
            f"{frames.name} does not say when its frames are; write FrameTimesStart and FrameDuration (s) "
            "into its sidecar"
        )
    inside = frames.times.window(start, end, frames.name)
    durations, starts = frames.times.durations[inside], frames.times.starts[inside]
    corrected = frames.sidecar.get("ImageDecayCorrected")
    factors = _decay_factors(frames)[inside] if corrected else np.ones(len(inside))
    volume = frames.mean(inside.tolist(), durations / factors)
    said = {key: value for key, value in frames.sidecar.items() if not _by_frame(value, frames.count)}
    said |= {
        "FrameTimesStart": [float(starts[0])],
        "FrameDuration": [float(starts[-1] + durations[-1] - starts[0])],
        STATIC_FRAMES_KEY: [int(inside[0]) + 1, int(inside[-1]) + 1],
        STATIC_WEIGHTS_KEY: "duration / decay correction of the frame"
        if corrected
        else "duration of the frame",
    }
    if corrected:
        said["DecayCorrectionFactor"] = [float(durations.sum() / (durations / factors).sum())]
    notes = frames.notes
    if corrected is None:
        text = "does not say whether it is corrected for decay (ImageDecayCorrected): frames are weighted by"
        notes = (*notes, notice(f"{frames.name} {text} duration alone"))
    return Image(replace(volume, notes=notes), frames.name, said, frames.path)


def _by_frame(value: object, count: int) -> bool:
    """Return whether a sidecar's value is a list of one number for each frame."""
    return isinstance(value, list) and len(value) == count and all(isinstance(x, int | float) for x in value)


def _decay_factors(frames: Frames) -> np.ndarray:
    """Return the decay correction (N,) of each frame: the sidecar's, else that of its nuclide's half-life.

    A frame of duration T that starts t after the time of the correction has λT / (e^(−λt) (1 − e^(−λT))).
    Raises InputError where the half-life or the time is not known.
    """
    said, times = frames.sidecar, frames.times
    assert times is not None, "a window has been found in the times"
    if _by_frame(factors := said.get("DecayCorrectionFactor"), frames.count):
        known = np.array(factors, float)
        if known.min() > 0:
            return known
    nuclide = NUCLIDES.get(nuclide_named(str(said.get("TracerRadionuclide", ""))) or "")
    half_life = said.get("RadionuclideHalfLife") or (nuclide and nuclide.half_life_s)
    reference = said.get("ImageDecayCorrectionTime")
    if not isinstance(half_life, int | float) or not isinstance(reference, int | float):
        raise InputError(
            f"{frames.name} is corrected for decay, but its sidecar does not say how; write "
            "ImageDecayCorrectionTime (s) and TracerRadionuclide (as C11), or DecayCorrectionFactor, into it"
        )
    rate = np.log(2) / half_life
    elapsed = times.starts - reference
    return rate * times.durations / (np.exp(-rate * elapsed) * -np.expm1(-rate * times.durations))

"""Dynamic images: the frames of one list-mode file, each reconstructed from its own events."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from csrd.config.sections import Recon
from csrd.errors import notice
from csrd.io.bids import NOTES_KEY
from csrd.io.volume import Volume
from csrd.listmode import ListMode
from csrd.listmode.events import DELAYED, PROMPT
from csrd.listmode.frame import FrameOfFile, frames_of
from csrd.listmode.timing import Timing
from csrd.progress import progress
from csrd.recon.embedded import SCATTER_METHOD, check_header, estimated_scatter, reconstruct, sidecar_of
from csrd.scanner.geometry import Scanner

BY_FRAME = (
    *("FrameTimesStart", "FrameDuration", "DecayCorrectionFactor", "Prompts", "Delayeds"),
    "CalibrationFactor",
)
"""The sidecar's keys with a value of each frame."""
OF_SCAN = f"{SCATTER_METHOD}, from the scan, times each frame's fraction of its prompts less delayeds"


def reconstruct_frames(
    listmode: ListMode,
    mumap: Volume,
    efficiencies: np.ndarray,
    sensitivity: Volume,
    scanner: Scanner,
    recon: Recon,
    drf: float,
    seed: int,
    subject: str,
    scatter_table: np.ndarray | None = None,
) -> Iterator[tuple[Volume, dict]]:
    """Yield the image and sidecar of each of `recon.frames`, as `embedded.reconstruct` makes them.

    All are in Bq/mL at the scan's start. Scatter is the whole scan's, by `scatter_table` or estimated here,
    times the frame's fraction of all trues and scattered pairs; with recon.scatter: own it is estimated from
    each frame's events. Arguments and exceptions are those of `embedded.reconstruct`, and of `frames_of`.
    """
    assert recon.frames is not None, "frames are in the settings"
    check_header(listmode, drf)
    frames, whole = frames_of(listmode, recon.frames)
    arrays = mumap, efficiencies, sensitivity, scanner
    own = scatter_table is None and recon.scatter == "own"
    if scatter_table is None and not own and recon.estimates_scatter and mumap.array.any():
        scatter_table, _ = estimated_scatter(listmode, *arrays, recon, drf, seed, subject)
    total = _emitted(whole.counts)
    for frame in progress(frames, f"{subject} frames"):
        if not frame.found.counts[PROMPT]:
            yield _empty(frame, sensitivity, recon, drf)
            continue
        table = None
        if scatter_table is not None:
            table = scatter_table * np.float32(_emitted(frame.found.counts) / total if total else 0)
        image, sidecar = reconstruct(frame, *arrays, recon, drf, seed, subject, scatter_table=table)
        if table is not None:
            sidecar["ScatterCorrectionMethod"] = OF_SCAN
        yield image, sidecar | {"DecayCorrectionFactor": _timing(frame).decay_correction}


def of_all_frames(sidecars: Sequence[dict]) -> dict:
    """Return the sidecar of the 4D image of frames with these sidecars."""
    said = dict(sidecars[0])
    for key in BY_FRAME:
        values = [one[key] for one in sidecars]
        said[key] = [value[0] if isinstance(value, list) else value for value in values]
    notes = dict.fromkeys(note for one in sidecars for note in one.get(NOTES_KEY, ()))
    return said | ({NOTES_KEY: list(notes)} if notes else {})


def _emitted(counts: np.ndarray) -> float:
    """Return the number of trues and scattered pairs among counts (KINDS,)."""
    return max(float(counts[PROMPT]) - float(counts[DELAYED]), 0.0)


def _timing(frame: FrameOfFile) -> Timing:
    return replace(Timing.of(frame), duration_s=frame.found.covered_s)


def _empty(frame: FrameOfFile, sensitivity: Volume, recon: Recon, drf: float) -> tuple[Volume, dict]:
    """Return an image of zeros, and its sidecar, of a frame without prompts."""
    timing = _timing(frame)
    sidecar = sidecar_of(recon, timing, drf, 0, float(frame.found.counts[DELAYED]), "none: no prompts")
    note = notice(f"{frame.path} has no prompts from {frame.start_s:g} s on, for {timing.duration_s:g} s")
    sidecar |= {NOTES_KEY: [*sidecar.get(NOTES_KEY, ()), note]}
    image = sensitivity.like(np.zeros(sensitivity.shape, np.float32), "Bq/mL")
    return image, sidecar | {"DecayCorrectionFactor": timing.decay_correction}

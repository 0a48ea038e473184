"""Time frames of a list-mode file, each read as if the file had no other events."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from csrd.errors import InputError
from csrd.listmode.base import EVENTS_AT_A_TIME, ListMode, Survey
from csrd.listmode.events import DELAYED, PROMPT, EventBlock, no_counts
from csrd.listmode.timing import AGREE, Timing
from csrd.listmode.view import View


@dataclass(frozen=True)
class FrameOfFile(View):
    """The events of `whole` with `begin_ms` <= time < `end_ms` by the clock of its time tags.

    The frame begins `start_s` after the scan; `found` counts its events and its measured time.
    """

    begin_ms: int
    end_ms: int
    start_s: float
    found: Survey

    @property
    def begins_s(self) -> float:
        return self.start_s

    def intervals(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the file's intervals that begin in the frame."""
        for starts, lengths in self.whole.intervals():
            here = (starts >= self.begin_ms) & (starts < self.end_ms)
            yield starts[here], lengths[here]

    def survey(self) -> Survey:
        """Return the frame's counts and the seconds that were measured in it, without a pass."""
        return self.found

    def blocks(self, events: int = EVENTS_AT_A_TIME) -> Generator[EventBlock, None, Survey]:
        """Yield the frame's prompts and delayeds; the file is read up to the frame's end."""
        for block in self.whole.blocks(events):
            first, last = np.searchsorted(block.time_ms, [self.begin_ms, self.end_ms])
            if first < last:
                part = slice(first, last)
                yield EventBlock(block.crystals[part], block.prompt[part], block.time_ms[part])
            if last < len(block):
                break
        return self.found


def frames_of(listmode: ListMode, durations_s: Sequence[float]) -> tuple[list[FrameOfFile], Survey]:
    """Return the frames of these durations, one after the other from the scan's start, and the file's survey.

    Raises InputError where the clock of the time tags goes back, or the scan ends within a frame.
    """
    starts_ms, lengths_ms = _measured(listmode)
    edges_ms = int(starts_ms[0]) + np.round(1000 * np.cumsum([0.0, *durations_s])).astype(np.int64)
    _refuse_beyond(listmode, durations_s, (starts_ms[-1] + np.ceil(lengths_ms[-1]) - starts_ms[0]) / 1000)
    counts, whole = _counted(listmode, edges_ms)
    key = listmode.timing_keys.duration_s
    found = []
    for number, (begin, end) in enumerate(pairwise(edges_ms.tolist())):
        first, last = np.searchsorted(starts_ms, [begin, end])
        covered_s = float(lengths_ms[first:last].sum()) / 1000
        if not covered_s:
            raise InputError(f"{listmode.path} has no time tags in frame {number + 1}; leave it out")
        notes: tuple[str, ...] = ()
        if covered_s < (1 - AGREE) * durations_s[number]:
            notes = (
                f"time tags of {listmode.path} cover {covered_s:g} s of the {durations_s[number]:g} s of "
                f"frame {number + 1}: only these count as measured",
            )
        header = {**listmode.header, **({key: f"{covered_s:.12g}"} if key else {})}
        survey = replace(whole, counts=counts[number], covered_s=covered_s, unread_bytes=0, notes=notes)
        start_s = (begin - int(edges_ms[0])) / 1000
        begin = 0 if number == 0 else begin  # events before the first tag have no time
        found.append(FrameOfFile(listmode.path, header, listmode, begin, end, start_s, survey))
    return found, whole


def _measured(listmode: ListMode) -> tuple[np.ndarray, np.ndarray]:
    """Return starts and lengths in ms of the intervals that a file's time tags or blocks cover."""
    parts = list(listmode.intervals())
    starts = np.concatenate([np.empty(0, np.int64), *(part[0] for part in parts)])
    lengths = np.concatenate([np.empty(0), *(part[1] for part in parts)])
    if not len(starts):
        raise InputError(f"{listmode.path} has no time tags, so no frames; set recon.frames to null")
    if (back := np.flatnonzero(np.diff(starts) < 0)).size:
        raise InputError(
            f"the clock of {listmode.path} goes back at {starts[back[0]]} ms, so it has no frames; set "
            "recon.frames to null"
        )
    return starts, lengths


def refuse_longer(listmode: ListMode, durations_s: Sequence[float]) -> None:
    """Raise InputError where the frames are longer than the scan by its header; no event is read."""
    _refuse_beyond(listmode, durations_s, Timing.of(listmode).duration_s)


def _refuse_beyond(listmode: ListMode, durations_s: Sequence[float], there_s: float) -> None:
    """Raise InputError where the frames are longer than the scan, by more than a rounded duration."""
    if sum(durations_s) > there_s + AGREE * durations_s[-1]:
        raise InputError(
            f"recon.frames are {sum(durations_s):g} s together, but {listmode.path} lasts {there_s:g} s; "
            "shorten or leave out the last ones"
        )


def _counted(listmode: ListMode, edges_ms: np.ndarray) -> tuple[np.ndarray, Survey]:
    """Return the prompts and delayeds of each frame, (F, KINDS), and the file's survey, from one pass."""
    counts = np.stack([no_counts() for _ in edges_ms[1:]])
    edges = np.append(0, edges_ms[1:])  # events before the first tag have no time
    blocks = listmode.blocks()
    while True:
        try:
            block = next(blocks)
        except StopIteration as end:
            return counts, end.value
        for kind, times in ((PROMPT, block.time_ms[block.prompt]), (DELAYED, block.time_ms[~block.prompt])):
            counts[:, kind] += np.diff(np.searchsorted(times, edges))

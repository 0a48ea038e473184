"""Long scans: their events read in passes and kept packed, 12 bytes each, in place of some 40."""

from collections.abc import Callable, Iterator

import numpy as np

from csrd.listmode import ListMode
from csrd.listmode.base import Survey
from csrd.listmode.events import EventBlock
from csrd.listmode.packets import PacketListMode
from csrd.listmode.words import CHUNK_WORDS, chunk_count
from csrd.progress import progress
from csrd.recon.osem import PackedEvents, Part
from csrd.scanner.geometry import Scanner

LONG_BYTES = 1 << 28  # files from this size on, some 5e7 events, are packed
PART_EVENTS = 1 << 22  # sorted at a time


class Pass:
    """One pass over a list-mode file, with its progress: iterate over its blocks, then read its survey."""

    survey: Survey

    def __init__(self, listmode: ListMode, label: str) -> None:
        self.listmode, self.label = listmode, label

    def __iter__(self) -> Iterator[EventBlock]:
        blocks = self._blocks()
        if is_long(self.listmode) and isinstance(self.listmode, PacketListMode):
            total = chunk_count(self.listmode.word_count, self.listmode.packet_words * CHUNK_WORDS)
            yield from progress(blocks, f"{self.label} {self.listmode.path.name}", total)
        else:
            yield from blocks

    def _blocks(self) -> Iterator[EventBlock]:
        self.survey = yield from self.listmode.blocks(CHUNK_WORDS)


def is_long(listmode: ListMode) -> bool:
    """Return whether the events of a file are packed."""
    return listmode.bytes >= LONG_BYTES


def prompts_in_parts(blocks: Pass, scanner: Scanner) -> Iterator[np.ndarray]:
    """Yield the crystals of a file's prompts (N, 2), `PART_EVENTS` at a time, each part neighbours first."""
    held: list[np.ndarray] = []
    for block in blocks:
        held.append(block.crystals[block.prompt])
        if sum(map(len, held)) >= PART_EVENTS:
            yield _sorted(held, scanner)
            held = []
    if sum(map(len, held)):
        yield _sorted(held, scanner)


def packed(
    parts: Iterator[np.ndarray],
    additive: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    subsets: int,
    draw: np.random.Generator,
) -> PackedEvents:
    """Return events divided into subsets at random.

    `parts` yields their crystals; `additive` returns those of a part that are on living lines, and c of their
    lines.
    """
    of_subset: list[list[Part]] = [[] for _ in range(subsets)]
    for part in parts:
        crystals, values = additive(part)
        member = draw.permutation(np.arange(len(crystals), dtype=np.uint32)) % np.uint32(subsets)
        for number in range(subsets):
            here = np.flatnonzero(member == number)
            if len(here):
                of_subset[number].append((crystals[here], values[here]))
    return PackedEvents(of_subset)


def _sorted(held: list[np.ndarray], scanner: Scanner) -> np.ndarray:
    crystals = np.concatenate(held)
    return crystals[scanner.neighbours_first(crystals)]

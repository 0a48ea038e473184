"""Long scans: their events read in passes and kept packed, 12 bytes each, in place of some 40."""

import math
from collections.abc import Callable, Iterable, Iterator

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


class Sample:
    """Every n-th prompt of a file, at most `most`, and each crystal's delayeds, as its blocks are read."""

    def __init__(self, scanner: Scanner, most: int) -> None:
        self.most, self.every, self.prompts = most, 1, 0
        self.fans = np.zeros(scanner.crystals)  # a delayed counts for both its crystals
        self.held = [np.empty((0, 2), np.uint32)]

    @property
    def crystals(self) -> np.ndarray:
        """Return the crystals of every `every`-th prompt, (N, 2) uint32, in the file's order."""
        return np.concatenate(self.held)

    def seen(self, blocks: Iterable[EventBlock]) -> Iterator[EventBlock]:
        """Yield the blocks, whose events are counted and sampled."""
        for block in blocks:
            delayeds = block.crystals[~block.prompt].ravel()
            self.fans += np.bincount(delayeds, minlength=len(self.fans))
            self._take(block.crystals[block.prompt])
            yield block

    def _take(self, prompts: np.ndarray) -> None:
        self.held.append(prompts[-self.prompts % self.every :: self.every])
        self.prompts += len(prompts)
        while sum(map(len, self.held)) > self.most:
            self.held, self.every = [self.crystals[::2]], 2 * self.every


def is_long(listmode: ListMode) -> bool:
    """Return whether the events of a file are packed."""
    return listmode.bytes >= LONG_BYTES


def prompts_in_parts(blocks: Iterable[EventBlock], whole: bool = False) -> Iterator[np.ndarray]:
    """Yield the crystals of a file's prompts (N, 2) in its order, `PART_EVENTS` at a time or in one part."""
    held: list[np.ndarray] = []
    events = math.inf if whole else PART_EVENTS
    for block in blocks:
        held.append(block.crystals[block.prompt])
        if sum(map(len, held)) >= events:
            yield np.concatenate(held)
            held = []
    if sum(map(len, held)):
        yield np.concatenate(held)


def neighbours_first(parts: Iterable[np.ndarray], scanner: Scanner) -> Iterator[np.ndarray]:
    """Yield each part of the prompts in the order of `Scanner.neighbours_first`."""
    for crystals in parts:
        yield crystals[scanner.neighbours_first(crystals)]


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

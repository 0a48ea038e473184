"""A random part of a list-mode file's events, read as if the file had no others."""

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import numpy as np

from csrd.listmode.base import EVENTS_AT_A_TIME, ListMode, Survey, TimingKeys
from csrd.listmode.draw import Keep, Part
from csrd.listmode.events import DELAYED, PROMPT, EventBlock
from csrd.listmode.thin import FACTOR, drf_of


@dataclass(frozen=True)
class PartOfFile(ListMode):
    """The events of `whole` in a `part`; its dose reduction factor is that of the file over the fraction."""

    whole: ListMode
    part: Part

    @classmethod
    def of(cls, whole: ListMode, part: Part) -> "PartOfFile":
        header = {**whole.header, FACTOR: f"{drf_of(whole) / part.fraction:.12g}"}
        return cls(whole.path, header, whole, part)

    @property
    def timing_keys(self) -> TimingKeys:  # type: ignore[override] # a format's constant elsewhere
        return self.whole.timing_keys

    @property
    def scanner(self) -> str:
        return self.whole.scanner

    @property
    def bytes(self) -> int:
        return self.whole.bytes

    @classmethod
    def files_at(cls, path: Path) -> tuple[Path, ...]:
        return (path,)

    def intervals(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return self.whole.intervals()

    def survey(self) -> Survey:
        """Return the file's survey with the counts of the part, from one pass."""
        counts = {True: 0, False: 0}
        blocks = self.blocks()
        while True:
            try:
                block = next(blocks)
            except StopIteration as end:
                return self._counted(end.value, counts[True], counts[False])
            counts[True] += int(block.prompt.sum())
            counts[False] += int((~block.prompt).sum())

    def blocks(self, events: int = EVENTS_AT_A_TIME) -> Generator[EventBlock, None, Survey]:
        first, blocks = 0, self.whole.blocks(events)
        while True:
            try:
                block = next(blocks)
            except StopIteration as end:
                return end.value
            chosen = self.part.holds(first, len(block))
            first += len(block)
            yield EventBlock(block.crystals[chosen], block.prompt[chosen], block.time_ms[chosen])

    def write_thinned(self, target: Path, keep: Keep, notes: Mapping[str, object]) -> NoReturn:
        raise NotImplementedError("a part of a file is read, not written; thin the file")

    def _counted(self, survey: Survey, prompts: int, delayeds: int) -> Survey:
        counts = np.array(survey.counts)
        counts[PROMPT], counts[DELAYED] = prompts, delayeds
        return replace(survey, counts=counts)

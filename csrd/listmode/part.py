"""A random part of a list-mode file's events, read as if the file had no others."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace

import numpy as np

from csrd.listmode.base import EVENTS_AT_A_TIME, ListMode, Survey
from csrd.listmode.draw import Part
from csrd.listmode.events import DELAYED, PROMPT, EventBlock
from csrd.listmode.thin import FACTOR, drf_of
from csrd.listmode.view import View


@dataclass(frozen=True)
class PartOfFile(View):
    """The events of `whole` in a `part`; its dose reduction factor is that of the file over the fraction."""

    part: Part

    @classmethod
    def of(cls, whole: ListMode, part: Part) -> "PartOfFile":
        header = {**whole.header, FACTOR: f"{drf_of(whole) / part.fraction:.12g}"}
        return cls(whole.path, header, whole, part)

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

    def _counted(self, survey: Survey, prompts: int, delayeds: int) -> Survey:
        counts = np.array(survey.counts)
        counts[PROMPT], counts[DELAYED] = prompts, delayeds
        return replace(survey, counts=counts)

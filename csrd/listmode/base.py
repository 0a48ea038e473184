"""The interface of every list-mode format."""

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from csrd.errors import InputError
from csrd.listmode.draw import Keep
from csrd.listmode.events import EventBlock, tally
from csrd.listmode.timing import duration_of

EVENTS_AT_A_TIME = 1 << 18


@dataclass(frozen=True)
class TimingKeys:
    """Keys of the scan's timing in a format's header; durations and half-lives are in s.

    Without a key for the duration, it is the time that the data cover.
    """

    duration_s: str | None = "image duration"
    half_life_s: str = "isotope halflife"
    branching: str = "branching factor"
    dead_time: str = "Dead time correction factor"


@dataclass(frozen=True)
class Survey:
    """Result of one pass over a file: counts (KINDS,) int64 by kind, and the seconds that the data cover.

    Time tags are `interval_ms` apart by header or format, `step_ms` by their own clock (None: not known).
    `notes` list data that the header describes and the file lacks.
    """

    counts: np.ndarray
    covered_s: float
    unread_bytes: int = 0  # at the end, in an incomplete block
    interval_ms: float = 1.0
    step_ms: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ListMode(ABC):
    """A list-mode file, whose events are not kept in memory; `header` has the facts of the scan by key."""

    path: Path
    header: Mapping[str, str]

    format: ClassVar[str]
    timing_keys: ClassVar[TimingKeys] = TimingKeys()
    notable: ClassVar[tuple[str, ...]]  # the header's keys that `info` shows
    remedy: ClassVar[str] = "give a positive number there"  # for a header without the number

    @property
    def begins_s(self) -> float:
        """Return the seconds from the scan's start to the start of these data."""
        return 0

    @property
    @abstractmethod
    def scanner(self) -> str:
        """Return the scanner's name."""

    @property
    @abstractmethod
    def bytes(self) -> int:
        """Return the size of the data; raises InputError where they cannot be read."""

    @classmethod
    @abstractmethod
    def files_at(cls, path: Path) -> tuple[Path, ...]:
        """Return the files of list-mode data of this format at a path; they need not exist."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Return the files of these list-mode data."""
        return self.files_at(self.path)

    @abstractmethod
    def survey(self) -> Survey:
        """Return the counts of the file, from one pass."""

    @abstractmethod
    def blocks(self, events: int = EVENTS_AT_A_TIME) -> Generator[EventBlock, None, Survey]:
        """Yield the prompts and delayeds in the file's order, no block longer than `events`.

        Return, as the value of a `yield from`, the survey of the file.
        """

    @abstractmethod
    def intervals(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield starts (N,) int64 and lengths (N,) in ms of the measured intervals, in their order."""

    @abstractmethod
    def write_thinned(
        self, target: Path, keep: Keep, notes: Mapping[str, object]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Write the events that a thinning keeps in the same format, with `notes` in the header.

        Return all counts and the kept ones, (KINDS,) int64. Prompts and delayeds are selected by `keep`,
        indexed in the file's order; everything else is kept. The file is complete or absent.
        """

    def info(self) -> dict:
        """Return a summary of the file: format, scanner, counts, duration in s, main header values."""
        size, survey = self.bytes, self.survey()
        try:
            notes = duration_of(self, survey)[1]
        except InputError as error:
            notes = [*survey.notes, str(error)]
        return {
            "format": self.format,
            "scanner": self.scanner,
            "path": str(self.path),
            "bytes": size,
            **tally(survey.counts),
            **({"unread_bytes": survey.unread_bytes} if survey.unread_bytes else {}),
            "duration_s": survey.covered_s,
            **({"notes": notes} if notes else {}),
            "header": {key: self.header[key] for key in self.notable if key in self.header},
        }

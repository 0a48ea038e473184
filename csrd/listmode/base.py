"""What every list-mode format can do; a format's own file says how its data look."""

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
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
    """What a format's header calls the scan's timing; durations and half-lives are in s.

    Without a key for the duration it is what the data themselves cover.
    """

    duration_s: str | None = "image duration"
    half_life_s: str = "isotope halflife"
    branching: str = "branching factor"
    dead_time: str = "Dead time correction factor"


@dataclass(frozen=True)
class Survey:
    """What one pass over a file finds: counts (KINDS,) int64 by kind, and the seconds that the data cover.

    Time tags are `interval_ms` apart by header or format, `step_ms` by their own clock (None: not known).
    `notes` are where the data are less than the header describes.
    """

    counts: np.ndarray
    covered_s: float
    unread_bytes: int = 0  # at the end, in nothing that is whole
    interval_ms: float = 1.0
    step_ms: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ListMode(ABC):
    """A list-mode file; nothing of its events is held in memory. `header` is what it says of the scan."""

    path: Path
    header: Mapping[str, str]

    format: ClassVar[str]
    timing_keys: ClassVar[TimingKeys] = TimingKeys()
    notable: ClassVar[tuple[str, ...]]  # the header's keys that `info` shows
    remedy: ClassVar[str] = "give a positive number there"  # where the header lacks a number

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
        """Return the files that list-mode of this format consists of at a path, whether they exist or not."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Return the files that this one consists of."""
        return self.files_at(self.path)

    @abstractmethod
    def survey(self) -> Survey:
        """Return what the file holds, counted in one pass."""

    @abstractmethod
    def blocks(self, events: int = EVENTS_AT_A_TIME) -> Generator[EventBlock, None, Survey]:
        """Yield the prompts and delayeds in the file's order, no block longer than `events`.

        Return, as the value of a `yield from`, the survey of the file.
        """

    @abstractmethod
    def write_thinned(
        self, target: Path, keep: Keep, notes: Mapping[str, object]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Write what a thinning keeps in the same format, `notes` in its header, whole or not at all.

        Return all counts and the kept ones, (KINDS,) int64. Prompts and delayeds are drawn by `keep`, indexed
        in the file's order; everything else stays.
        """

    def info(self) -> dict:
        """Return what the file holds: format, scanner, counts, duration in s, notable header values."""
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

"""What every list-mode format can do; a format's own file says how its packets look."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from csrd.listmode.draw import Keep
from csrd.listmode.events import TIME_TAG, EventBlock, no_counts, tally
from csrd.listmode.interfile import InterfileHeader
from csrd.listmode.words import CHUNK_WORDS, WORD_BYTES, chunk_count, whole_words, word_chunks
from csrd.progress import progress

SHOW_PROGRESS_WORDS = 1 << 26  # 256 MiB: below it one is done before a bar is read


@dataclass(frozen=True)
class TimingKeys:
    """What a format's header calls the scan's timing; durations and half-lives are in s."""

    duration_s: str = "image duration"
    half_life_s: str = "isotope halflife"
    branching: str = "branching factor"
    dead_time: str = "Dead time correction factor"


@dataclass(frozen=True)
class ListMode(ABC):
    """A list-mode file and its header; nothing of the data is held in memory."""

    path: Path
    header: InterfileHeader

    format: ClassVar[str]
    timing_keys: ClassVar[TimingKeys] = TimingKeys()
    notable: ClassVar[tuple[str, ...]]  # the header's keys that `info` shows
    packet_words: ClassVar[int]
    chunk_words: ClassVar[int] = CHUNK_WORDS
    count: ClassVar[Callable]  # (words, counts): adds the packets of each kind to counts
    compact: ClassVar[Callable]  # (words, key, limit, out, counts, kept) -> words kept, written to out

    @property
    @abstractmethod
    def scanner(self) -> str:
        """Return the scanner's name."""

    @property
    def tag_interval_ms(self) -> float:
        """Return the time between two time tags in ms."""
        return 1.0

    @abstractmethod
    def blocks(self, packets: int = CHUNK_WORDS) -> Iterator[EventBlock]:
        """Yield the prompts and delayeds of at most `packets` packets at a time."""

    def counts(self) -> np.ndarray:
        """Return the number of packets of each kind, (KINDS,) int64."""
        counts = no_counts()
        for words in self._chunks("read"):
            self.count(words, counts)
        return counts

    def thin(self, target: str | Path, keep: Keep) -> tuple[np.ndarray, np.ndarray]:
        """Write the packets that a thinning keeps; return all counts and the kept ones, (KINDS,) int64.

        Kept are every tag and transmission event, whose number has nothing to do with the injected dose,
        and the prompts and delayeds drawn by `keep`, indexed in the file's order. Words in no valid
        packet are left out, so that the result is in sync from its first word to its last.
        """
        counts, kept = no_counts(), no_counts()
        out = np.empty(self.chunk_words + 1, dtype="<u4")
        with open(target, "wb") as stream:
            for words in self._chunks("thin"):
                size = self.compact(words, keep.key, keep.limit, out, counts, kept)
                stream.write(memoryview(out[:size]))
        return counts, kept

    def info(self) -> dict:
        """Return what the file holds: format, scanner, counts, duration in s, notable header values.

        The duration is the number of time tags times their interval: a lost or damaged tag costs its
        own interval only.
        """
        counts = self.counts()
        return {
            "format": self.format,
            "scanner": self.scanner,
            "path": str(self.path),
            "bytes": whole_words(self.path) * WORD_BYTES,
            **tally(counts),
            "duration_s": int(counts[TIME_TAG]) * self.tag_interval_ms / 1000,
            "header": {key: self.header[key] for key in self.notable if key in self.header},
        }

    def _chunks(self, verb: str) -> Iterator[np.ndarray]:
        """Return the file's words in chunks; a long file shows its progress."""
        words = whole_words(self.path)
        chunks = word_chunks(self.path, self.packet_words == 2, self.chunk_words)
        if words < SHOW_PROGRESS_WORDS:
            return chunks
        return progress(chunks, f"{verb} {self.path.name}", chunk_count(words, self.chunk_words))

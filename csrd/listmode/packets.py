"""List-mode of 32-bit words: a stream of packets, with an Interfile header beside it."""

from abc import abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from csrd.io.files import header_beside, header_path
from csrd.io.interfile import InterfileHeader, whole_pair
from csrd.listmode.base import ListMode, Survey
from csrd.listmode.draw import Keep
from csrd.listmode.events import SKIPPED, TIME_TAG, EventBlock, no_counts
from csrd.listmode.timing import AGREE
from csrd.listmode.words import CHUNK_WORDS, WORD_BYTES, chunk_count, whole_words, word_chunks
from csrd.progress import progress

SHOW_PROGRESS_WORDS = 1 << 26  # 256 MiB: smaller files take too little time for a progress bar
FEWEST_STEPS = 8  # between time tags, for a median that is robust to damage
END_WORDS = 1 << 14  # at a file's ends, in which its first and last time tags are looked for


@dataclass(frozen=True)
class PacketListMode(ListMode):
    """A list-mode file of packets of one or two words; `header` is its Interfile header."""

    header: InterfileHeader

    packet_words: ClassVar[int]
    chunk_words: ClassVar[int] = CHUNK_WORDS
    count: ClassVar[Callable]  # (words, counts): adds the packets of each kind to counts
    decode: ClassVar[Callable]  # (words, clock, crystals, prompt, time_ms) -> events written, next clock
    compact: ClassVar[Callable]  # (words, key, limit, out, counts, kept) -> words kept, written to out

    @staticmethod
    @abstractmethod
    def tag_times(words: np.ndarray) -> np.ndarray:
        """Return the times in ms of the time tags among words (N,), int64, in their order."""

    @property
    def tag_interval_ms(self) -> float:
        """Return the time between two time tags in ms."""
        return 1.0

    @property
    def word_count(self) -> int:
        """Return the number of words of the data."""
        return whole_words(self.path)

    def words(self, chunk: int, pairs: bool | None = None) -> Iterator[np.ndarray]:
        """Return the data's words in chunks, of which none cuts a packet (see `word_chunks`)."""
        return word_chunks(self.path, self.packet_words == 2 if pairs is None else pairs, chunk)

    @property
    def bytes(self) -> int:
        """Return the size of the data."""
        return self.word_count * WORD_BYTES

    @classmethod
    def files_at(cls, path: Path) -> tuple[Path, ...]:
        """Return the data and its header."""
        return path, header_path(path)

    @property
    def files(self) -> tuple[Path, ...]:
        """Return the data and their header, in whatever folder."""
        beside = header_beside(self.path)
        return (self.path,) if beside is None else (self.path, beside)

    def blocks(self, events: int = CHUNK_WORDS) -> Generator[EventBlock, None, Survey]:
        """Yield the prompts and delayeds of at most `events` packets at a time, each block its own arrays.

        Transmission events, tags and words in no valid packet are left out; so are empty blocks. Return the
        survey of the file.
        """
        clock, seen = 0, _Seen(self)
        for words in self.words(self.packet_words * events):
            seen.add(words)
            most = -(-words.size // self.packet_words)
            crystals = np.empty((most, 2), dtype=np.uint32)
            prompt = np.empty(most, dtype=bool)
            time_ms = np.empty(most, dtype=np.uint32)
            found, clock = self.decode(words, clock, crystals, prompt, time_ms)
            if found:
                yield EventBlock(crystals[:found], prompt[:found], time_ms[:found])
        return seen.survey()

    def survey(self) -> Survey:
        """Return the number of packets of each kind, and the time that the tags cover.

        That is their number times their interval: a lost or damaged tag costs its own interval only.
        """
        seen = _Seen(self)
        for words in self._chunks("read"):
            seen.add(words)
        return seen.survey()

    def intervals(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the times of the time tags, each of which begins an interval."""
        for words in self.words(self.chunk_words):
            starts = self.tag_times(words)
            yield starts, np.full(len(starts), self.tag_interval_ms)

    def notes(self, counts: np.ndarray) -> Iterator[str]:
        """Yield a note on each kind of data that the file lacks, compared with its header."""
        if counts[SKIPPED] > AGREE * (words := self.word_count):
            part = counts[SKIPPED] / words
            yield f"{self.path} has {part:.0%} of its words in no valid packet: they are left out"

    def write_thinned(
        self, target: Path, keep: Keep, notes: Mapping[str, object]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Write the packets that a thinning keeps, and the header with `notes` beside them.

        Return all counts and the kept ones, (KINDS,) int64. All tags and transmission events are kept, since
        they do not depend on the injected dose, and the prompts and delayeds that `keep` selects, indexed in
        the file's order. Words in no valid packet are left out, so that the result is in sync from its
        first word to its last.
        """
        with whole_pair(target) as (data_part, header_part):
            counts, kept = self.compact_into(data_part, keep)
            fixed: dict[str, object] = {"name of data file": target.name}
            if (total := "total listmode word counts") in self.header:
                fixed[total] = data_part.stat().st_size // WORD_BYTES
            header_part.write_bytes(self.header.replace(fixed | dict(notes)).encode())
        return counts, kept

    def compact_into(self, target: Path, keep: Keep) -> tuple[np.ndarray, np.ndarray]:
        """Write the packets that a thinning keeps; return all counts and the kept ones."""
        counts, kept = no_counts(), no_counts()
        out = np.empty(self.chunk_words + 1, dtype="<u4")
        with open(target, "wb") as stream:
            for words in self._chunks("thin"):
                size = self.compact(words, keep.key, keep.limit, out, counts, kept)
                stream.write(out[:size].data)
        return counts, kept

    def _chunks(self, verb: str) -> Iterator[np.ndarray]:
        """Return the file's words in chunks; a long file shows its progress."""
        words = self.word_count
        chunks = self.words(self.chunk_words)
        if words < SHOW_PROGRESS_WORDS:
            return chunks
        return progress(chunks, f"{verb} {self.path.name}", chunk_count(words, self.chunk_words))


class _Seen:
    """Counts of the words read so far, and the first and last time tags."""

    def __init__(self, listmode: PacketListMode) -> None:
        self.listmode, self.counts = listmode, no_counts()
        self.first_ms, self.tail = np.empty(0, np.int64), np.empty(0, np.uint32)

    def add(self, words: np.ndarray) -> None:
        """Count the next words."""
        self.listmode.count(words, self.counts)
        if not len(self.first_ms):
            self.first_ms = self.listmode.tag_times(words[:END_WORDS])
        self.tail = np.concatenate([self.tail, words[-END_WORDS:]])[-END_WORDS:]

    def survey(self) -> Survey:
        """Return the survey of all words."""
        interval_ms, steps_ms = self.listmode.tag_interval_ms, np.diff(self.first_ms)
        covered_s = int(self.counts[TIME_TAG]) * interval_ms / 1000
        return Survey(
            self.counts,
            covered_s,
            interval_ms=interval_ms,
            step_ms=float(np.median(steps_ms)) if len(steps_ms) >= FEWEST_STEPS else None,
            notes=(*self.listmode.notes(self.counts), *self._clock_notes(covered_s)),
        )

    def _clock_notes(self, covered_s: float) -> Iterator[str]:
        """Yield a note where the clock of the tags covers another time than their number."""
        path, last_ms = self.listmode.path, self.listmode.tag_times(self.tail)
        if not len(last_ms):
            return
        span_s = (int(last_ms[-1]) - int(self.first_ms[0])) / 1000
        if span_s < 0:
            yield f"the clock of the time tags in {path} goes back: each tag counts as its interval"
        elif span_s > (1 + AGREE) * covered_s:
            yield (
                f"the clock of the time tags in {path} runs over {span_s:g} s, of which {covered_s:g} s have "
                "tags: only these count as measured"
            )

"""Blocks of list-mode events, and counts of packets by kind."""

from dataclasses import dataclass

import numpy as np

# The kinds of packet in every format; a thinning selects among the kinds up to DELAYED.
PROMPT, DELAYED, TRANSMISSION, TIME_TAG, OTHER_TAG, SKIPPED = range(6)
KINDS = 6


@dataclass(frozen=True)
class EventBlock:
    """Consecutive events of one file, in the file's order.

    `crystals` (N, 2) uint32 are crystal indices of the scanner; `prompt` (N,) bool, False for delayeds;
    `time_ms` (N,) uint32 is the last time tag before the event, 0 before the first.
    """

    crystals: np.ndarray
    prompt: np.ndarray
    time_ms: np.ndarray

    def __post_init__(self) -> None:
        events = len(self.prompt)
        assert self.crystals.shape == (events, 2), f"{self.crystals.shape} crystals of {events} events"
        assert self.time_ms.shape == (events,), f"{self.time_ms.shape} times of {events} events"

    def __len__(self) -> int:
        return len(self.prompt)


def no_counts() -> np.ndarray:
    """Return zero packets of each kind, (KINDS,) int64."""
    return np.zeros(KINDS, dtype=np.int64)


def tally(counts: np.ndarray) -> dict[str, int]:
    """Return counts (KINDS,) by name; `tags` sums the tags, `skipped_words` are words in no packet."""
    prompts, delayeds, transmission, time_tags, other_tags, skipped = (int(count) for count in counts)
    return {
        "prompts": prompts,
        "delayeds": delayeds,
        "transmission": transmission,
        "tags": time_tags + other_tags,
        "time_tags": time_tags,
        "other_tags": other_tags,
        "skipped_words": skipped,
    }

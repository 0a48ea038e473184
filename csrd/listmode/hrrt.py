"""HRRT list-mode: `.l64` files read as crystal pairs, and written."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from csrd.io.interfile import InterfileHeader, whole_pair
from csrd.listmode.hrrt_packets import (
    LOW_16,
    TAG_KIND,
    TIME_KIND,
    TIME_MASK,
    compact_packets,
    count_packets,
    decode_packets,
    encode_packets,
    encode_time,
    first_impossible,
)
from csrd.listmode.packets import PacketListMode
from csrd.listmode.words import CHUNK_WORDS

Segment = tuple[np.ndarray, np.ndarray, np.ndarray]  # crystals (N, 2), prompt (N,), time_ms (N,)

MAX_MS = 1 << 29  # of a time tag: its upper three bits are the kind
HEADER = InterfileHeader("""\
!INTERFILE
!originating system := HRRT
!name of data file :=
!PET data type := emission
data format := listmode
image duration :=
energy window lower level[1] := 400
energy window upper level[1] := 650
""")


class HrrtListMode(PacketListMode):
    """An `.l64` file; see `hrrt_packets` for its packets."""

    format = "HRRT 64-bit list-mode"
    scanner = "HRRT"
    packet_words = 2
    notable = (
        "study date",
        "PET data type",
        "image duration",
        "energy window lower level[1]",
        "energy window upper level[1]",
        "isotope halflife",
        "branching factor",
        "Dosage Strength",
        "Dead time correction factor",
        "dose reduction factor",
        "thinning seed",
    )
    count = staticmethod(count_packets)
    decode = staticmethod(decode_packets)
    compact = staticmethod(compact_packets)

    @staticmethod
    def tag_times(words: np.ndarray) -> np.ndarray:
        """Return the times in ms of the time tags among words (N,), int64, in their order."""
        low, high = words[:-1].astype(np.int64), words[1:].astype(np.int64)
        value = (low & LOW_16 | (high & LOW_16) << 16)[(low >> 30 == 1) & (high >> 31 == 1)]
        return value[value & TAG_KIND == TIME_KIND] & TIME_MASK


def write_hrrt(
    path: str | Path,
    segments: Iterable[Segment],
    header: Mapping[str, object],
    duration_ms: int | None = None,
) -> None:
    """Write events as an `.l64` file with its header beside it, completely or not at all.

    A segment is (crystals (N, 2) uint32, prompt (N,) bool, time_ms (N,) uint32), all in time order. Each
    millisecond from 0 to `duration_ms` has its tag, before its events if any. Without `duration_ms` the
    duration is the header's `image duration` in s, else the time of the last event. `header`
    overrides and adds entries, except for the system's name and the data file's.
    Raises InputError where the files cannot be written; a wrong event or time is an AssertionError.
    """
    path = Path(path)
    content = HEADER.replace(header)
    if duration_ms is None and content["image duration"]:
        duration_ms = round(1000 * float(content["image duration"]))
    with whole_pair(path) as (data_part, header_part):
        with open(data_part, "wb") as stream:
            clock = _write_events(stream, segments)
            end = clock if duration_ms is None else duration_ms
            assert clock <= end <= MAX_MS, f"events up to {clock} ms in a scan of {end} ms"
            _write_time_tags(stream, clock, end)
        fixed = {
            "originating system": "HRRT",
            "name of data file": path.name,
            "image duration": f"{end / 1000:.12g}",
        }
        header_part.write_bytes(content.replace(fixed).encode())


def _write_events(stream: BinaryIO, segments: Iterable[Segment]) -> int:
    """Write all events with the time tags before them; return the next millisecond to tag."""
    out = np.empty(CHUNK_WORDS, dtype="<u4")
    clock = 0
    for crystals, prompt, time_ms in segments:
        _check_segment(crystals, prompt, time_ms, clock)
        event = 0
        while event < len(time_ms):
            event, clock, size = encode_packets(crystals, prompt, time_ms, event, clock, out)
            stream.write(out[:size].data)
    return clock


def _check_segment(crystals: np.ndarray, prompt: np.ndarray, time_ms: np.ndarray, clock: int) -> None:
    """Assert that a segment is well formed and continues from the millisecond before `clock`."""
    events = len(time_ms)
    assert crystals.shape == (events, 2) and prompt.shape == (events,), (
        f"{crystals.shape}, {prompt.shape}, {events}"
    )
    if not events:
        return
    assert time_ms[0] + 1 >= clock and (time_ms[1:] >= time_ms[:-1]).all(), "events are not in time order"
    assert time_ms[-1] < MAX_MS, f"{time_ms[-1]} ms does not fit a time tag"
    wrong = first_impossible(crystals)
    assert wrong < 0, f"event {wrong} has crystals {crystals[wrong]}, which cannot be in coincidence"


def _write_time_tags(stream: BinaryIO, start: int, stop: int) -> None:
    """Write a time tag for each millisecond from `start` up to before `stop`."""
    for first in range(start, stop, CHUNK_WORDS):
        times = np.arange(first, min(first + CHUNK_WORDS, stop), dtype=np.int64)
        words = np.stack(encode_time.py_func(times), axis=1).astype("<u4")
        stream.write(words.data.cast("B"))

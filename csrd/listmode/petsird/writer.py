"""Writing of PETSIRD: events of a scanner that the header describes, in time blocks of equal length."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import petsird

from csrd.io.files import whole_file
from csrd.listmode.hrrt import Segment
from csrd.listmode.petsird.blocks import EVENT_BLOCK, encoded_varint
from csrd.listmode.petsird.events import MAX_EVENT_BYTES, encode_events
from csrd.listmode.petsird.grid import Grid

BLOCK_MS = 100
NOTHING = np.empty((0, 2), np.int64), np.empty(0, bool), np.empty(0, np.uint32)


def write_petsird(
    path: str | Path, segments: Iterable[Segment], record: petsird.Header, duration_ms: int
) -> None:
    """Write events as a PETSIRD file with that header, completely or not at all.

    A segment is (crystals (N, 2) uint32, prompt (N,) bool, time_ms (N,) uint32), all in time order; crystals
    are those of the header's `Grid`, each detected in its first window of energy and TOF bin 0. Time blocks
    of `BLOCK_MS` cover the whole duration.
    Raises InputError where the file cannot be written or the scanner is not a grid; an event at a place
    without a crystal or after the end is an AssertionError.
    """
    path = Path(path)
    bins = Grid.of(record.scanner, path, []).bin_of_crystal()
    with whole_file(path) as part, open(part, "wb") as stream:
        stream.write(_file_head(record))
        clock = 0
        waiting: Segment = NOTHING
        for crystals, prompt, time_ms in segments:
            assert not len(time_ms) or time_ms[-1] < duration_ms, f"{time_ms[-1]} ms of {duration_ms} ms"
            assert (bins[crystals] >= 0).all(), "an event at a place without a crystal"
            pairs, prompts, times = waiting
            waiting = (
                np.concatenate((pairs, bins[crystals])),
                np.concatenate((prompts, prompt)),
                np.concatenate((times, time_ms)),
            )
            while len(time_ms) and clock + BLOCK_MS <= time_ms[-1]:
                clock, waiting = _write_block(stream, clock, clock + BLOCK_MS, waiting)
        while clock < duration_ms:
            clock, waiting = _write_block(stream, clock, min(clock + BLOCK_MS, duration_ms), waiting)
        stream.write(b"\x00")


def _write_block(stream: BinaryIO, start_ms: int, stop_ms: int, waiting: Segment) -> tuple[int, Segment]:
    """Write the events before `stop_ms` as a time block; return that time, and the remaining events."""
    interval = encoded_varint(start_ms) + encoded_varint(stop_ms)
    stream.write(b"\x01" + bytes([EVENT_BLOCK]) + interval + b"\x00")  # no single events
    due = int(np.searchsorted(waiting[2], stop_ms))
    for kind in (True, False):
        bins = waiting[0][:due][waiting[1][:due] == kind]
        out = np.empty(len(bins) * MAX_EVENT_BYTES, np.uint8)
        size = encode_events(bins, out)
        stream.write(b"\x01\x01" + encoded_varint(len(bins)))  # one type of modules, with itself
        stream.write(out[:size].data)
    stream.write(b"\x00\x00")  # no triples, no quadruples
    bins, prompt, time_ms = (column[due:] for column in waiting)
    return stop_ms, (bins, prompt, time_ms)


def _file_head(record: petsird.Header) -> bytes:
    """Return the preamble and the header of a file, up to its first time block."""
    stream = io.BytesIO()
    writer = petsird.BinaryPETSIRDWriter(stream)
    writer.write_header(record)
    writer.write_time_blocks([])
    writer.close()
    return stream.getvalue()[:-1]  # without the mark of the end

"""PETSIRD's lists of coincidences, compiled: an event is three varints, two detection bins and a bin of TOF.

A kernel reads from a window of the file (`yardl.Window`). It begins an event only where a complete one fits
before the window's end, or where the file ends there too (`last`); zeros follow the file's end.
"""

import numpy as np
from numba import njit

from csrd.listmode.draw import is_kept

EVENT_VARINTS = 3
MAX_EVENT_BYTES = 5 * EVENT_VARINTS
UINT32_MAX = 2**32 - 1
SOUND, CUT_SHORT, IMPOSSIBLE = range(3)


@njit(cache=True, nogil=True, inline="always")
def read_uint32(buffer, at):
    """Return (an integer, the position after it); the integer is −1 where it has more than 32 bits."""
    value = np.int64(0)
    for shift in range(0, 35, 7):
        byte = np.int64(buffer[at])
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value if value <= UINT32_MAX else np.int64(-1)), at
    return np.int64(-1), at


@njit(cache=True, nogil=True)
def check_events(buffer, at, end, last, count, bins_a, bins_b):
    """Check at most `count` events; return (position, events, status), status SOUND for valid events.

    Detection bins from `bins_a` or `bins_b` on do not exist.
    """
    for event in range(count):
        if end - at < MAX_EVENT_BYTES and not last:
            return at, event, SOUND
        first = at
        a, at = read_uint32(buffer, at)
        b, at = read_uint32(buffer, at)
        tof, at = read_uint32(buffer, at)
        if at > end:
            return first, event, CUT_SHORT
        if a < 0 or b < 0 or tof < 0 or a >= bins_a or b >= bins_b:
            return first, event, IMPOSSIBLE
    return at, count, SOUND


@njit(cache=True, nogil=True)
def decode_events(buffer, at, end, last, count, bins):
    """Write the detection bins of valid events to bins (≥ count, 2); return (position, events)."""
    for event in range(count):
        if end - at < MAX_EVENT_BYTES and not last:
            return at, event
        bins[event, 0], at = read_uint32(buffer, at)
        bins[event, 1], at = read_uint32(buffer, at)
        _, at = read_uint32(buffer, at)
    return at, count


@njit(cache=True, nogil=True)
def compact_events(buffer, at, end, last, count, first, key, limit, out):
    """Write the bytes of valid events that a thinning keeps to out; return (position, events, bytes).

    `first` is the index of the first event in the file.
    """
    size = 0
    for event in range(count):
        if end - at < MAX_EVENT_BYTES and not last:
            return at, event, size
        begin = size
        for _ in range(EVENT_VARINTS):
            while buffer[at] >= 0x80:
                out[size] = buffer[at]
                size, at = size + 1, at + 1
            out[size] = buffer[at]
            size, at = size + 1, at + 1
        if not is_kept(key, first + event, limit):
            size = begin
    return at, count, size


@njit(cache=True, nogil=True)
def count_kept(first, count, key, limit):
    """Return how many of `count` events from index `first` on a thinning keeps."""
    kept = 0
    for event in range(first, first + count):
        kept += is_kept(key, event, limit)
    return kept


@njit(cache=True, nogil=True)
def encode_events(bins, out):
    """Write events of detection bins (N, 2), the larger bin first and TOF bin 0, to out; return the bytes."""
    size = 0
    for event in range(len(bins)):
        a, b = np.int64(bins[event, 0]), np.int64(bins[event, 1])
        for value in (max(a, b), min(a, b), np.int64(0)):
            while value >= 0x80:
                out[size] = value & 0x7F | 0x80
                size, value = size + 1, value >> 7
            out[size] = value
            size += 1
    return size

"""Byte positions in a PETSIRD file: the parts of its header, its time blocks, and their events.

The file is scanned by its schema (`yardl`), events by compiled loops (`events`). Invalid content raises
`yardl.Impossible`, a truncated file `yardl.CutShort`.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import BinaryIO

import numpy as np
import petsird

from csrd.listmode.draw import Keep
from csrd.listmode.petsird.events import (
    CUT_SHORT,
    EVENT_VARINTS,
    SOUND,
    UINT32_MAX,
    check_events,
    compact_events,
    decode_events,
)
from csrd.listmode.petsird.yardl import CutShort, Impossible, Window, stepper

SCHEMA = petsird.PETSIRDReaderBase.schema
EVENT_BLOCK, SIGNAL_BLOCK, BED_BLOCK, GANTRY_BLOCK, DEAD_TIME_BLOCK, SINGLES_BLOCK = range(6)


@dataclass(frozen=True)
class Places:
    """Positions in the header: the efficiencies' description, those of module pairs, and the header's end."""

    description: slice
    pairs: slice
    body: int


@dataclass(frozen=True)
class EventList:
    """Position of a list of coincidences between two types of modules."""

    prompt: bool
    types: tuple[int, int]
    head: int  # the place of its length
    begin: int  # of its first event
    end: int
    events: int


@dataclass(frozen=True)
class Block:
    """Position of a time block; `lists` are those of an event block, in the file's order."""

    kind: int
    begin: int  # the position of the byte with its kind
    end: int
    start_ms: int
    stop_ms: int
    lists: tuple[EventList, ...] = ()


def encoded_varint(value: int) -> bytes:
    """Return an unsigned integer as a varint."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


@cache
def _steps() -> dict:
    """Return how to step over the fields of records, by name, and the kinds of time block, by number."""
    schema = json.loads(SCHEMA)
    step = stepper(schema)
    types = {entry["name"]: entry for entry in schema["types"]}
    records = ("Header", "ScannerInformation", "DetectionEfficiencies", "EventTimeBlock")
    fields = {
        record: {field["name"]: step(field["type"]) for field in types[record]["fields"]}
        for record in records
    }
    cases = types["TimeBlock"]["type"]
    names = [case["tag"] for case in cases]
    assert names[EVENT_BLOCK] == "EventTimeBlock" and names[BED_BLOCK] == "BedMovementTimeBlock", names
    assert list(fields["ScannerInformation"])[-1] == "detectionEfficiencies", "last before the exam"
    assert list(fields["DetectionEfficiencies"])[-1] == "modulePairEfficienciesVectors", "last of these"
    return fields | {"kinds": [step(case["type"]) for case in cases]}


def header_places(window: Window) -> Places:
    """Return the positions in the header that begins here; the window then is after it."""
    steps, at = _steps(), {}
    for name, step in steps["ScannerInformation"].items():
        if name != "detectionEfficiencies":
            step(window)
    for name, step in steps["DetectionEfficiencies"].items():
        begin = window.place
        step(window)
        at[name] = slice(begin, window.place)
    steps["Header"]["exam"](window)
    return Places(at["methodDescription"], at["modulePairEfficienciesVectors"], window.place)


def module_pair_tables(window: Window) -> list[np.ndarray]:
    """Return the tables that begin here of the first type of modules with itself, one a symmetry group.

    Raises InputError, by way of `Grid`, where rows of a table differ in length: then it is empty.
    """
    if window.varint() == 0 or window.varint() == 0:
        return []
    tables = []
    for _ in range(window.length()):
        rows = [window.read(4 * window.varint()) for _ in range(window.length())]
        window.varint()  # the group's number, which is its place in the list
        even = len({len(row) for row in rows}) == 1
        table = np.frombuffer(b"".join(rows), "<f4") if even else np.empty(0, np.float32)
        tables.append(table.reshape(len(rows), -1) if table.size else np.empty((0, 0), np.float32))
    return tables


def read_block(window: Window, bins: tuple[int, ...]) -> Block:
    """Return the time block that begins here; the window then is after it."""
    steps, begin = _steps(), window.place
    kind = window.byte()
    if kind >= len(steps["kinds"]):
        raise Impossible(f"a time block of kind {kind}")
    if kind != EVENT_BLOCK:
        start, stop = _interval(window)
        window.seek(begin + 1)
        steps["kinds"][kind](window)
        return Block(kind, begin, window.place, start, stop)
    start, stop = _interval(window)
    if stop < start:
        raise Impossible(f"a time block from {start} to {stop} ms")
    steps["EventTimeBlock"]["singleEvents"](window)
    lists = (*_lists(window, True, bins), *_lists(window, False, bins))
    steps["EventTimeBlock"]["tripleEvents"](window)
    steps["EventTimeBlock"]["quadrupleEvents"](window)
    return Block(kind, begin, window.place, start, stop, lists)


def _interval(window: Window) -> tuple[int, int]:
    """Return the start and stop of a time block in ms."""
    times = window.varint(), window.varint()
    if max(times) > UINT32_MAX:
        raise Impossible(f"a time of {max(times)} ms")
    return times


def _lists(window: Window, prompt: bool, bins: tuple[int, ...]) -> Iterator[EventList]:
    """Yield the lists of coincidences of an event block, by the types of their modules.

    There is a row for each type, and in it a list for each type up to it. The package's own example writes
    more rows than types (0.12); up to the number of pairs of types is accepted.
    """
    types = len(bins)
    rows = window.length()
    if rows > types * (types + 1) // 2:
        raise Impossible(f"coincidences of {rows} types of modules, of which there are {types}")
    for row in range(rows):
        columns = window.length()
        if columns > types:
            raise Impossible(f"coincidences of {columns} types of modules, of which there are {types}")
        for column in range(columns):
            head = window.place
            events = window.length(EVENT_VARINTS)
            begin = window.place
            _check_list(window, events, bins[min(row, types - 1)], bins[column])
            yield EventList(prompt, (row, column), head, begin, window.place, events)


def _check_list(window: Window, left: int, bins_a: int, bins_b: int) -> None:
    """Step over a list of events; raise CutShort or Impossible where they are not sound."""
    while left:
        window.fill()
        arguments = window.buffer, window.at, window.end, window.at_last
        window.at, done, state = check_events(*arguments, left, bins_a, bins_b)
        if state == CUT_SHORT:
            raise CutShort
        if state != SOUND:
            raise Impossible("an event of crystals that the scanner does not have")
        left -= done


def decoded_bins(window: Window, part: EventList, events: int) -> Iterator[np.ndarray]:
    """Yield the detection bins (N, 2) of a list that was checked, at most `events` at a time."""
    place, left = part.begin, part.events
    while left:
        window.seek(place)
        window.fill()
        bins = np.empty((min(left, events), 2), np.int64)
        arguments = window.buffer, window.at, window.end, window.at_last
        window.at, done = decode_events(*arguments, len(bins), bins)
        place, left = window.place, left - done
        yield bins[:done]


def write_kept(window: Window, part: EventList, first: int, keep: Keep, out: BinaryIO) -> None:
    """Write the events of a list that a thinning keeps."""
    window.seek(part.begin)
    left, kept = part.events, np.empty(len(window.buffer), np.uint8)
    while left:
        window.fill()
        arguments = window.buffer, window.at, window.end, window.at_last
        window.at, done, size = compact_events(*arguments, left, first, keep.key, keep.limit, kept)
        out.write(kept[:size].data)
        first, left = first + done, left - done


def copy_bytes(window: Window, begin: int, end: int, out: BinaryIO) -> None:
    """Write the bytes of the file between two places."""
    window.seek(begin)
    while window.place < end:
        window.fill()
        part = window.buffer[window.at : min(window.end, window.at + end - window.place)]
        out.write(part.data)
        window.at += len(part)

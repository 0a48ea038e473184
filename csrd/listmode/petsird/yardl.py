"""The binary encoding of yardl, which PETSIRD uses: reading and skipping in bounded memory.

Integers are varints: seven bits a byte, the lowest first, bit 7 set in all but the last; signed ones, and
times, in zigzag, which does not matter for skipping. Floating-point numbers are little-endian. A
text is its length and UTF-8. A vector is its length and its items, of fixed length the items alone; an array
of n dimensions its n lengths first. An optional value has a byte 0 or 1 before it, a union the number of its
case. A record is its fields. The schema, JSON, at the beginning of a file defines its content.

A length is accepted only if the file has enough bytes for so many items, so that a damaged file costs neither
memory nor time.
"""

import math
from collections.abc import Callable
from io import BufferedReader
from typing import Any

import numpy as np
from numba import njit

from csrd.errors import InputError

WINDOW_BYTES = 1 << 20
MAX_VARINT_BYTES = 10  # of 64 bits
MAX_DIMENSIONS = 32
FIXED_BYTES = {"float32": 4, "float64": 8, "complexfloat32": 8, "complexfloat64": 16}
FIXED_BYTES |= {"bool": 1, "int8": 1, "uint8": 1}
VARINTS = {"int16", "uint16", "int32", "uint32", "int64", "uint64", "size", "date", "time", "datetime"}


class CutShort(Exception):  # noqa: N818
    """The file is truncated."""


class Impossible(Exception):  # noqa: N818
    """The content is not valid in the format."""


@njit(cache=True, nogil=True)
def pass_varints(buffer, at, end, count):
    """Return (the place behind `count` varints, or behind those that end before `end`; how many are left)."""
    while count and at < end:
        count -= buffer[at] < 0x80
        at += 1
    return at, count


class Window:
    """A file of which `buffer[at:end]` is in memory; it advances with reading.

    A kernel may read `spare` bytes after `end`, and then has to check whether it went too far.
    """

    spare = 64

    def __init__(self, stream: BufferedReader, size: int) -> None:
        self.stream, self.size = stream, size
        self.buffer = np.zeros(WINDOW_BYTES + self.spare, np.uint8)
        self.at = self.end = self.begin = 0  # begin: the place in the file of buffer[0]

    @property
    def place(self) -> int:
        """Return the position in the file."""
        return self.begin + self.at

    @property
    def left(self) -> int:
        """Return how many bytes the file has from here on."""
        return self.size - self.place

    @property
    def at_last(self) -> bool:
        """Return whether the window reaches to the file's end."""
        return self.begin + self.end >= self.size

    def seek(self, place: int) -> None:
        """Continue at a position in the file."""
        if self.begin <= place <= self.begin + self.end:
            self.at = place - self.begin
        else:
            self.at = self.end = 0
            self.begin = place

    def fill(self, wanted: int = WINDOW_BYTES // 2) -> None:
        """Fill the window to at least `wanted` bytes, or all that remain."""
        if self.end - self.at >= wanted or self.at_last:
            return
        rest = self.buffer[self.at : self.end].copy()
        self.begin += self.at
        self.at, self.end = 0, len(rest)
        self.buffer[: self.end] = rest
        try:
            self.stream.seek(self.begin + self.end)
            size = min(WINDOW_BYTES - self.end, self.size - self.begin - self.end)
            got = self.stream.readinto(self.buffer[self.end : self.end + size].data)
        except OSError as error:
            raise InputError(f"cannot read {self.stream.name}: {error.strerror}; copy it again") from None
        if got != size:
            raise InputError(
                f"{self.stream.name} became shorter while it was read; wait for the complete file"
            )
        self.end += got
        self.buffer[self.end : self.end + self.spare] = 0

    def byte(self) -> int:
        """Return the next byte."""
        self.fill(1)
        if self.at >= self.end:
            raise CutShort
        self.at += 1
        return int(self.buffer[self.at - 1])

    def varint(self) -> int:
        """Return the next unsigned integer."""
        value = 0
        for shift in range(0, 7 * MAX_VARINT_BYTES, 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise Impossible("an integer of more than 64 bits")

    def length(self, smallest: int = 1) -> int:
        """Return the next integer, the number of items of at least `smallest` bytes that follow."""
        length = self.varint()
        if length * smallest > self.left:
            raise CutShort
        return length

    def skip(self, count: int) -> None:
        """Skip a number of bytes."""
        if count > self.left:
            raise CutShort
        self.seek(self.place + count)

    def skip_varints(self, count: int) -> None:
        """Skip a number of integers."""
        while count:
            self.fill()
            if self.at >= self.end:
                raise CutShort
            self.at, count = pass_varints(self.buffer, self.at, self.end, count)

    def read(self, count: int) -> bytes:
        """Return the next bytes."""
        if count > self.left:
            raise CutShort
        parts = []
        while count:
            self.fill(1)
            taken = min(count, self.end - self.at)
            parts.append(self.buffer[self.at : self.at + taken].tobytes())
            self.at += taken
            count -= taken
        return b"".join(parts)


Walk = Callable[[Window], None]
Step = tuple[str, int] | Walk  # ("bytes", n), ("varints", n), or a function for any other type


def stepper(schema: dict) -> Callable[[Any], Walk]:
    """Return a function that returns, for a type of the schema, how to skip a value of that type."""
    namespace = schema["protocol"]["name"]
    types = {f"{namespace}.{entry['name']}": entry for entry in schema["types"]}

    def step(kind: Any, given: dict) -> Step:
        if isinstance(kind, str):
            if kind in given:
                return given[kind]
            return _primitive(kind) if kind not in types else named(types[kind], {})
        if isinstance(kind, list):
            return _union([case if case is None else step(_case(case), given) for case in kind])
        if "vector" in kind:
            return _vector(step(kind["vector"]["items"], given), kind["vector"].get("length"))
        if "array" in kind:
            return _array(step(kind["array"]["items"], given), kind["array"].get("dimensions"))
        entry = types[kind["name"]]
        arguments = [step(argument, given) for argument in kind["typeArguments"]]
        return named(entry, dict(zip(entry["typeParameters"], arguments, strict=True)))

    def named(entry: dict, given: dict) -> Step:
        if "values" in entry:  # an enumeration, of int32 by default
            return "varints", 1
        if "fields" in entry:
            return _record([step(field["type"], given) for field in entry["fields"]])
        return step(entry["type"], given)

    return lambda kind: _walk(step(kind, {}))


def _case(case: Any) -> Any:
    return case["type"] if isinstance(case, dict) and "tag" in case else case


def _walk(step: Step) -> Walk:
    if not isinstance(step, tuple):
        return step
    kind, count = step
    if kind == "bytes":
        return lambda window: window.skip(count)
    return lambda window: window.skip_varints(count)


def _primitive(name: str) -> Step:
    if name in FIXED_BYTES:
        return "bytes", FIXED_BYTES[name]
    if name in VARINTS:
        return "varints", 1
    assert name == "string", name
    return lambda window: window.skip(window.length())


def _record(steps: list[Step]) -> Step:
    sized = [step for step in steps if isinstance(step, tuple)]
    kinds = {kind for kind, _ in sized}
    if len(kinds) == 1 and len(sized) == len(steps):
        return kinds.pop(), sum(count for _, count in sized)
    walks = [_walk(step) for step in steps]

    def walk(window: Window) -> None:
        for one in walks:
            one(window)

    return walk


def _items(step: Step, window: Window, count: int) -> None:
    """Skip `count` values of one type."""
    each = step[1] if isinstance(step, tuple) else 1  # every value takes at least a byte
    if count * each > window.left:
        raise CutShort
    if not isinstance(step, tuple):
        for _ in range(count):
            step(window)
    elif step[0] == "bytes":
        window.skip(count * each)
    else:
        window.skip_varints(count * each)


def _vector(step: Step, fixed: int | None) -> Step:
    if fixed is None:
        return lambda window: _items(step, window, window.varint())
    if isinstance(step, tuple):
        return step[0], fixed * step[1]
    return lambda window: _items(step, window, fixed)


def _array(step: Step, dimensions: int | list[dict] | None) -> Step:
    if isinstance(dimensions, list) and all("length" in one for one in dimensions):
        return _vector(step, math.prod(one["length"] for one in dimensions))
    number = len(dimensions) if isinstance(dimensions, list) else dimensions

    def walk(window: Window) -> None:
        axes = window.varint() if number is None else number
        if axes > MAX_DIMENSIONS:
            raise Impossible(f"an array of {axes} dimensions")
        _items(step, window, math.prod(window.varint() for _ in range(axes)))

    return walk


def _union(cases: list[Step | None]) -> Walk:
    """Return how to skip an optional value (its first case None), or one of several types."""
    walks = [None if case is None else _walk(case) for case in cases]

    def walk(window: Window) -> None:
        case = window.byte()
        if walks[0] is None and len(walks) == 2:  # an optional value: there, or not
            case = min(case, 1)
        if case >= len(walks):
            raise Impossible(f"case {case} of a union of {len(walks)}")
        if (chosen := walks[case]) is not None:
            chosen(window)

    return walk

"""Damage to files, as hypothesis draws it, and the bounds within which a reader has to notice it."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import strategies as st

from csrd.errors import InputError

resource = pytest.importorskip("resource", reason="Windows has no limits of processes; it is untried")
EXTREMES = [
    *(b"", b"-1", b"0", b"0.5", b"1e308", b"nan", b"inf", b"4294967296", b"99999999999999999999"),
    *(b"\xff\xfe", b"x" * 300, b"{0,1}", b"../../etc/passwd", b":=", b"\x00"),
]
HUNG_S = 60  # far beyond what any of these small files takes
SPARE_BYTES = 1 << 30

Damage = Callable[[bytes], bytes]


def _at(where: float, content: bytes) -> int:
    return int(where * len(content))


def _flip(where: float, mask: int) -> Damage:
    def damage(content: bytes) -> bytes:
        at = _at(where, content)
        return content[:at] + bytes([content[at] ^ mask]) + content[at + 1 :] if content else content

    return damage


def _replace(where: float, length: int, new: bytes) -> Damage:
    return lambda content: content[: _at(where, content)] + new + content[_at(where, content) + length :]


def _repeat(where: float, length: int, times: int) -> Damage:
    def damage(content: bytes) -> bytes:
        at = _at(where, content)
        return content[:at] + content[at : at + length] * times + content[at + length :]

    return damage


def _value(line: float, new: bytes) -> Damage:
    """Return the damage that gives one of a header's lines another value."""

    def damage(content: bytes) -> bytes:
        lines = content.split(b"\n")
        at = _at(line, lines)
        lines[at] = lines[at].partition(b":=")[0] + b":=" + new
        return b"\n".join(lines)

    return damage


where = st.floats(0, 1, exclude_max=True)
short = st.integers(0, 24)
one = st.one_of(
    st.builds(_flip, where, st.integers(1, 255)),
    st.builds(_replace, where, short, st.one_of(st.binary(max_size=12), st.sampled_from(EXTREMES))),
    st.builds(_repeat, where, short, st.integers(0, 40)),
    where.map(lambda at: lambda content: content[: _at(at, content)]),
)
damages = st.lists(one, min_size=1, max_size=6)
header_damages = st.lists(st.one_of(one, st.builds(_value, where, st.sampled_from(EXTREMES))), max_size=4)


def damaged(content: bytes, by: list[Damage]) -> bytes:
    """Return the content with all damages done, one after another."""
    for damage in by:
        content = damage(content)
    return content


@contextmanager
def bounded() -> Iterator[None]:
    """Let the block end, or end in InputError, within the bounds of time and memory."""
    with open("/proc/self/statm") as stream:
        used = int(stream.read().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    former = signal.signal(signal.SIGALRM, _hung)
    signal.alarm(HUNG_S)
    resource.setrlimit(resource.RLIMIT_AS, (used + SPARE_BYTES, limits[1]))
    try:
        yield
    except InputError as error:
        assert str(error) and "\n" not in str(error), f"not one line: {error}"
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.alarm(0)
        signal.signal(signal.SIGALRM, former)


def _hung(*_: object) -> None:
    raise RuntimeError(f"a reader took more than {HUNG_S} s for a small file")

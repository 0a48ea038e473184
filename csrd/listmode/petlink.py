"""Siemens PETLINK 32-bit list-mode (Biograph mMR, `.l`): read as crystal pairs, and written.

One 32-bit word a packet. Bit 31 clear: an event, prompt if bit 30 is set, else delayed, with the address
of its sinogram bin in [29:0]. Bit 31 set: a tag, of time in ms [28:0] if [30:29] = 00.
"""

import math
from collections.abc import Generator, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numba import njit

from csrd.errors import InputError
from csrd.io.interfile import InterfileHeader, whole_pair
from csrd.listmode.base import Survey, TimingKeys
from csrd.listmode.draw import is_kept
from csrd.listmode.events import DELAYED, OTHER_TAG, PROMPT, TIME_TAG, EventBlock
from csrd.listmode.hrrt import Segment
from csrd.listmode.mmr_bins import (
    BINS,
    MAX_RING_DIFFERENCE,
    NO_LINE,
    RINGS,
    VIEWS,
    address_of,
    coincide,
    crystals_of,
)
from csrd.listmode.packets import PacketListMode
from csrd.listmode.words import CHUNK_WORDS

MMR = "2008"  # the mMR's number as originating system
SCANNERS = {MMR: "Siemens Biograph mMR"}
BIT_30, ADDRESS_MASK, TIME_KIND, MS_MASK = 1 << 30, (1 << 30) - 1, 1 << 31, (1 << 29) - 1
HEADER = InterfileHeader(f"""\
!INTERFILE:=
!originating system:={MMR}
%SMS-MI header name space:=PETLINK bin address
name of data file:=
PET data type:=Emission
data format:=CoincidenceList
isotope gamma halflife (sec):=
isotope branching factor:=
image duration (sec):=
number of rings:={RINGS}
%LM event and tag words format (bits):=32
%timing tagwords interval (msec):=1
%axial compression:=1
%maximum ring difference:={MAX_RING_DIFFERENCE}
%number of projections:={BINS}
%number of views:={VIEWS}
""")
# Values of the mMR's sinogram; a header that has one of these keys must agree.
SINOGRAM = {
    "number of rings": RINGS,
    "axial compression": 1,
    "maximum ring difference": MAX_RING_DIFFERENCE,
    "number of projections": BINS,
    "number of views": VIEWS,
}


@njit(cache=True, nogil=True)
def word_kind(word):
    """Return the kind of the packet that a word is."""
    top = word >> 29
    if top < 4:
        return PROMPT if top >= 2 else DELAYED
    return TIME_TAG if top == 4 else OTHER_TAG


@njit(cache=True, nogil=True)
def count_words(words, counts):
    """Add the packets among words (N,) uint32 to counts (KINDS,) by kind."""
    for word in words:
        counts[word_kind(word)] += 1


@njit(cache=True, nogil=True)
def compact_words(words, key, limit, out, counts, kept):
    """Write the words that a thinning keeps to out; return their number (as `compact_packets` of HRRT)."""
    size = 0
    event = counts[PROMPT] + counts[DELAYED]
    for word in words:
        kind = word_kind(word)
        drawn = kind <= DELAYED
        stays = not drawn or is_kept(key, event, limit)
        out[size] = word
        size += stays
        counts[kind] += 1
        kept[kind] += stays
        event += drawn
    return size


@njit(cache=True, nogil=True)
def decode_words(words, clock, crystals, prompt, time_ms):
    """Write the events among words (N,) that lie on a line to arrays of N rows.

    Return their number and the clock in ms.
    """
    events = 0
    for word in words:
        kind = word_kind(word)
        if kind <= DELAYED:
            a, b = crystals_of(np.int64(word & ADDRESS_MASK))
            if a != NO_LINE and coincide(a, b):
                crystals[events, 0], crystals[events, 1] = min(a, b), max(a, b)
                prompt[events] = kind == PROMPT
                time_ms[events] = clock
                events += 1
        elif kind == TIME_TAG:
            clock = word & MS_MASK
    return events, clock


@njit(cache=True, nogil=True)
def encode_words(crystals, prompt, time_ms, clock, out):
    """Write all events, and the time tags due before them, to out; return (next clock, words written).

    An event without a bin ends it: its index is returned as −1 − index in place of the number of words.
    """
    size = 0
    for event in range(time_ms.size):
        while clock <= time_ms[event]:
            out[size] = TIME_KIND | clock
            size, clock = size + 1, clock + 1
        address = address_of(np.int64(crystals[event, 0]), np.int64(crystals[event, 1]))
        if address == NO_LINE:
            return clock, -1 - event
        out[size] = address | (BIT_30 if prompt[event] else 0)
        size += 1
    return clock, size


class PetlinkListMode(PacketListMode):
    """A PETLINK 32-bit file, whose events are addresses of sinogram bins (see `mmr_bins`)."""

    format = "Siemens PETLINK 32-bit list-mode"
    packet_words = 1
    timing_keys = TimingKeys(
        duration_s="image duration (sec)",
        half_life_s="isotope gamma halflife (sec)",
        branching="isotope branching factor",
    )
    notable = (
        "study date (yyyy:mm:dd)",
        "PET data type",
        "isotope name",
        "radiopharmaceutical",
        "isotope gamma halflife (sec)",
        "image duration (sec)",
        "total listmode word counts",
        "number of projections",
        "number of views",
        "dose reduction factor",
        "thinning seed",
    )
    count = staticmethod(count_words)
    decode = staticmethod(decode_words)
    compact = staticmethod(compact_words)

    @staticmethod
    def tag_times(words: np.ndarray) -> np.ndarray:
        """Return the times in ms of the time tags among words (N,), int64, in their order."""
        return (words[words >> 29 == TIME_KIND >> 29] & MS_MASK).astype(np.int64)

    def notes(self, counts: np.ndarray) -> Iterator[str]:
        """Yield the notes of `PacketListMode.notes`, and one where the header has another number of words."""
        yield from super().notes(counts)
        said, words = self.header.get("total listmode word counts", "").strip(), int(counts.sum())
        if said.isdigit() and int(said) != words:
            yield f"{self.path} has {words} words, but its header says {said}: those in the file are used"

    @property
    def scanner(self) -> str:
        """Return the scanner's name."""
        system = self.header.get("originating system", "unknown")
        return SCANNERS.get(system, f"Siemens {system}")

    @property
    def tag_interval_ms(self) -> float:
        """Return the time between two time tags in ms, from the header."""
        text = self.header.get("timing tagwords interval (msec)", "1")
        try:
            interval = float(text)
        except ValueError:
            interval = math.nan
        if not 0 < interval < math.inf:
            raise InputError(
                f"the header of {self.path} has a timing tagwords interval of '{text}'; give milliseconds"
            )
        return interval

    def blocks(self, events: int = CHUNK_WORDS) -> Generator[EventBlock, None, Survey]:
        """Yield the prompts and delayeds of at most `events` packets at a time, each block its own arrays.

        Addresses beyond the sinogram or on a gap are left out, and so are lines of blocks less than
        `mmr_bins.MIN_BLOCKS_APART` apart. Raises InputError for another scanner or sinogram than the mMR's.
        """
        self._check_sinogram()
        return (yield from super().blocks(events))

    def _check_sinogram(self) -> None:
        """Raise InputError where bins are not those of the mMR's sinogram."""
        system = self.header.get("originating system", "unknown")
        if system not in SCANNERS:
            raise InputError(
                f"{self.path} is from scanner {system}, whose bins are not known: count and thin it, or "
                "reconstruct it by recon.engine: command"
            )
        for key, size in SINOGRAM.items():
            if (said := self.header.get(key, str(size)).strip()) != str(size):
                raise InputError(
                    f"the header of {self.path} says {key} '{said}', but the {SCANNERS[MMR]}'s list-mode has "
                    f"{size}; check that it belongs to the data"
                )


def write_petlink(path: str | Path, segments: Iterable[Segment], header: Mapping[str, object]) -> None:
    """Write events as an mMR's `.l` file with its header beside it, completely or not at all.

    A segment is (crystals (N, 2) uint32, prompt (N,) bool, time_ms (N,) uint32), all in time order. Each
    millisecond up to the header's `image duration (sec)` has its tag, before its events if any.
    `header` overrides and adds entries, except for the data file's name.
    Raises InputError where the files cannot be written; crystals that share no bin are an AssertionError.
    """
    path = Path(path)
    content = HEADER.replace(header)
    end = round(1000 * float(content["image duration (sec)"]))
    assert 0 < end <= MS_MASK, f"a scan of {end} ms"
    clock = words = 0
    with whole_pair(path) as (data_part, header_part):
        with open(data_part, "wb") as stream:
            for crystals, prompt, time_ms in segments:
                last = int(time_ms[-1]) if len(time_ms) else clock - 1
                assert last < end and (np.diff(time_ms.astype(np.int64)) >= 0).all(), f"{last} of {end} ms"
                out = np.empty(len(time_ms) + max(0, last + 1 - clock), dtype="<u4")
                clock, size = encode_words(crystals, prompt, time_ms, clock, out)
                assert size >= 0, f"crystals {crystals[-1 - size]} share no bin"
                stream.write(out[:size].data)
                words += size
            stream.write((np.arange(clock, end, dtype="<u4") | np.uint32(TIME_KIND)).data)
            words += end - clock
        fixed = {"name of data file": path.name, "%total listmode word counts": words}
        header_part.write_bytes(content.replace(fixed).encode())

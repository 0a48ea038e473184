"""Siemens PETLINK 32-bit list-mode (Biograph mMR, `.l`): counted and thinned, not yet reconstructed.

One 32-bit word a packet. Bit 31 clear: an event, prompt if bit 30 is set, else delayed, with the address
of its sinogram bin in [29:0]. Bit 31 set: a tag, of time in ms [28:0] if [30:29] = 00.
"""

from collections.abc import Iterator

from numba import njit

from csrd.errors import InputError
from csrd.listmode.base import ListMode
from csrd.listmode.draw import is_kept
from csrd.listmode.events import DELAYED, OTHER_TAG, PROMPT, TIME_TAG, EventBlock
from csrd.listmode.words import CHUNK_WORDS

SCANNERS = {"2008": "Siemens Biograph mMR"}  # by the header's originating system


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


class PetlinkListMode(ListMode):
    """A PETLINK 32-bit file, whose events are addresses of sinogram bins."""

    format = "Siemens PETLINK 32-bit list-mode"
    packet_words = 1
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
    compact = staticmethod(compact_words)

    @property
    def scanner(self) -> str:
        """Return the scanner's name."""
        system = self.header.get("originating system", "unknown")
        return SCANNERS.get(system, f"Siemens {system}")

    @property
    def tag_interval_ms(self) -> float:
        """Return the time between two time tags in ms, as the header says."""
        text = self.header.get("timing tagwords interval (msec)", "1")
        try:
            return float(text)
        except ValueError:
            raise InputError(
                f"the header of {self.path} has a timing tagwords interval of '{text}'; give milliseconds"
            ) from None

    def blocks(self, packets: int = CHUNK_WORDS) -> Iterator[EventBlock]:
        """Raise InputError: bin addresses are not crystal pairs."""
        raise InputError(
            f"{self.path} is {self.format}, whose events are sinogram bins: it can be counted and thinned; "
            "give HRRT list-mode (.l64) to reconstruct"
        )

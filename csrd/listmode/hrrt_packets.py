"""The packets of HRRT list-mode (`.l64`), compiled: two 32-bit words (w1, w2), 8 bytes.

| w1[31:30] | w2[31:30] | packet                                                |
|-----------|-----------|-------------------------------------------------------|
| 00        | 11        | prompt                                                |
| 00        | 10        | delayed                                               |
| 01        | 10, 11    | tag of the 32 bits w1[15:0], w2[15:0] << 16           |
| otherwise |           | out of sync: continue with the next word              |

An event has crystal x [7:0], ring [15:8] and layer [24:22] of A in w1, of B in w2, and the code of the
pair of heads in w1[18:16], w2[18:16] << 3. Source: the HRRT users' software.

So a packet is exactly a word with bit 31 clear and one with it set: where packets start depends on
nothing before them, and one lost word costs one packet. Here a packet is one int64, w1 | w2 << 32, so
that w2's bit 31 is its sign.
"""

import numpy as np
from numba import njit

from csrd.listmode.draw import is_kept
from csrd.listmode.events import DELAYED, OTHER_TAG, PROMPT, SKIPPED, TIME_TAG, TRANSMISSION

HEADS, LAYERS, RINGS, COLUMNS = 8, 2, 104, 72
CRYSTALS = HEADS * LAYERS * RINGS * COLUMNS
HEAD_CRYSTALS = CRYSTALS // HEADS
# fmt: off
HEAD_PAIRS = (  # of code 1, 2, ...: the lower head is A
    (0, 2), (0, 3), (0, 4), (0, 5), (0, 6), (1, 3), (1, 4), (1, 5), (1, 6), (1, 7),
    (2, 4), (2, 5), (2, 6), (2, 7), (3, 5), (3, 6), (3, 7), (4, 6), (4, 7), (5, 7),
)
# fmt: on
PAIRS = len(HEAD_PAIRS)
PAIR_HEADS = np.array([(0, 0), *HEAD_PAIRS], dtype=np.int64)  # (code, A or B) -> head
PAIR_CODE = np.zeros((HEADS, HEADS), dtype=np.int64)  # (head, head) -> code, 0: not in coincidence
for _code, (_a, _b) in enumerate(HEAD_PAIRS, start=1):
    PAIR_CODE[_a, _b] = PAIR_CODE[_b, _a] = _code

BIT_31, BIT_30 = 1 << 31, 1 << 30
PROMPT_BIT = BIT_30 << 32
LAYER_A, LAYER_B = 7 << 22, 7 << 54  # all three bits set: the transmission source
CLEAR_IN_EVENT = BIT_31 | BIT_30 | 6 << 22 | 6 << 54  # no tag, and layers 0 or 1
# Added to x and ring, this sets bit 7 of their bytes where they lie beyond the head.
ROOM = (128 - COLUMNS | 128 - RINGS << 8) * (1 | 1 << 32)
BITS_0_TO_6, BIT_7 = 0x7F7F * (1 | 1 << 32), 0x8080 * (1 | 1 << 32)
TAG_KIND, TIME_KIND, TIME_MASK = 0xE0000000, 0x80000000, 0x3FFFFFFF
LOW_16 = 0xFFFF

RUN = 256  # packets looked at together, by vector instructions, as long as they are in sync
NONE, ONE = np.uintp(0), np.uintp(1)  # unsigned indices spare a test for negative ones


@njit(cache=True, nogil=True)
def packet_of(w1, w2):
    """Return two words as one packet."""
    return np.int64(w1) | np.int64(w2) << 32


@njit(cache=True, nogil=True)
def pair_code(packet):
    """Return the code of an event's pair of heads, 0–63, of which 1–20 are in use."""
    return packet >> 16 & 7 | packet >> 45 & 56


@njit(cache=True, nogil=True)
def tag_value(packet):
    """Return the 32 bits of a tag."""
    return packet & LOW_16 | packet >> 16 & LOW_16 << 16


@njit(cache=True, nogil=True)
def is_event(packet):
    """Return whether a packet is a prompt or delayed of existing crystals and heads."""
    beyond = ((packet & BITS_0_TO_6) + ROOM | packet) & BIT_7
    code = pair_code(packet)
    return (packet < 0) & ((packet & CLEAR_IN_EVENT | beyond) == 0) & (code >= 1) & (code <= PAIRS)


@njit(cache=True, nogil=True)
def packet_kind(packet):
    """Return the kind of a packet, SKIPPED if its two words form none.

    An event of crystals or heads that do not exist is SKIPPED too. Layer 7 marks an event of the
    transmission source, independent of the other fields.
    """
    if is_event(packet):
        return PROMPT if packet & PROMPT_BIT else DELAYED
    if packet & BIT_31 or packet >= 0:
        return SKIPPED
    if packet & BIT_30:
        return TIME_TAG if tag_value(packet) & TAG_KIND == TIME_KIND else OTHER_TAG
    if packet & LAYER_A == LAYER_A or packet & LAYER_B == LAYER_B:
        return TRANSMISSION
    return SKIPPED


@njit(cache=True, nogil=True)
def crystal_index(head, word):
    """Return ((head · 2 + layer) · 104 + ring) · 72 + x; the front layer is 0 here, 1 in the format."""
    layer = 1 - (word >> 22 & 7)
    return ((head * LAYERS + layer) * RINGS + (word >> 8 & 0xFF)) * COLUMNS + (word & 0xFF)


@njit(cache=True, nogil=True)
def crystal_word(crystal):
    """Return the fields x, ring and layer of a crystal index, in their places in an event's word."""
    column, rest = crystal % COLUMNS, crystal // COLUMNS
    ring, layer = rest % RINGS, rest // RINGS % LAYERS
    return column | ring << 8 | (1 - layer) << 22


@njit(cache=True, nogil=True)
def decode_event(packet):
    """Return the crystal indices (a, b) of an event."""
    code = pair_code(packet)
    return crystal_index(PAIR_HEADS[code, 0], packet), crystal_index(PAIR_HEADS[code, 1], packet >> 32)


@njit(cache=True, nogil=True)
def encode_event(a, b, prompt):
    """Return the words (w1, w2) of an event between crystals a and b, in either order."""
    if a > b:
        a, b = b, a  # the lower head is A
    code = PAIR_CODE[a // HEAD_CRYSTALS, b // HEAD_CRYSTALS]
    w1 = crystal_word(a) | (code & 7) << 16
    w2 = crystal_word(b) | code >> 3 << 16 | BIT_31
    return w1, w2 | BIT_30 if prompt else w2


@njit(cache=True, nogil=True)
def encode_time(ms):
    """Return the words (w1, w2) of a time tag in ms."""
    value = TIME_KIND | ms
    return BIT_30 | value & LOW_16, BIT_31 | value >> 16


@njit(cache=True, nogil=True)
def count_packets(words, counts):
    """Add the packets among words (N,) uint32 to counts (KINDS,) by kind, and the words in none."""
    i = 0
    while i + 1 < words.size:
        kind = packet_kind(packet_of(words[i], words[i + 1]))
        counts[kind] += 1
        i += 1 if kind == SKIPPED else 2
    counts[SKIPPED] += words.size - i


@njit(cache=True, nogil=True)
def decode_packets(words, clock, crystals, prompt, time_ms):
    """Write the events among words (N,) to arrays of N // 2 rows; return their number and the clock in ms."""
    i = events = 0
    while i + 1 < words.size:
        packet = packet_of(words[i], words[i + 1])
        kind = packet_kind(packet)
        if kind <= DELAYED:
            crystals[events, 0], crystals[events, 1] = decode_event(packet)
            prompt[events] = kind == PROMPT
            time_ms[events] = clock
            events += 1
        elif kind == TIME_TAG:
            clock = tag_value(packet) & TIME_MASK
        i += 1 if kind == SKIPPED else 2
    return events, clock


@njit(cache=True, nogil=True)
def mark_events(packets, marks):
    """Write to marks whether each packet is an event; a loop without branches, which vectorises."""
    for k in range(packets.size):
        marks[k] = is_event(packets[k])


@njit(cache=True, nogil=True)
def compact_packets(words, key, limit, out, counts, kept):
    """Write the packets that a thinning keeps to out (≥ N); return the number of words written.

    Adds to counts and kept (KINDS,) by kind; the events counted before give the index of the next.
    Every event is written first, and overwritten if it is not kept, which avoids a branch.
    """
    marks = np.empty(RUN, dtype=np.bool_)
    written = out[: out.size // 2 * 2].view(np.int64)
    i, size = 0, NONE
    first = counts[PROMPT] + counts[DELAYED]
    events = prompts = kept_events = kept_prompts = 0
    while i + 1 < words.size:
        if packet_kind(packet_of(words[i], words[i + 1])) == SKIPPED:
            counts[SKIPPED] += 1
            i += 1
            continue
        packets = words[i : i + 2 * min(RUN, (words.size - i) // 2)].view(np.int64)
        mark_events(packets, marks)
        for k in range(packets.size):
            packet = packets[k]
            written[size] = packet
            if marks[k]:
                stays = is_kept(key, first + events, limit)
                prompt = packet >> 62 & 1
                events += 1
                prompts += prompt
                kept_events += stays
                kept_prompts += stays & prompt
                size += np.uintp(stays)
                i += 2
                continue
            kind = packet_kind(packet)
            if kind == SKIPPED:
                break
            counts[kind] += 1
            kept[kind] += 1
            size += ONE
            i += 2
    counts[SKIPPED] += words.size - i
    counts[PROMPT] += prompts
    counts[DELAYED] += events - prompts
    kept[PROMPT] += kept_prompts
    kept[DELAYED] += kept_events - kept_prompts
    return 2 * np.int64(size)


@njit(cache=True, nogil=True)
def encode_packets(crystals, prompt, time_ms, first, clock, out):
    """Write events from index `first` on, and the time tags due before them, until out (even) is full.

    `clock` is the next millisecond to tag. Return (next event, next clock, words written).
    """
    event, size = first, 0
    while event < time_ms.size and size + 1 < out.size:
        if clock <= time_ms[event]:
            out[size], out[size + 1] = encode_time(clock)
            clock += 1
        else:
            a, b = np.int64(crystals[event, 0]), np.int64(crystals[event, 1])
            out[size], out[size + 1] = encode_event(a, b, prompt[event])
            event += 1
        size += 2
    return event, clock, size


@njit(cache=True, nogil=True)
def first_impossible(crystals):
    """Return the index of the first pair of crystals (N, 2) that cannot be in coincidence, or -1."""
    for event in range(crystals.shape[0]):
        a, b = np.int64(crystals[event, 0]), np.int64(crystals[event, 1])
        if a >= CRYSTALS or b >= CRYSTALS or PAIR_CODE[a // HEAD_CRYSTALS, b // HEAD_CRYSTALS] == 0:
            return event
    return -1

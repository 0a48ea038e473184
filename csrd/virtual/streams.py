"""Random numbers by counter: what a decay draws depends on its own number, not on what others drew.

Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): four words of 32 bits are a
function of a key and a counter. The key is a seed's; the counter holds the number of the decay and of its
part of the body, its kind, and how many words it has drawn. The events of a scan are thus the same on every
device and for any number of threads. One source, compiled for the CPU here and for CUDA in `decays_cuda`; how
words are held until they are drawn is each device's own.
"""

from types import SimpleNamespace

import numba
import numpy as np

QUANTILES = 2048  # of the normal distribution, hence 11 bits each
LOW, HALF, WORD = np.uint64(0xFFFFFFFF), np.uint64(0xFFFF), np.uint64(32)
F0, F1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
S0, S1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
B11, B16, B21, Q = np.uint64(11), np.uint64(16), np.uint64(21), np.uint64(QUANTILES - 1)


def compile_philox(jit):
    """Return Philox4x32-10, compiled by `jit`."""

    @jit
    def philox(c0, c1, c2, c3, k0, k1):
        """Return four words of 32 bits for a counter and a key, all in uint64."""
        for _ in range(10):
            a, b = F0 * c0, F1 * c2
            c0, c1, c2, c3 = (b >> WORD) ^ c1 ^ k0, b & LOW, (a >> WORD) ^ c3 ^ k1, a & LOW
            k0, k1 = (k0 + S0) & LOW, (k1 + S1) & LOW
        return c0, c1, c2, c3

    return philox


def compile_streams(jit, word) -> SimpleNamespace:
    """Return what is drawn from a stream, compiled by `jit`; `word(state)` returns its next 32 bits."""

    @jit
    def uniform(state):
        """Return a uniform number in [0, 1)."""
        return np.int64(word(state)) * (1.0 / 4294967296.0)

    @jit
    def two(state):
        """Return two uniform numbers in (0, 1), of 16 bits each."""
        bits = word(state)
        return (np.int64(bits >> B16) + 0.5) * (1.0 / 65536), (np.int64(bits & HALF) + 0.5) * (1.0 / 65536)

    @jit
    def two_normal(state, quantiles):
        """Return two normal numbers, of the distribution's equally likely `quantiles` (QUANTILES,)."""
        bits = word(state)
        return quantiles[np.int64(bits >> B21)], quantiles[np.int64(bits & Q)]

    @jit
    def shifted(state, quantiles):
        """Return a uniform number in (−1/2, 1/2), of 21 bits, and a normal one."""
        bits = word(state)
        return (np.int64(bits >> B11) + 0.5) * (1.0 / 2097152) - 0.5, quantiles[np.int64(bits & Q)]

    return SimpleNamespace(uniform=uniform, two=two, two_normal=two_normal, shifted=shifted)


# On a CPU the first words of neighbouring decays are computed together, by vector instructions. A state has
# key and counter, the number of words drawn, the decay's column, four later words, and those of all columns.
BLOCKS, RUN = 3, 64
FIRST = 4 * BLOCKS
DRAWN, COLUMN, LATER, WORDS = 6, 7, 8, 12
STATE = WORDS + FIRST * RUN
R1, R2, R3 = np.uintp(RUN), np.uintp(2 * RUN), np.uintp(3 * RUN)

# Without counting of references, which would take longer than all else: a decay calls some ten functions with
# as many arrays each. These functions make no array.
COUNTLESS = {"cache": True, "_nrt": False}

philox = compile_philox(numba.njit(inline="always", **COUNTLESS))
_far = compile_philox(numba.njit(**COUNTLESS))


@numba.njit(**COUNTLESS)
def _fill(state):
    """Compute the first words of the RUN decays around the state's."""
    first = state[3] - state[3] % np.uint64(RUN)
    part, kind, k0, k1 = state[4], state[5], state[0], state[1]
    for block in range(BLOCKS):
        at = np.uintp(WORDS + 4 * block * RUN)  # unsigned: no test for indices counted from the end
        for column in range(RUN):
            a, b, c, d = philox(np.uint64(block), first + np.uint64(column), part, kind, k0, k1)
            i = at + np.uintp(column)
            state[i], state[i + R1], state[i + R2], state[i + R3] = a, b, c, d


@numba.njit(**COUNTLESS)
def begin(state, key, kind, part, decay):
    """Make the state that of a decay, the next of a part or its first, number 0; `key` (2,) uint64."""
    column = decay % RUN
    state[3], state[DRAWN], state[COLUMN] = decay, 0, column
    if column == 0:
        state[0], state[1], state[4], state[5] = key[0], key[1], part, kind
        _fill(state)


@numba.njit(inline="always", **COUNTLESS)
def _word(state):
    drawn = state[DRAWN]
    state[DRAWN] = drawn + np.uint64(1)
    if drawn < np.uint64(FIRST):
        return state[np.uint64(WORDS) + drawn * np.uint64(RUN) + state[COLUMN]]
    lane = drawn & np.uint64(3)
    if lane == np.uint64(0):
        a, b, c, d = _far(drawn >> np.uint64(2), state[3], state[4], state[5], state[0], state[1])
        state[LATER], state[LATER + 1], state[LATER + 2], state[LATER + 3] = a, b, c, d
    return state[np.uint64(LATER) + lane]


streams = compile_streams(numba.njit(inline="always", **COUNTLESS), _word)


def stream(seed: int, decay: int = 0) -> np.ndarray:
    """Return the state of one decay, by itself."""
    state = np.zeros(STATE, np.uint64)
    state[0], state[1], state[3], state[COLUMN] = seed & 0xFFFFFFFF, seed >> 32, decay, decay % RUN
    _fill(state)
    return state


def key_of(seeds: np.random.SeedSequence) -> np.ndarray:
    """Return the key of a seed, (2,) uint64 of 32 bits each."""
    return seeds.generate_state(2, np.uint32).astype(np.uint64)

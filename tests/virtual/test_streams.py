"""Philox4x32-10 against the known answers of its authors, and what is drawn from it."""

import numpy as np
import pytest
from scipy.stats import kstest

from csrd.virtual.decays import normal_quantiles
from csrd.virtual.streams import FIRST, philox, stream, streams

ANSWERS = [  # of Random123's kat_vectors: counter, key, result
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "result"), ANSWERS)
def test_known_answers(counter, key, result):
    assert philox(*(np.uint64(word) for word in (*counter, *key))) == result


def test_the_words_are_those_of_successive_counters():
    state = stream(0)
    words = [streams.uniform(state) * 2**32 for _ in range(FIRST + 8)]
    assert words[:4] == list(ANSWERS[0][2])
    for block in range(FIRST // 4 + 2):  # some are computed with the neighbours', later ones alone
        expected = philox(*(np.uint64(n) for n in (block, 0, 0, 0, 0, 0)))
        assert words[4 * block : 4 * block + 4] == list(expected)


def test_decays_draw_independent_numbers():
    first = np.array([streams.uniform(stream(7, decay)) for decay in range(20_000)])
    assert kstest(first, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 0.02


def test_numbers_of_fewer_bits_have_their_laws():
    state, quantiles = stream(3), normal_quantiles()
    uniform = np.array([streams.two(state) for _ in range(20_000)])
    normal = np.array([streams.two_normal(state, quantiles) for _ in range(20_000)])
    shift = np.array([streams.shifted(state, quantiles) for _ in range(20_000)])
    for numbers, law in ((uniform, "uniform"), (normal, "norm"), (shift[:, :1] + 0.5, "uniform")):
        for column in numbers.T:
            assert kstest(column, law).pvalue > 0.01
    assert kstest(shift[:, 1], "norm").pvalue > 0.01
    for pair in (uniform, normal, shift):
        assert abs(np.corrcoef(pair.T)[0, 1]) < 0.02
    assert uniform.min() > 0 and uniform.max() < 1 and abs(shift[:, 0]).max() < 0.5

"""What the tests of this folder make their files of."""

import numpy as np

from csrd.listmode.hrrt_packets import HEAD_CRYSTALS, HEAD_PAIRS
from csrd.seeds import generator

PETLINK_HEADER = (
    "!INTERFILE:=\n!originating system:=2008\n%SMS-MI header name space:=PETLINK bin address\n"
    "name of data file := scan.l\nPET data type:=Emission\ndata format:=CoincidenceList\n"
    "%total listmode word counts:=999\n%LM event and tag words format (bits):=32\n"
    "%timing tagwords interval (msec):=1\n"
)


def random_events(count: int, duration_ms: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return events over all pairs of heads and both orders: crystals, prompt (a third not), time_ms."""
    rng = generator(1, "listmode-tests", count)
    heads = rng.permuted(np.array(HEAD_PAIRS)[rng.integers(len(HEAD_PAIRS), size=count)], axis=1)
    crystals = heads * HEAD_CRYSTALS + rng.integers(HEAD_CRYSTALS, size=(count, 2))
    time_ms = np.sort(rng.integers(duration_ms, size=count))
    return crystals.astype(np.uint32), rng.random(count) < 0.67, time_ms.astype(np.uint32)

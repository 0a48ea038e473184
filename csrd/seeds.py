"""Random generators, seeded by their purpose and independent of the order of jobs."""

import hashlib

import numpy as np


def seed_sequence(seed: int, *names: str | float) -> np.random.SeedSequence:
    """Return the seed sequence of one purpose, e.g. ``seed_sequence(2024, "thin", "sub-01", 4)``.

    The names are hashed (SHA-256), so that the seed depends on each of them and on nothing else.
    """
    text = "\0".join(str(part) for part in (seed, *names))
    digest = hashlib.sha256(text.encode()).digest()
    return np.random.SeedSequence(int.from_bytes(digest[:16], "little"))


def generator(seed: int, *names: str | float) -> np.random.Generator:
    """Return numpy's default generator for one purpose (see `seed_sequence`)."""
    return np.random.default_rng(seed_sequence(seed, *names))


def key64(seed: int, *names: str | int) -> int:
    """Return a 64-bit key for counter-based streams (see `seed_sequence`)."""
    return int(seed_sequence(seed, *names).generate_state(1, np.uint64)[0])

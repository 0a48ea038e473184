"""Small list-mode files to test on, in the formats' real layouts."""

from pathlib import Path

import numpy as np
import pytest
from listmode_samples import PETLINK_HEADER, random_events

from csrd.listmode import write_hrrt
from csrd.seeds import generator


@pytest.fixture
def hrrt(tmp_path: Path) -> Path:
    """Return an `.l64` of 20,000 events in 500 ms, with its header."""
    path = tmp_path / "scan.l64"
    write_hrrt(path, [random_events(20_000, 500)], {"isotope halflife": 1224.0}, duration_ms=500)
    return path


@pytest.fixture
def petlink(tmp_path: Path) -> Path:
    """Return a `.l` of 5,000 packets, with its header: in 200 ms, with one tag of another kind."""
    rng = generator(1, "petlink-tests")
    words = rng.integers(1 << 31, size=5000).astype("<u4")
    words[::25] = (1 << 31) + np.arange(200)
    words[7] = 5 << 29
    path = tmp_path / "scan.l"
    words.tofile(path)
    Path(f"{path}.hdr").write_text(PETLINK_HEADER)
    return path

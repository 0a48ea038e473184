"""What tests of several rooms need."""

from pathlib import Path

import pytest


@pytest.fixture
def mmr_sample() -> Path:
    """Return the real mMR sample that may lie beside the repository, or skip."""
    path = Path(__file__).parents[1] / "../shared/data/mmr/sample.l"
    if not path.exists():
        pytest.skip("the mMR sample is not here")
    return path

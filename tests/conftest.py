"""What tests of several rooms need."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Readers on damaged files (tests/fuzz): a few here, and the long run by --hypothesis-profile=long
QUIET = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("short", max_examples=60, derandomize=True, **QUIET)
settings.register_profile("long", max_examples=10_000, **QUIET)
settings.load_profile("short")


@pytest.fixture
def mmr_sample() -> Path:
    """Return the real mMR sample that may lie beside the repository, or skip."""
    path = Path(__file__).parents[1] / "../shared/data/mmr/sample.l"
    if not path.exists():
        pytest.skip("the mMR sample is not here")
    return path

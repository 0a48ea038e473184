"""Fixtures of several test packages: Snakemake as a user runs it, damaged files, a real sample."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

REPOSITORY = Path(__file__).parents[1]
SNAKEMAKE = Path(sys.executable).with_name("snakemake")

Run = Callable[..., subprocess.CompletedProcess]


@pytest.fixture(scope="session")
def study(tmp_path_factory) -> Path:
    """Return a folder that looks like a clone, in which nothing has been computed."""
    folder = tmp_path_factory.mktemp("study")
    for name in ("workflow", "config"):
        (folder / name).symlink_to(REPOSITORY / name)
    return folder


@pytest.fixture(scope="session")
def snakemake(study) -> Run:
    """Return a function that runs snakemake there with the given arguments; its output is one text."""

    def run(*arguments: str, check: bool = True) -> subprocess.CompletedProcess:
        done = subprocess.run(
            [SNAKEMAKE, *arguments],
            cwd=study,
            env=os.environ | {"COLUMNS": "200"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert not check or done.returncode == 0, done.stdout[-5000:]
        return done

    return run


@pytest.fixture(scope="session")
def results(snakemake, study) -> Path:
    """Return the results of config/test.yaml, computed once for every test that asks."""
    snakemake("--cores", "all", "--configfile", "config/test.yaml")
    return study / "results-test"


# Readers on damaged files (tests/fuzz): a few here, and the long run by --hypothesis-profile=long
QUIET = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("short", max_examples=60, derandomize=True, **QUIET)
settings.register_profile("long", max_examples=10_000, **QUIET)
settings.load_profile("short")


@pytest.fixture
def mmr_sample() -> Path:
    """Return the real mMR sample that may lie beside the repository, or skip."""
    path = REPOSITORY / "../shared/data/mmr/sample.l"
    if not path.exists():
        pytest.skip("the mMR sample is not here")
    return path


CHAIN = "tests/chain"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest group, whose tests share the results of config/test.yaml."""
    items.sort(key=lambda item: not item.nodeid.startswith(CHAIN))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Return how `make test` divides the tests among processes: by folders, whose fixtures they share."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFolder(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return nodeid.partition("::")[0].rpartition("/")[0]

    return ByFolder(config, log)


SYSTEMS = {"linux": sys.platform == "linux", "posix": sys.platform != "win32"}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what is marked for a system that this is not; docs/install.md lists it."""
    for marker, here in SYSTEMS.items():
        if not here and item.get_closest_marker(marker):
            pytest.skip(f"needs {marker}; this is {sys.platform}, where it is untried")

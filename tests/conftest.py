"""Snakemake run as a user runs it, in a folder that borrows the repository's workflow and config."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

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

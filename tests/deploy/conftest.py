"""Folders in which the workflow is used as others use it, and a study of seconds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import REPOSITORY

SMALLEST = {
    "results_dir": "results",
    "drfs": [4],
    "methods": ["lowdose", "tv", "csrd"],
    "acquisition": {"duration_s": 2, "phantom_voxel_mm": 4.875},
    "recon": {"voxel_mm": 6.5, "matrix": [36, 42, 36], "iterations": 1, "subsets": 4, "subject_lines": 2e5},
    "align": {"shape": [32, 36, 32]},
    "csrd": {"training": {"steps": 4}},
}
"""Differences from config/test.yaml."""
NOT_TESTED = "NOT TESTED, for want of packages that are not in the environment: make test-deploy"


@pytest.fixture(scope="session")
def smallest(tmp_path_factory) -> Path:
    """Return the file with the settings of the smallest study, on top of config/test.yaml."""
    path = tmp_path_factory.mktemp("settings") / "smallest.yaml"
    path.write_text(yaml.safe_dump(SMALLEST))
    return path


def snakemake(folder: Path, *words: object, **variables: str) -> str:
    """Run snakemake in a folder by the tests' Python, and return its output."""
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *map(str, words)],
        cwd=folder,
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    return done.stdout


def environment(**variables: str) -> dict[str, str]:
    """Return the environment of a program that is to import this csrd, with further variables."""
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path])} | variables

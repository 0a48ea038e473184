"""The presets with the real programs, where they are on the PATH: images as by the embedded engine."""

import json
import os
import shutil
import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = {"yrt": "yrtpet_reconstruct", "castor": "castor-recon", "stir": "OSMAPOSL"}
CASES = [("yrt", "HRRT"), ("castor", "HRRT"), ("yrt", "mMR"), ("castor", "mMR"), ("stir", "mMR")]
NRMSE, TOTAL = 0.08, 0.01  # against the embedded engine, after a filter of 5 mm on both


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Return a function that returns the rows of benchmarks/engines.py on a virtual scan."""
    folder = tmp_path_factory.mktemp("programs")

    def measured(scan: str) -> list[dict]:
        found = [engine for engine, of in CASES if of == scan and shutil.which(PROGRAMS[engine])]
        arguments = ["--scans", scan, "--engines", *found, "--json", folder / f"{scan}.json"]
        command = [sys.executable, ROOT / "benchmarks/engines.py", folder, *arguments]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads((folder / f"{scan}.json").read_text())

    return cache(measured)


@pytest.mark.long
@pytest.mark.parametrize(("engine", "scan"), CASES)
def test_the_programs_image_is_the_embedded_engines(engine, scan, rows):
    program = PROGRAMS[engine]
    if shutil.which(program) is None:
        text = f"NOT TESTED: {program} is not on the PATH, so config/recon/{engine}.yaml was not run with it"
        warnings.warn(text, stacklevel=1)
        pytest.skip(text)
    if engine == "castor" and "CASTOR_CONFIG" not in os.environ:
        pytest.fail("castor-recon is on the PATH, but CASTOR_CONFIG is not set to its config folder")
    found = [row for row in rows(scan) if row["engine"] == engine]
    assert [row["dose"] for row in found] == ["1/1", "1/4"]
    for row in found:
        assert row["nrmse"] < NRMSE and abs(row["total"] - 1) < TOTAL, row
        assert "Correlation" in row["check"], row

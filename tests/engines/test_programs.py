"""The presets with the real programs, where they are on the PATH: their images are as near to the truth."""

import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = {"yrt": "yrtpet_reconstruct", "castor": "castor-recon", "stir": "OSMAPOSL"}
TRUTH, TOTAL = 1.05, 0.02  # NRMSE to the truth over the embedded engine's; total against the embedded engine


@pytest.mark.long
@pytest.mark.parametrize("engine", PROGRAMS)
def test_the_programs_image_is_as_near_to_the_truth_as_the_embedded_engines(engine, tmp_path):
    program = PROGRAMS[engine]
    if shutil.which(program) is None:
        text = f"NOT TESTED: {program} is not on the PATH, so config/recon/{engine}.yaml was not run with it"
        warnings.warn(text, stacklevel=1)
        pytest.skip(text)
    if engine == "castor" and "CASTOR_CONFIG" not in os.environ:
        pytest.fail("castor-recon is on the PATH, but CASTOR_CONFIG is not set to its config folder")
    scan = "mMR" if engine == "stir" else "HRRT"
    arguments = ["--seconds", "10", "--scans", scan, "--engines", engine, "--json", tmp_path / "rows.json"]
    command = [sys.executable, ROOT / "benchmarks/engines.py", tmp_path / "scans", *arguments]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "rows.json").read_text())
    assert [row["dose"] for row in found] == ["1/1", "1/4"]
    for row in found:
        assert row["nrmse_truth"] < TRUTH * row["embedded_nrmse_truth"], row
        assert abs(row["total"] - 1) < TOTAL and "Correlation" in row["check"], row

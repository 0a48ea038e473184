"""The tutorial's commands as they are written, on a miniature of its dataset, from a server of one's own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from csrd.io.tables import read_tsv
from tests.docs.conftest import blocks
from tests.kinetics.study import bp, write_study
from tests.openneuro_server import CLIENT, serving


def program() -> str:
    """Return the OpenNeuro client; skip where `make openneuro` has not installed it."""
    place = Path(sys.executable).parent.parent / "openneuro" / "bin"
    found = shutil.which("openneuro-py", path=os.pathsep.join([str(place), os.environ["PATH"]]))
    if found is None:
        pytest.skip("openneuro-py is not installed: make openneuro installs it")
    return found


@pytest.mark.long
def test_every_command_as_written(tmp_path):
    client, desk = program(), tmp_path / "desk"
    (desk / "openneuro" / "bin").mkdir(parents=True)
    (desk / "openneuro" / "bin" / "openneuro-py").symlink_to(client)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(CLIENT)
    root, _ = write_study(tmp_path / "source")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    python = os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])
    texts = [text.replace("\\\n", " ") for page, text in blocks("sh") if page == "tutorial.md"]
    lines = [line for text in texts for line in text.splitlines()]
    installs = [line for line in lines if line.startswith(("python3 -m venv", "openneuro/bin/pip"))]
    assert len(lines) == 8 and len(installs) == 2
    with serving(root, "ds001420") as server:
        env = os.environ | {"PATH": path, "PYTHONPATH": python, "TEST_OPENNEURO": server.api}
        for line in lines:
            if line not in installs:
                done = subprocess.run(line, shell=True, cwd=desk, env=env, capture_output=True, text=True)
                assert done.returncode == 0, f"{line}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    out = desk / "ds001420" / "derivatives" / "csrd"
    rows = {(row["method"], row["region"]): row for _, row in read_tsv(out / "csrd_retest.tsv", "").rows}
    for region, within in (("putamen", 0.3), ("thalamus", 0.3)):
        expected = np.mean([bp(region, subject, "ses-baseline") for subject in ("sub-01", "sub-02")])
        assert float(rows["input", region]["BPND_test"]) == pytest.approx(expected, rel=within)
        assert float(rows["input", region]["difference"]) == pytest.approx(-5.1, abs=3)
        assert rows["csrd", region]["people"] == "2"
    by_hand = {row["name"]: row for _, row in read_tsv(desk / "clean_bp.tsv", "").rows}
    of_run = read_tsv(out / "csrd_bpnd.tsv", "").rows
    same = [r for _, r in of_run if (r["scan"], r["method"]) == ("sub-01_ses-baseline", "csrd")]
    for row in same:
        assert float(row["BPND"]) == pytest.approx(float(by_hand[row["region"]]["BPND"]), abs=0.05)

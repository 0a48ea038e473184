"""An outside program ends with its children, and its folder goes, when this process is to end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from csrd.listmode import write_hrrt

ENGINE = """import subprocess, sys, tempfile, time
tempfile.mkdtemp()
child = "import os, sys, time\\nopen(sys.argv[1], 'w').write(str(os.getpid()))\\ntime.sleep(600)"
subprocess.Popen([sys.executable, "-c", child, sys.argv[1]])
time.sleep(600)
"""
SETTINGS = """recon:
  engine: command
  command:
    run: '"{python}" "{folder}/engine.py" "{folder}/child" {{listmode}} {{output}}'
    unit: relative
    scales_dose: csrd
  matrix: [8, 8, 8]
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_engine_and_children_and_removes_the_folder(number, tmp_path):
    (tmp_path / "engine.py").write_text(ENGINE)
    (tmp_path / "mine.yaml").write_text(SETTINGS.format(python=sys.executable, folder=tmp_path))
    (tmp_path / "temporary").mkdir()
    event = np.array([[0, 4 * 14_976]], np.uint32), np.ones(1, bool), np.zeros(1, np.uint32)
    write_hrrt(tmp_path / "scan.l64", [event], {"image duration": 0.01})
    files = [str(tmp_path / name) for name in ("scan.l64", "image.nii.gz", "mine.yaml")]
    # a test run behind nohup or in the background has the signals ignored, and hands that down
    program = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL); "
    program += "signal.signal(signal.SIGINT, signal.default_int_handler); from csrd.cli import main; main()"
    words = [sys.executable, "-c", program, "recon", *files[:2], "--config", files[2], "--subject", "sub-1"]
    environment = os.environ | {"TMPDIR": str(tmp_path / "temporary")}
    caller = subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL)
    pid = written(tmp_path / "child")
    (folder,) = (tmp_path / "temporary").iterdir()
    assert len(list(folder.iterdir())) == 1, "the engine's own temporary folder is inside"
    caller.send_signal(number)
    assert caller.wait(30) in (-number, 128 + number), "the usual status"
    assert not list((tmp_path / "temporary").iterdir())
    assert gone(pid), "the engine's child"


def written(path: Path) -> int:
    """Return the process number that a file will hold."""
    for _ in range(600):
        if path.exists() and path.read_text():
            return int(path.read_text())
        time.sleep(0.05)
    raise AssertionError(f"{path} was not written")


def gone(pid: int) -> bool:
    """Return whether a process has ended, or ends within some seconds."""
    for _ in range(100):
        state = Path(f"/proc/{pid}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False

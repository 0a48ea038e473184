"""Check, measure and train on a GPU machine, in phases that each end in time: one command, one JSON.

    python benchmarks/gpu OUT [--phases right fast useful] [--minutes 8] [--device cpu --tiny]

The cohort of config/gpu.yaml, from heads of `home.py heads`, in calls that each end within ten minutes; the
first is repeated until all heads are done:

    STATE=results-gpu/state
    python benchmarks/gpu OUT --phases scans --heads HEADS.npz --state $STATE
    python benchmarks/gpu OUT --phases useful --preset gpu --pack $STATE/pack.npz --state $STATE
    python benchmarks/gpu OUT --phases denoise --state $STATE

The machine may be bare: torch, triton, numpy, scipy, safetensors, numba and numba-cuda are enough, and
nothing is downloaded. OUT/gpu.json holds the card, the commit, the date and each phase's figures;
OUT/weights-*.safetensors and OUT/history.jsonl are what a training leaves (see home.py). A phase that
reaches its limit is ended, and what it had measured stands in the JSON; a second call adds to it. With
`--device cpu --tiny` the same runs on a CPU at sizes that take seconds, CUDA kernels in numba's simulator.
Some versions of numba-cuda need numpy < 2.5: bring a wheel.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LIMITS_S = {"right": 150, "fast": 430, "useful": 590, "scans": 590, "denoise": 300}  # of a phase, on a GPU
MEASURING = ("right", "fast")  # the other phases take what is left of the command line
DEFAULT = ("right", "fast", "useful")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder for gpu.json and what was trained")
    parser.add_argument("--phases", nargs="+", choices=list(LIMITS_S), default=list(DEFAULT))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="miniature sizes, for a test of this driver")
    parser.add_argument("--limit", type=float, help="seconds for each phase, in place of the driver's own")
    parser.add_argument("--commit", default=_commit(), help="what stands in the JSON, where git is missing")
    parser.add_argument("--only", default="", help="a pattern: measure the figures that match it alone")
    given, rest = parser.parse_known_args()  # what is left is the training's (see useful.py)
    given.out.mkdir(parents=True, exist_ok=True)
    result = given.out / "gpu.json"
    content = json.loads(result.read_text()) if result.exists() else {}
    failed = []
    for phase in given.phases:
        part = given.out / f"{phase}.part.json"
        part.unlink(missing_ok=True)
        status = _run(phase, part, given, [] if phase in MEASURING else rest)
        measured = json.loads(part.read_text()) if part.exists() else {}
        content |= {"commit": given.commit, phase: content.get(phase, {}) | measured}
        content[phase]["status"] = status
        result.write_text(json.dumps(content, indent=1))
        part.unlink(missing_ok=True)
        failed += [] if status == "finished" else [phase]
        print(f"{phase}: {status}", flush=True)
    return 1 if failed else 0


def _run(phase: str, part: Path, given: argparse.Namespace, rest: list[str]) -> str:
    """Run a phase in a process of its own; return "finished", or how it ended instead."""
    command = [
        sys.executable,
        HERE / f"{phase}.py",
        part,
        "--device",
        given.device,
        "--only",
        given.only,
        *rest,
    ]
    command += ["--tiny"] if given.tiny else []
    command += ["--out", given.out] if phase in ("useful", "denoise") else []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    if given.device == "cpu":
        environment["NUMBA_ENABLE_CUDASIM"] = "1"
    limit = given.limit or LIMITS_S[phase]
    try:
        status = subprocess.run([str(word) for word in command], env=environment, timeout=limit).returncode
    except subprocess.TimeoutExpired:
        return f"ended at its limit of {limit:g} s"
    return "finished" if status == 0 else f"failed with status {status}"


def _commit() -> str:
    """Return the checkout's commit, "unknown" outside one."""
    if (git := shutil.which("git")) is None:
        return "unknown"
    command = [git, "describe", "--always", "--dirty"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return run.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())

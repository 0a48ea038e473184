"""A workflow that is killed again and again ends in the numbers of one that is left alone.

    pytest -m long -s tests/workflow/test_interruption.py

prints when what was killed. A seed in the variable SEED repeats the moments.
"""

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml

from csrd.io.files import read_json
from tests.conftest import REPOSITORY, SNAKEMAKE

pytestmark = [pytest.mark.long, pytest.mark.linux]

SMALLER = {
    "results_dir": "results",
    "drfs": [4],
    "methods": ["lowdose", "tv", "unet", "csrd"],
    "acquisition": {"duration_s": 2, "phantom_voxel_mm": 4.875},
    "recon": {"voxel_mm": 6.5, "matrix": [36, 42, 36], "iterations": 1, "subsets": 4, "subject_lines": 2e5},
    "align": {"shape": [32, 36, 32]},
    "unet": {"training": {"steps": 30}},
}
COMMAND = SNAKEMAKE, "--cores", "2", "--configfile", "config/test.yaml", "smaller.yaml"
STAGES = (  # by their scripts
    "simulate_anatomy",
    "simulate_scan",
    "thin",
    "geometric_sensitivity",
    "subject_sensitivity",
    "estimate_scatter",
    "reconstruct",
    "align",
    "fit",
    "predict",
    "evaluate",
    "table1",
    "report",
)
RULES = {"simulate_scan": "acquire", "predict": "denoise"}  # whose names differ from their scripts'
SAME = ("metrics/metrics.csv", "metrics/coverage.csv", "tables/table1.csv", "tables/statistics.csv")


def clone(folder: Path) -> Path:
    """Return a folder that looks like a clone."""
    folder.mkdir()
    for name in ("workflow", "config"):
        (folder / name).symlink_to(REPOSITORY / name)
    (folder / "smaller.yaml").write_text(yaml.safe_dump(SMALLER))
    return folder


def workers(folder: Path) -> dict[int, str]:
    """Return the living jobs of the workflow in `folder`: their scripts by process."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        for word in words:
            if word.startswith(f"{folder}/.snakemake/scripts/"):
                found[int(entry.name)] = word.split(".")[-2]
    return found


def durations(results: Path) -> dict[str, float]:
    """Return the longest time in s that each script took."""
    found = {}
    for stage in STAGES:
        rule = RULES.get(stage, stage)
        tables = [*results.glob(f"benchmarks/{rule}/*.tsv"), *results.glob(f"benchmarks/{rule}.tsv")]
        found[stage] = max(float(pd.read_csv(path, sep="\t")["s"].iloc[0]) for path in tables)
    return found


def until_any(folder: Path, run: subprocess.Popen, wanted: set[str]) -> str | None:
    """Return the first wanted script at work, or None once the workflow has ended."""
    while run.poll() is None:
        if at_work := sorted(wanted & set(workers(folder).values())):
            return at_work[0]
        time.sleep(0.02)
    return None


class Interrupted:
    """A workflow that is started by one command, time and again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "said.log"

    def start(self) -> subprocess.Popen:
        with open(self.log, "a") as stream:
            return subprocess.Popen(
                COMMAND, cwd=self.folder, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
            )

    def kill(self, run: subprocess.Popen, whole: bool) -> None:
        """Kill the process group, or the workflow alone."""
        (os.killpg if whole else os.kill)(run.pid, signal.SIGKILL)
        run.wait()
        while whole and workers(self.folder):
            time.sleep(0.02)

    def said(self) -> str:
        return self.log.read_text()


def kills(one: Interrupted, draw: random.Random, lengths: dict[str, float]) -> Iterator[tuple[str, str]]:
    """Kill once at work on each stage, twice at the start, and once a trainer's workflow alone."""
    for _ in range(2):
        run, after = one.start(), draw.uniform(0, 4)
        time.sleep(after)
        one.kill(run, whole=True)
        yield "start", f"{after:.1f} s after the command"
    left, orphaned = set(STAGES), False
    while left:
        run = one.start()
        stage = until_any(one.folder, run, left)
        assert stage, f"ended before {left} were seen:\n{one.said()[-3000:]}"
        after = draw.uniform(0, lengths[stage])
        time.sleep(after)
        if run.poll() is not None:
            left.remove(stage)
            continue
        one.kill(run, whole=True)
        left.remove(stage)
        yield stage, f"{after:.1f} s into the job"
        if stage == "fit" and not orphaned:
            run, orphaned = one.start(), True
            assert until_any(one.folder, run, {"fit"})
            after = draw.uniform(0, lengths["fit"])
            time.sleep(after)
            one.kill(run, whole=False)
            yield "fit", f"{after:.1f} s into the job, the workflow alone"


def test_kills_at_random_moments_change_no_number(tmp_path):
    undisturbed = clone(tmp_path / "undisturbed")
    subprocess.run(COMMAND, cwd=undisturbed, check=True)
    whole = undisturbed / "results"

    seed = int(os.environ.get("SEED", random.randrange(10**6)))
    print(f"\nSEED={seed}")
    one = Interrupted(clone(tmp_path / "interrupted"))
    moments = []
    for stage, when in kills(one, random.Random(seed), durations(whole)):
        moments.append(stage)
        print(f"killed {len(moments)}: {stage}, {when}", flush=True)
    for _ in range(3):  # an orphan that still saves its state refuses a second trainer
        if one.start().wait() == 0:
            break
        assert "is in use by process" in one.said()
    else:
        pytest.fail(one.said()[-3000:])
    assert len(moments) >= 10, moments

    results = one.folder / "results"
    for name in SAME:
        assert (results / name).read_bytes() == (whole / name).read_bytes(), name
    ran, undisturbed_ran = read_json(results / "run.json"), read_json(whole / "run.json")
    for part in ("config_sha256", "inputs", "outcome"):
        assert ran[part] == undisturbed_ran[part], part
    assert "removed the lock" in one.said()
    assert not list(results.rglob("*_part[0-9]*")), "what a kill left half written"
    assert not list(results.rglob("*_drf-4_listmode.l64*")), "thinned list-mode is temporary"
    done = subprocess.run([*COMMAND, "-n"], cwd=one.folder, capture_output=True, text=True, check=True)
    assert "Nothing to be done" in done.stdout + done.stderr

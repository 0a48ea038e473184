"""The SLURM profile on a SLURM of one node: two trainings are ended midway, and the table is the local run's.

    make test-cluster

Skipped, with the reason, where SLURM cannot be started: no root, no packages, or a real cluster's machine.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from safetensors import safe_open

from csrd.train.checkpoint import LOCK

REPOSITORY = Path(__file__).parents[2]
pytestmark = [pytest.mark.long, pytest.mark.linux]
ONE_NODE = Path(__file__).with_name("one_node_slurm.sh")
CANNOT = 3  # the script's status where it is no use to try
SKIPPED = "THE SLURM PROFILE WAS NOT TESTED"  # loud: the log of a long run is read from afar
PATIENCE_S = 1800
# one thread each, as in the local run: the node is small, and weights depend on the threads of a training
THREADS = [
    f"{rule}=1"
    for rule in (
        "geometric_sensitivity",
        "subject_sensitivity",
        "acquire",
        "estimate_scatter",
        "reconstruct",
        "fit",
        "tune",
    )
]
ARGUMENTS = [
    *("--workflow-profile", "workflow/profiles/slurm", "--configfile", "config/test.yaml"),
    *("--set-threads", *THREADS),
    *("--slurm-status-command", "squeue", "--slurm-no-account"),  # there is no accounting
    *("--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "5"),
]


@pytest.fixture(scope="module")
def slurm():
    """Start SLURM, and end it."""
    pytest.importorskip("snakemake_executor_plugin_slurm", reason=f"{SKIPPED}: no executor; make slurm")
    up = subprocess.run([ONE_NODE, "up"], capture_output=True, text=True)
    if up.returncode == CANNOT:
        pytest.skip(f"{SKIPPED}: {up.stderr.strip()}")
    assert up.returncode == 0, up.stderr
    yield
    subprocess.run([ONE_NODE, "down"], check=True)


@pytest.fixture(scope="module")
def cluster(slurm, tmp_path_factory) -> Path:
    """Return a folder that looks like a clone."""
    folder = tmp_path_factory.mktemp("cluster")
    for name in ("workflow", "config"):
        (folder / name).symlink_to(REPOSITORY / name)
    return folder


def test_the_cluster_writes_the_local_table(results, cluster):
    log = cluster / "snakemake.log"
    command = [Path(sys.executable).with_name("snakemake"), *ARGUMENTS]
    with open(log, "w") as stream:
        run = subprocess.Popen(command, cwd=cluster, stdout=stream, stderr=subprocess.STDOUT)
    try:
        models = cluster / "results-test" / "models"
        with ThreadPoolExecutor() as pool:  # whichever is trained first
            cancelled = pool.submit(interrupt, run, models, "csrd", "scancel")
            requeued = pool.submit(interrupt, run, models, "csrdnomr", "scontrol requeue")
            jobs = cancelled.result(), requeued.result()
        assert run.wait(PATIENCE_S) == 0, log.read_text()[-5000:]
    finally:
        run.terminate()  # it cancels its jobs
        run.wait()
    said = log.read_text()
    assert re.search(r"Trying to restart job \d+", said), "the cancelled training was sent again"
    assert all(job["partition"] == "gpu" for job in jobs)
    for name in ("metrics/metrics.csv", "tables/table1.csv", "tables/table1.md"):
        assert (cluster / "results-test" / name).read_bytes() == (results / name).read_bytes(), name
    assert not list((cluster / "results-test").rglob("*_drf-*_listmode.l64*")), "thinned list-mode is left"


def interrupt(run: subprocess.Popen, models: Path, method: str, command: str) -> dict[str, str]:
    """End a method's training in the middle by `command`; return what its job had asked for."""
    folder = models / f".{method}-training"
    wait_for(run, lambda: any(lines(history) for history in folder.glob("*/history.jsonl")))
    trainer = int(re.match(r"process (\d+)", (folder / LOCK).read_text())[1])
    os.kill(trainer, signal.SIGSTOP)  # SLURM wakes it up again before it tells it to end
    (job,) = (job for job in queue() if job["comment"] == f"rule_fit_wildcards_{method}")
    subprocess.run([*command.split(), job["id"]], check=True)
    wait_for(run, lambda: any(folder.glob("*/state.safetensors")))  # written each minute, or by SIGTERM
    (state,) = folder.glob("*/state.safetensors")
    with safe_open(state, "np") as file:
        assert json.loads(file.metadata()["facts"])["step"] >= 1
    return job


def queue() -> list[dict[str, str]]:
    """Return the jobs that run."""
    keys = "id", "partition", "comment"
    told = ["squeue", "--noheader", "--states", "RUNNING", "--format", "%i|%P|%k"]
    done = subprocess.run(told, capture_output=True, text=True, check=True)
    return [dict(zip(keys, line.split("|"), strict=True)) for line in done.stdout.splitlines()]


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def wait_for(run: subprocess.Popen, happened) -> None:
    """Return when something has happened; fail where the run ends before."""
    until = time.monotonic() + PATIENCE_S
    while not happened():
        assert run.poll() is None and time.monotonic() < until, "it never happened"
        time.sleep(0.05)

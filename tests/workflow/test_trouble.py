"""A full disk, too little memory: one sentence, nothing half-written taken for whole, a restart works."""

import resource
import subprocess
from pathlib import Path

import pytest
from conftest import REPOSITORY, SNAKEMAKE

MIB = 2**20
IMAGE = Path("results-test/recon/scanner/hrrt_sensitivity.nii.gz")


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in ("workflow", "config"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    return tmp_path


def run(folder: Path, voxels: int, *limit: int) -> subprocess.CompletedProcess:
    """Compute the sensitivity of an empty scanner, on so many voxels along each axis."""
    recon = f"recon={{matrix: [{voxels}, {voxels}, {voxels}], voxel_mm: 10}}"
    align = "align={shape: [8, 8, 8]}"
    files = "--cores", "1", "--configfile", "config/test.yaml"
    return subprocess.run(
        [SNAKEMAKE, "geometric_sensitivity", *files, "--config", recon, align],
        cwd=folder,
        preexec_fn=lambda: resource.setrlimit(limit[0], (limit[1], limit[1])) if limit else None,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def said(done: subprocess.CompletedProcess) -> list[str]:
    return [line for line in done.stdout.splitlines() if line.startswith("csrd: ")]


def test_a_full_disk(folder):
    done = run(folder, 24, resource.RLIMIT_FSIZE, 12_000)
    assert done.returncode != 0, done.stdout
    assert len(said(done)) == 1 and "cannot write" in said(done)[0] and "free some space" in said(done)[0]
    assert not list((folder / IMAGE).parent.glob("*"))
    done = run(folder, 24)
    assert done.returncode == 0 and (folder / IMAGE).stat().st_size > 12_000, done.stdout


def test_too_little_memory(folder):
    done = run(folder, 1500, resource.RLIMIT_AS, 6000 * MIB)
    assert done.returncode != 0
    assert said(done) == [
        "csrd: there was not enough memory; run fewer jobs at once (--cores), or use a larger machine"
    ], done.stdout
    assert not list((folder / IMAGE).parent.glob("*"))


def test_results_that_may_not_be_written_to(folder):
    (folder / "results-test").touch()
    done = run(folder, 24)
    assert done.returncode != 0 and "Traceback" not in done.stdout
    assert len(said(done)) == 1 and "choose another results_dir" in said(done)[0]

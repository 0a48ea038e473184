"""A full disk, too little memory: one sentence, nothing half-written taken for whole, a restart works."""

import os
import re
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from csrd.io.volume import Volume, centred_affine
from tests.conftest import REPOSITORY, SNAKEMAKE

resource = pytest.importorskip("resource", reason="Windows has no limits of processes; it is untried")
pytestmark = pytest.mark.linux  # macOS does not hold a process to RLIMIT_AS
GIB = 2**30
SMALL, LARGE = (24, 24, 24), (800, 800, 800)
T1W = Path("results-test/raw/sub-A/sub-A_T1w.nii.gz")


@pytest.fixture
def folder(tmp_path) -> Path:
    """Return a folder that looks like a clone, with a sheet of two subjects of which there is little more."""
    for name in ("workflow", "config"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    columns = "participant_id split tracer listmode header t1w mumap normalisation weight_kg injected_MBq"
    rows = [columns.split()]
    for name, split in (("A", "train"), ("B", "test")):
        for file in (f"{name}.l64", f"{name}.l64.hdr"):
            (tmp_path / file).touch()
        files = f"{name}.l64", "n/a", "t1w.nii", "mumap.nii", "n/a"
        rows.append([f"sub-{name}", split, "DASB", *files, "n/a", "n/a"])
    (tmp_path / "own.tsv").write_text("\n".join(map("\t".join, rows)) + "\n")
    noise = np.random.default_rng(0).random(SMALL, np.float32)
    Volume(noise, centred_affine(SMALL, 2.0), "arbitrary").save(tmp_path / "t1w.nii")
    Volume(noise / 10, centred_affine(SMALL, 2.0), "1/cm").save(tmp_path / "mumap.nii")
    return tmp_path


def bring_in(folder: Path, *limit: int, path: Path | str = "") -> subprocess.CompletedProcess:
    """Have the workflow bring in a T1w image, every process under a limit of the kernel's.

    `path` is where Python looks for modules first.
    """
    files = "--cores", "1", "--configfile", "config/test.yaml", "--config", "cohort={sheet: own.tsv}"
    return subprocess.run(
        [SNAKEMAKE, str(T1W), *files],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(path), os.environ.get("PYTHONPATH", "")])},
        preexec_fn=lambda: resource.setrlimit(limit[0], (limit[1], limit[1])) if limit else None,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def said(done: subprocess.CompletedProcess) -> list[str]:
    """Return what stands for the user among snakemake's own words."""
    return [line for line in done.stdout.splitlines() if line.startswith("csrd: ")]


def test_a_full_disk(folder):
    done = bring_in(folder, resource.RLIMIT_FSIZE, 20_000)
    assert done.returncode != 0, done.stdout
    assert len(said(done)) == 1 and "cannot write" in said(done)[0] and "free some space" in said(done)[0]
    assert not list((folder / T1W).parent.glob("*"))
    done = bring_in(folder)
    assert done.returncode == 0 and Volume.load(folder / T1W).shape == SMALL, done.stdout


def test_too_little_memory(folder):
    header = nib.Nifti1Header()
    header.set_data_dtype(np.float64)
    header.set_data_shape(LARGE)
    header.set_sform(np.eye(4), 1)
    with open(folder / "t1w.nii", "wb") as stream:  # 4 GiB of nothing, which take no room on the disk
        stream.write(header.binaryblock + bytes(4))
        stream.truncate(352 + 8 * int(np.prod(LARGE)))
    done = bring_in(folder, resource.RLIMIT_AS, 4 * GIB)
    assert done.returncode != 0
    advice = "run fewer jobs at once (--cores), or use a larger machine"
    assert said(done) == [f"csrd: there was not enough memory; {advice}"], done.stdout
    assert not list((folder / T1W).parent.glob("*"))
    noise = np.random.default_rng(0).random(SMALL, np.float32)
    Volume(noise, np.eye(4), "arbitrary").save(folder / "t1w.nii")  # what there is memory for
    done = bring_in(folder, resource.RLIMIT_AS, 4 * GIB)
    assert done.returncode == 0 and Volume.load(folder / T1W).shape == SMALL, done.stdout


KILLED = """
import os, signal, sys
if any("/.snakemake/scripts/" in word for word in sys.orig_argv):
    os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_worker_that_the_kernel_kills(folder, tmp_path):
    """As for its memory; here when its file is written and not yet renamed."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(KILLED)
    done = bring_in(folder, path=tmp_path / "path")
    assert done.returncode != 0 and re.search(r"import_t1w.py' died with .*SIGKILL", done.stdout), done.stdout
    left = [path.name for path in (folder / T1W).parent.glob("*")]
    assert len(left) == 1 and "_part" in left[0], left
    done = bring_in(folder)
    assert done.returncode == 0 and Volume.load(folder / T1W).shape == SMALL, done.stdout
    assert not list((folder / T1W).parent.glob("*_part*"))


def test_results_that_may_not_be_written_to(folder):
    (folder / "results-test").touch()
    done = bring_in(folder)
    assert done.returncode != 0 and "Traceback" not in done.stdout
    assert len(said(done)) == 1 and "Not a directory; choose another" in said(done)[0]

"""What a change costs: what snakemake plans to do again on a finished run, whose files are stand-ins."""

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, SNAKEMAKE

Plan = Callable[..., Counter]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """Return a folder where config/test.yaml seems to have run, on a copy of the library in ``code/``."""
    folder = tmp_path_factory.mktemp("finished")
    for name in ("workflow", "config"):
        (folder / name).symlink_to(REPOSITORY / name)
    copied = shutil.ignore_patterns("__pycache__", "*.safetensors")
    shutil.copytree(REPOSITORY / "csrd", folder / "code" / "csrd", ignore=copied)
    for line in run(folder, "--summary").splitlines():
        if line.startswith("results-test/"):
            path = folder / line.split("\t")[0]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"stands for {path.name}")
    run(folder, "--touch", "--forceall")
    return folder


def run(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [SNAKEMAKE, "--cores", "1", "--configfile", "config/test.yaml", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder / "code")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


@pytest.fixture
def plan(finished) -> Plan:
    """Return a function that says what would be done: the number of jobs by the text that announces them."""

    def planned(*settings: str) -> Counter:
        text = run(finished, "-n", *(["--config", *settings] if settings else []))
        jobs = Counter(re.findall(r"^Job \d+: (.*)$", text, flags=re.MULTILINE))
        assert jobs or "Nothing to be done" in text
        return jobs

    return planned


def test_a_title_rebuilds_the_report_alone(plan):
    jobs = {"Write the record of the run": 1, "Write the report": 1}
    assert plan("report={title: Another}") == jobs


def test_a_training_key_retrains_its_model_alone(plan):
    jobs = plan("unet={training: {lr: 0.02}}")
    assert jobs["unet: fit"] == jobs["sub-03: denoise by unet"] == 1
    assert sum(job.endswith(": fit") for job in jobs) == sum("denoise by" in job for job in jobs) == 1
    assert not [job for job in jobs if re.search("reconstruct|thin|grid|simulate", job)]


def test_a_subject_to_test_on_costs_itself(plan):
    jobs = plan("cohort={test: 2}")
    for what, count in {"thin to": 2, "reconstruct": 3, "grid": 1, "scan with": 1, "denoise by": 6}.items():
        names = [job.split(":")[0] for job in jobs if what in job]
        assert names == count * ["sub-04"], what
    assert not [job for job in jobs if job.endswith(": fit")]
    assert jobs["Write Table 1"] == 1


def test_an_edited_metric_evaluates_again_and_trains_nothing(plan, finished):
    source = finished / "code" / "csrd" / "metrics" / "image.py"
    before = source.read_text()
    try:
        source.write_text(before + "\n# edited\n")
        jobs = plan()
    finally:
        source.write_text(before)
    assert [job for job in jobs if "evaluate" in job] and jobs["Write Table 1"] == 1
    assert not [job for job in jobs if re.search("fit$|denoise|reconstruct|grid|thin", job)]


def test_a_comment_in_the_training_costs_nothing(plan, finished):
    for name in ("train/loop.py", "methods/csrd.py", "networks/resunet.py"):
        with open(finished / "code" / "csrd" / name, "a") as stream:
            stream.write("# a comment\n")
    assert not plan()


def test_a_training_image_retrains_what_saw_it_and_only_if_it_changed(plan, finished):
    folder = finished / "results-test" / "derivatives" / "csrd" / "sub-01" / "pet"
    image = folder / "sub-01_trc-DASB_rec-acstat_desc-reference_pet.nii.gz"
    image.touch()
    assert not plan()
    image.write_text("another voxel")
    jobs = plan()
    methods = {job.split(":")[0] for job in jobs if job.endswith(": fit")}
    assert methods == {"tv", "unet", "restormer", "unet3d", "csrd", "csrdnomr"}
    assert not [job for job in jobs if re.search("reconstruct|thin|grid|simulate", job)]

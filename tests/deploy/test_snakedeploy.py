"""The workflow deployed by snakedeploy, from a clone on this machine that stands for the public one.

make test-deploy
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from csrd import __version__
from tests.conftest import REPOSITORY
from tests.deploy.conftest import NOT_TESTED, environment, snakemake

pytest.importorskip("snakedeploy", reason=f"snakedeploy: {NOT_TESTED}")
ADDRESS = "https://github.com/"
TAG = f"v{__version__}"
DEPLOY = "import sys; from snakedeploy.client import main; sys.exit(main())"


@pytest.fixture(scope="module")
def variables(tmp_path_factory) -> dict[str, str]:
    """Return variables by which git and snakemake take a clone on this machine for that of the host."""
    root = tmp_path_factory.mktemp("host")
    clone = root / "somebody" / "csrd"
    clone.mkdir(parents=True)
    for name in ("workflow", "config"):
        shutil.copytree(REPOSITORY / name, clone / name, ignore=shutil.ignore_patterns("schemas"))
    for name in ("LICENSE", ".snakemake-workflow-catalog.yml"):
        shutil.copy(REPOSITORY / name, clone)
    person = "-c", "user.name=test", "-c", "user.email=test@example.org"
    for words in (("init", "--quiet"), ("add", "."), ("commit", "--quiet", "-m", "all"), ("tag", TAG)):
        subprocess.run(["git", *person, *words], cwd=clone, check=True)
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{root}/.insteadOf",
        "GIT_CONFIG_VALUE_0": ADDRESS,
        "XDG_CACHE_HOME": str(root / "cache"),
    }


@pytest.fixture(scope="module")
def deployed(variables, tmp_path_factory) -> Path:
    """Return the folder that `snakedeploy deploy-workflow` filled."""
    folder = tmp_path_factory.mktemp("deployed") / "study"
    words = [sys.executable, "-c", DEPLOY, "deploy-workflow", f"{ADDRESS}somebody/csrd", folder, "--tag", TAG]
    done = subprocess.run(list(map(str, words)), env=environment(**variables), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_it_writes_the_settings_and_a_module(deployed):
    snakefile = (deployed / "workflow" / "Snakefile").read_text()
    assert f'github("somebody/csrd", path="workflow/Snakefile", tag="{TAG}")' in snakefile
    assert not (deployed / "workflow" / "rules").exists(), "the rules stay where they are"
    for name in ("config.yaml", "README.md", "tracers/DASB.tsv"):
        assert (deployed / "config" / name).read_bytes() == (REPOSITORY / "config" / name).read_bytes()


def test_it_runs(deployed, variables, smallest):
    """A script comes from the clone too."""
    target = "results/raw/sub-01/sub-01_T1w.nii.gz"
    files = "--configfile", "config/test.yaml", smallest
    plan = snakemake(deployed, "-n", "--cores", 1, *files, **variables)
    assert "table1" in plan and "report" in plan
    snakemake(deployed, target, "--cores", 1, *files, **variables)
    assert (deployed / target).stat().st_size

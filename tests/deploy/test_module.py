"""The workflow as a module of another Snakefile."""

import re
import shutil
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.deploy.conftest import snakemake

SNAKEFILE = """
configfile: "config/config.yaml"

module csrd:
    snakefile: "{repository}/workflow/Snakefile"
    config: config

use rule * from csrd as pet_*

rule mine:
    default_target: True
    input: rules.pet_table1.output.by_dose
    output: "{results}/mine.txt"
    shell: "wc -l < {{input}} > {{output}}"
"""


@pytest.fixture
def other(tmp_path) -> Path:
    """Return the folder of another workflow, with a copy of the settings only."""
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    (tmp_path / "workflow").mkdir()
    text = SNAKEFILE.format(repository=REPOSITORY, results="results")
    (tmp_path / "workflow" / "Snakefile").write_text(text)
    return tmp_path


def test_another_workflow_plans_its_rules(other, smallest):
    plan = snakemake(other, "-n", "--cores", 1, "--configfile", "config/test.yaml", smallest)
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", plan, flags=re.MULTILINE))
    assert {name for name in jobs if not name.startswith("pet_")} == {"mine", "total"}
    counts = {"pet_simulate_anatomy": 3, "pet_fit": 1, "pet_tune": 1, "pet_table1": 1}
    assert {name: int(jobs[name]) for name in counts} == counts


@pytest.mark.long
def test_another_workflow_runs_them(other, smallest):
    snakemake(other, "--cores", 1, "--configfile", "config/test.yaml", smallest)
    header, *rows = (other / "results" / "tables" / "table1_by_dose.csv").read_text().splitlines()
    named = [row.split(",")[1] for row in rows]
    assert header.startswith("drf,method") and set(named) > {"lowdose", "tv", "csrd"}, "and control rows"
    assert (other / "results" / "mine.txt").read_text().split() == [str(1 + len(rows))]

"""The recipes of installations agree with pyproject.toml, and name files that exist."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from csrd import __version__
from tests.conftest import REPOSITORY
from tests.deploy.conftest import NOT_TESTED

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
IN_CONDA = {"torch": "pytorch"}  # packages of another name there
BUILT = "dist"  # by make wheel


def requirements(lines: list[str]) -> set[str]:
    """Return requirements as name and version without spaces, by the names in conda."""
    parts = [re.fullmatch(r"([\w.-]+)\s*(.*)", line).groups() for line in lines]
    return {IN_CONDA.get(name, name) + version for name, version in parts}


def test_the_conda_recipe_has_the_core():
    recipe = yaml.safe_load((REPOSITORY / "conda" / "recipe.yaml").read_text())
    assert recipe["context"]["version"] == __version__
    run = [line for line in recipe["requirements"]["run"] if not line.startswith("python ")]
    assert requirements(run) == requirements(PROJECT["dependencies"])
    assert f"python {PROJECT['requires-python']}" in recipe["requirements"]["run"]
    scripts = [f"{name} = {function}" for name, function in PROJECT["scripts"].items()]
    assert recipe["build"]["python"]["entry_points"] == scripts


def test_the_builder_of_conda_packages_reads_the_recipe():
    builder = pytest.importorskip("rattler_build", reason=f"the conda recipe: {NOT_TESTED}")
    recipe = builder.Stage0Recipe.from_file(REPOSITORY / "conda" / "recipe.yaml")
    (rendered,) = recipe.render(builder.VariantConfig())
    assert rendered.recipe.package.name == "csrd" and str(rendered.recipe.package.version) == __version__


def test_what_the_images_copy_is_there():
    copied = re.findall(r"^COPY ((?:\S+ )+)\S+$", (REPOSITORY / "Dockerfile").read_text(), flags=re.MULTILINE)
    definition = (REPOSITORY / "workflow" / "csrd.def").read_text()
    section = definition.split("%files\n")[1].split("\n\n")[0]
    paths = {Path(path) for line in copied for path in line.split()} | {
        Path(line.split()[0]) for line in section.splitlines()
    }
    assert Path("constraints.txt") in paths and any(path.parts[0] == BUILT for path in paths)
    assert all((REPOSITORY / path).exists() for path in paths if path.parts[0] != BUILT)
    ignored = (REPOSITORY / ".dockerignore").read_text().split()
    assert all(f"!{path.parts[0]}" in ignored for path in paths), "Docker would not see it"


def test_the_definition_is_a_shell_script_in_sections():
    text = (REPOSITORY / "workflow" / "csrd.def").read_text()
    sections = dict(re.findall(r"^%(\w+)\n(.*?)(?=^%|\Z)", text, flags=re.MULTILINE | re.DOTALL))
    assert sections.keys() == {"files", "post", "runscript", "test", "labels", "help"}
    for name in ("post", "runscript", "test"):
        subprocess.run(["sh", "-n"], input=sections[name], text=True, check=True)


def test_the_dockerfile_is_linted():
    folders = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    program = shutil.which("hadolint", path=folders)
    if program is None:
        pytest.skip(f"hadolint: {NOT_TESTED}")
    done = subprocess.run([program, REPOSITORY / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert citation["version"] == __version__ and citation["license"] == PROJECT["license"]
    assert [author["name"] for author in citation["authors"]] == [one["name"] for one in PROJECT["authors"]]


def test_the_catalogue_finds_what_it_asks_for():
    """Its conditions: this file, workflow/Snakefile and config/README.md."""
    entry = yaml.safe_load((REPOSITORY / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert entry["mandatory-flags"]["desc"] and any(entry["software-stack-deployment"].values())
    assert entry["report"] is True
    assert (REPOSITORY / "workflow" / "Snakefile").is_file()
    readme = (REPOSITORY / "config" / "README.md").read_text()
    assert f"csrd-{__version__}-py3-none-any.whl" in readme
    for name in re.findall(r"^\| `([\w./]+)` \|", readme.split("## Your own")[0], flags=re.MULTILINE):
        assert (REPOSITORY / "config" / name).exists(), name


def test_a_release_builds_the_wheel_of_its_tag():
    release = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "release.yml").read_text())
    steps = [step.get("run", "") for step in release["jobs"]["wheel"]["steps"]]
    (check,) = [step for step in steps if "GITHUB_REF_NAME" in step]
    for tag, status in ((f"v{__version__}", 0), ("v9.9.9", 1)):
        done = subprocess.run(
            ["bash", "-c", check], cwd=REPOSITORY, env={"GITHUB_REF_NAME": tag, "PATH": "/usr/bin:/bin"}
        )
        assert done.returncode == status
    assert "make wheel" in steps

"""Every command, setting and piece of Python in the documentation is one that works."""

import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
import yaml
from snakemake.cli import get_argument_parser, parse_args

from csrd import cli, config
from csrd.cli import options as cli_options
from csrd.config.messages import section_at
from csrd.io.volume import Volume, centred_affine
from csrd.recon import sensitivity
from tests.conftest import REPOSITORY, SNAKEMAKE
from tests.docs.conftest import blocks, lines, spans

NOT_RUN = {
    "git clone": "the address is the host's",
    ". .venv/bin/activate": "the tests' environment is active already",
    "apt-get install": "takes root",
    "python3 -m venv": "takes a minute, and make does the same",
    "~/csrd-env/bin/": "the environment of the line above",
    "python3 -m pip download": "takes the internet",
    "python3 -m pip install": "the release's workflow does it",
    "pip install ": "make test-deploy does it",
    "snakedeploy ": "tests/deploy/test_snakedeploy.py runs it",
    "cd study": "a folder that the line above makes",
    "docker ": "takes a builder of images",
    "export ": "a secret",
    ".venv/bin/pip install --no-index": "takes what the line above fetched",
    "touch .venv/installed": "speaks to make",
    "rm -r": "deletes",
    "apptainer build": "takes apptainer",
    "openneuro/bin/": "tests/docs/test_tutorial.py runs it against a server of its own",
    "bids-validator-deno": "tests/chain/test_chain.py runs it on real results",
}
"""How lines begin that no test runs, and why."""
NOT_CARRIED_OUT = {
    "csrd weights": "downloads 548 MB; tests/metrics/test_weights.py has a server of its own",
    "config/recon/yrt.yaml": "takes YRT-PET; tests/recon/test_presets.py has a stand-in",
    "csrd demo": "tests/cli/test_demo.py runs it without a browser",
    "csrd train csrd": "others fit one (methods) and tune one (recon); csrd train tv is carried out",
    "--model models/mine": "takes a tuned model; tests/recon/test_tune.py tunes one",
    "csrd bids": "runs the workflow; tests/bids carries it out on ten datasets",
    "ds001420/": "takes the dataset; tests/docs/test_tutorial.py carries the page out on a miniature",
    "csrd tacs clean.nii.gz": "takes what the line above writes; so does test_tutorial.py",
    "csrd kinetics clean.tsv": "likewise",
    "norm.dcm": "takes a minute; tests/recon/test_mmr_norm.py reconstructs with one",
    "dicom_low/": "takes a series of a whole head; tests/ground/test_dicom.py has slices",
}
"""What lines of `csrd` hold that are parsed and no more, and why."""
LOOKED_AT = (
    *("csrd ", "make ", "snakemake ", ".venv/bin/snakemake ", ".venv/bin/python -c", "cp -r "),
    "python benchmarks/",
)
PLANNED = "config/paper.yaml -n", "config/recon/yrt.yaml"  # seconds each; all are parsed
CSRD = [line for line in lines() if line.startswith("csrd ")]
SNAKEMAKES = [line for line in lines() if "snakemake " in line.split("--")[0]]
MAKES = [line for line in [*lines(), *spans()] if re.match(r"make [^<…]*$", line)]
NO_CONFIGURATION = {
    "slurm-status-command": "of a profile",
    "gaussian": "of the method that tests/methods/test_own_method.py puts together",
}
"""What blocks of YAML and Python hold that are not for `csrd` as it is, and why."""
OTHER_OPTIONS = {"--preview", "--show", "--statistics"}  # those of docs/compare.md
OTHER_OPTIONS |= {"--signal", "--hypothesis-profile", "--editable", "--target", "--anew", "--build-arg"}
OTHER_OPTIONS |= {"--kubernetes-persistent-volumes"}
"""Options of other programs."""
SECTIONS = ("cohort", "acquisition", "thin", "recon", "align", "metrics", "noise", "report")
FILES = ".csv", ".html", ".smk", ".py"  # that are named like sections


@pytest.fixture(autouse=True)
def one_thread():
    """A command that was told to use all cores leaves torch so; its threads then wait for each other."""
    torch.set_num_threads(1)


def options(command) -> set[str]:
    return {option for one in command.params for option in (*one.opts, *one.secondary_opts)}


@pytest.fixture(scope="module")
def commands() -> dict:
    """Return the subcommands of `csrd` by name."""
    return typer.main.get_command(cli.app).commands


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """Return a folder like a clone, in which a line may write, with settings and weights of one's own."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("workflow", "config"):
        (folder / name).symlink_to(REPOSITORY / name)
    (folder / "workflow").unlink()
    subprocess.run(["cp", "-r", REPOSITORY / "workflow", folder / "workflow"], check=True)
    (folder / "mine.yaml").write_text("results_dir: results-mine\n")
    weights = folder / "home" / ".cache" / "csrd" / "vgg19-dcbb9e9d.pth"
    weights.parent.mkdir(parents=True)
    weights.write_text("a plan asks only whether it is there")
    for line in lines():
        if line.startswith("cp "):
            subprocess.run(shlex.split(line), cwd=folder, check=True)
    return folder


def test_every_line_is_looked_at():
    install = ".venv/bin/pip install --constraint"
    assert [line for line in lines() if not line.startswith((*LOOKED_AT, install, *NOT_RUN))] == []
    unused = [start for start in NOT_RUN if not any(line.startswith(start) for line in lines())]
    unused += [part for part in NOT_CARRIED_OUT if not any(part in line for line in CSRD)]
    assert unused == [], "a reason without its line"


@pytest.mark.parametrize("line", CSRD)
def test_a_command_line_is_understood(line, commands):
    name, *words = shlex.split(line)[1:]
    if "--help" in (name, *words):
        assert name == "--help" or name in commands
        return
    commands[name].make_context(name, words)


@pytest.mark.parametrize("line", [a for a in CSRD if not any(part in a for part in NOT_CARRIED_OUT)])
def test_a_command_line_does_it(line, desk, monkeypatch):
    small, settings = cli_options.configuration, desk / "mine.yaml"
    monkeypatch.setattr(cli_options, "configuration", lambda path: small(path or settings))
    monkeypatch.setattr(sensitivity, "geometric_sensitivity", even)
    monkeypatch.chdir(desk)
    before = {path: path.stat().st_mtime_ns for path in desk.rglob("*")}
    assert not cli.app(shlex.split(line)[1:], standalone_mode=False)
    after = {path: path.stat().st_mtime_ns for path in desk.rglob("*")}
    speaks = shlex.split(line)[1] in ("info", "evaluate", "models", "--help")
    assert speaks == (before == after), "it writes, or it says something"


def even(scanner, shape: tuple[int, int, int], voxel_mm: float) -> Volume:
    """Return a sensitivity that is the same everywhere: the real one takes a quarter of a minute."""
    return Volume(np.full(shape, 1e6, np.float32), centred_affine(shape, voxel_mm), "mm3")


@pytest.mark.parametrize("text", [text for _, text in blocks("python")])
def test_python(text, desk, monkeypatch):
    monkeypatch.chdir(desk)
    code = compile(text if text[0] != " " else f"class _:\n{text}", "documentation", "exec")
    if not any(word in text.lower() for word in NO_CONFIGURATION):
        exec(code, {})


def test_python_in_one_line(capsys):
    (line,) = [line for line in lines() if line.startswith(".venv/bin/python -c")]
    exec(shlex.split(line)[2], {})
    assert capsys.readouterr().out


@pytest.mark.parametrize("text", [text for _, text in blocks("yaml")])
def test_settings(text):
    values = yaml.safe_load(text)
    if "slurm-status-command" in values:
        parse_args(
            [word for key, value in values.items() for word in (f"--{key}", value) if word is not True]
        )
    elif "gaussian" not in values:
        config.load(values)


def test_settings_in_a_sentence():
    """`recon.device: auto` and `cohort: {t1w: folder}` are keys of the configuration."""
    said = 0
    for span in spans():
        if re.fullmatch(rf"({'|'.join(SECTIONS)})(\.\w+)+(: .*)?", span) and not span.endswith(FILES):
            *section, key = span.partition(":")[0].split(".")
            assert key in section_at(config.config_class(), tuple(section)).model_fields, span
            said += 1
        elif re.fullmatch(rf"({'|'.join(SECTIONS)}): \{{.*\}}", span):
            config.load(yaml.safe_load(span))
            said += 1
    assert said > 10


@pytest.mark.parametrize("line", SNAKEMAKES)
def test_a_line_of_snakemake_is_understood(line, clone, monkeypatch):
    monkeypatch.chdir(clone)
    _, given = parse_args(shlex.split(line)[1:])
    for file in given.configfile or []:
        assert Path(file).is_file()


@pytest.mark.parametrize("line", [line for line in SNAKEMAKES if any(part in line for part in PLANNED)])
def test_a_line_of_snakemake_has_a_plan(line, clone):
    words = shlex.split(line)[1:]
    done = subprocess.run(
        [SNAKEMAKE, "-n", *[word for word in words if word != "-n"]],
        cwd=clone,
        env=os.environ | {"HOME": str(clone / "home")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "Job stats" in done.stdout, done.stderr[-2000:]


@pytest.mark.parametrize("line", MAKES)
def test_a_target_of_make_is_there(line):
    done = subprocess.run(["make", "-n", *shlex.split(line)[1:]], cwd=REPOSITORY, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_what_a_sentence_says_one_can_type(commands, clone, monkeypatch):
    monkeypatch.chdir(clone)
    whole, seen = typer.main.get_command(cli.app), set()
    for span in spans():
        words = (
            shlex.split(span) if re.match(r"(\.venv/bin/)?(csrd|snakemake|python|pytest) ", span) else [""]
        )
        program = Path(words[0]).name
        if program == "csrd":
            named = {word for word in words if word.startswith("--")}
            allowed = options(commands[words[1]]) if words[1] in commands else options(whole)
            assert words[1] in (*commands, *named) and named <= allowed, span
        elif program == "snakemake" and "…" not in words:
            parse_args(words[1:])
        elif program == "python" and words[1] == "-m":
            assert find_spec(words[2]), span
        elif program in ("python", "pytest") and "<" not in span:
            paths = [word for word in words[1:] if "/" in word]
            assert paths and all((REPOSITORY / path).exists() for path in paths), span
        seen.add(program)
    assert seen >= {"csrd", "snakemake", "python", "pytest"}


def test_options_in_a_sentence_exist(commands):
    here = set().union(*map(options, (typer.main.get_command(cli.app), *commands.values())))
    here |= {option for action in get_argument_parser()._actions for option in action.option_strings}
    named = {option for span in spans() for option in re.findall(r"(?<!\S)--[a-z][\w-]*", span)}
    assert named - here - OTHER_OPTIONS == set()


def test_extras_are_there():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    named = {extra for line in lines() for extra in re.findall(r'"\.\[(\w+)\]"', line)}
    assert named and named <= project["optional-dependencies"].keys()


BENCHMARKS = [path for path in sorted(REPOSITORY.glob("benchmarks/*.py")) if "__main__" in path.read_text()]


@pytest.mark.parametrize("script", BENCHMARKS, ids=lambda path: path.stem)
def test_a_benchmark_says_what_it_takes(script, monkeypatch, capsys):
    monkeypatch.syspath_prepend(script.parent)  # as python does for a script
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    said = capsys.readouterr().out
    assert ended.value.code == 0 and "usage:" in said
    asked = {word for line in [*lines(), *spans()] if f"benchmarks/{script.name}" in line
             for word in shlex.split(line, comments=True) if word.startswith("--")}  # fmt: skip
    assert all(option in said for option in asked), asked

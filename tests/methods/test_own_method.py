"""The method that docs/methods.md shows, added both ways that the page describes, and used."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from csrd.io.volume import Volume, centred_affine

REPOSITORY = Path(__file__).parents[2]
SHAPE = (30, 32, 28)

USE = """
import json, sys
from pathlib import Path
import pandas as pd
import yaml
from csrd.config import load
from csrd.methods import FitContext, TrainingPair, keys
from csrd.methods.base.train import train
from csrd.io.tables import read_csv
from csrd.report.table import Scope
from csrd.report.writers import tables
from csrd.stages.predict import predict

folder, config = Path(sys.argv[1]), load(yaml.safe_load(sys.argv[2]))
files = {name: folder / f"{name}.nii.gz" for name in ("low", "normal", "mask")}
pairs = [TrainingPair("sub-01", 4, mr=None, **files)]
train("gaussian", pairs, config.of_method("gaussian"), folder / "model", FitContext(config.seed))
predict([files["low"]], [folder / "out.nii.gz"], model=folder / "model", drf=4)
rows = [("sub-01", 4, key, 1.0, 30.0) for key in config.methods]
pd.DataFrame(rows, columns=["subject", "drf", "method", "mae", "psnr"]).to_csv(folder / "metrics.csv")
scope = Scope(list(config.methods), ["sub-01"], [4], [4], simulated=True)
tables(read_csv(folder / "metrics.csv"), scope, folder)
print(json.dumps({"fitted": config.fitted_methods, "keys": keys()}))
"""


@pytest.fixture(scope="module")
def blocks() -> dict[str, str]:
    """Return the section's code by language."""
    _, section = (REPOSITORY / "docs" / "methods.md").read_text().split("## A method of your own")
    return dict(re.findall(r"```(python|toml|yaml)\n(.*?)```", section, flags=re.DOTALL))


@pytest.fixture(scope="module")
def package(blocks, tmp_path_factory) -> list[Path]:
    """Return where Python finds a copy of the package with the method's file in it."""
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(REPOSITORY / "csrd", folder / "csrd", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "csrd" / "methods" / "gaussian.py").write_text(blocks["python"])
    return [folder]


def installed(source: Path, target: Path) -> None:
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", target]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, source], check=True)


@pytest.fixture(scope="module")
def plug_in(blocks, tmp_path_factory) -> list[Path]:
    """Return where Python finds the package as it is, and beside it the method as an installed plug-in."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    (source / "csrd_gaussian.py").write_text(blocks["python"])
    (source / "pyproject.toml").write_text(blocks["toml"])
    installed(source, target)
    return [target, REPOSITORY]


def used(code: str, paths: list[Path], *arguments: str | Path) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=paths[0], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("way", ["package", "plug_in"])
def test_the_documented_method_is_a_row(way, blocks, tmp_path, request):
    rng = np.random.default_rng(5)
    x = np.moveaxis(np.indices(SHAPE), 0, -1) - (np.array(SHAPE) - 1) / 2
    head = ((x / (11, 12, 10)) ** 2).sum(-1) < 1
    normal = Volume(1e4 * head.astype(np.float32), centred_affine(SHAPE, 2.0), "Bq/mL")
    low = normal.like((normal.array + 4e3 * rng.standard_normal(SHAPE, np.float32)).clip(0))
    for name, volume in (("low", low), ("normal", normal), ("mask", normal.like(head, "mask"))):
        volume.save(tmp_path / f"{name}.nii.gz")
    done = used(USE, request.getfixturevalue(way), tmp_path, blocks["yaml"])
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["fitted"] == ["gaussian", "tv"] and found["keys"][-1] == "gaussian"
    assert json.loads((tmp_path / "model" / "model.json").read_text())["fwhm_mm"] in (3, 5, 7)
    out = Volume.load(tmp_path / "out.nii.gz")
    error, before = (np.abs(image.array - normal.array)[head].mean() for image in (out, low))
    assert out.same_grid(low) and error < 0.7 * before
    assert json.loads((tmp_path / "out.json").read_text())["Denoising"] == "Gaussian"
    assert re.findall(r"^\| (\S+) \|", (tmp_path / "table1.md").read_text(), re.M)[2:] == [
        "Low-Dose",
        "TV",
        "Gaussian",
    ]


LOADED = """
from csrd.config import load
from csrd.errors import plain_errors

with plain_errors():
    load({})
"""


@pytest.mark.parametrize(
    ("key", "code", "sentence"),
    [
        (
            "tv",
            "class Own: key = 'tv'",
            "csrd: the method tv of the package own has the key of another method",
        ),
        (
            "own",
            "import nowhere",
            "csrd: the method own of the package own cannot be imported (No module named",
        ),
        (
            "own",
            "class Own: key = 'own'",
            "csrd: the method own of the package own is not a subclass of csrd",
        ),
        (
            "own_1",
            "import csrd.methods\nclass Own(csrd.methods.Method): key = 'own_1'",
            "csrd: the method own_1 of the package own has the key 'own_1'; BIDS file names take letters",
        ),
    ],
)
def test_a_plug_in_that_cannot_be_used_gets_one_sentence(key, code, sentence, tmp_path):
    facts = tmp_path / "own-1.0.dist-info"  # what pip leaves of an installed package
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(f"[csrd.methods]\n{key} = own:Own\n")
    (tmp_path / "own.py").write_text(code)
    done = used(LOADED, [tmp_path, REPOSITORY])
    assert done.returncode == 1 and done.stderr.startswith(sentence) and done.stderr.count("\n") == 1


def test_a_plug_in_is_fitted_and_applied_by_the_workflow(plug_in, tmp_path):
    for name in ("workflow", "config"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    arguments = ["-n", "--cores", "1", "--configfile", "config/test.yaml", "--config", "methods=[gaussian]"]
    code = "import sys; from snakemake.cli import main; main(sys.argv[1:])"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, plug_in))}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "gaussian: fit" in done.stdout and "denoise by gaussian" in done.stdout, done.stderr

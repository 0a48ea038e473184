"""The method that docs/methods.md shows, put into a copy of the package as it says, and used."""

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
import yaml
from csrd.config import load
from csrd.methods import keys
from csrd.methods.base import TrainingPair
from csrd.methods.train import train
from csrd.stages.predict import predict

folder, config = Path(sys.argv[1]), load(yaml.safe_load(sys.argv[2]))
files = {name: folder / f"{name}.nii.gz" for name in ("low", "normal", "mask")}
pairs = [TrainingPair("sub-01", 4, mr=None, **files)]
train("gaussian", pairs, config.of_method("gaussian"), folder / "model")
predict([files["low"]], [folder / "out.nii.gz"], model=folder / "model", drf=4)
print(json.dumps({"methods": config.methods, "fitted": config.fitted_methods, "keys": keys()}))
"""


@pytest.fixture(scope="module")
def blocks() -> list[str]:
    """Return the code blocks under the heading: the method, its settings, their field, the configuration."""
    _, section = (REPOSITORY / "docs" / "methods.md").read_text().split("## A method of your own")
    return re.findall(r"```(?:python|yaml)\n(.*?)```", section, flags=re.DOTALL)


@pytest.fixture(scope="module")
def package(blocks, tmp_path_factory) -> Path:
    """Return a folder with the package and the method in it."""
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(REPOSITORY / "csrd", folder / "csrd", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "csrd" / "methods" / "gaussian.py").write_text(blocks[0])
    config = (folder / "csrd" / "config.py").read_text()
    for before, block in (("class Report(Section):", blocks[1] + "\n\n"), ("    report: Report", blocks[2])):
        assert config.count(before) == 1
        config = config.replace(before, block + before)
    (folder / "csrd" / "config.py").write_text(config)
    return folder


def test_the_documented_method_is_a_row(package, blocks, tmp_path):
    rng = np.random.default_rng(5)
    x = np.moveaxis(np.indices(SHAPE), 0, -1) - (np.array(SHAPE) - 1) / 2
    head = ((x / (11, 12, 10)) ** 2).sum(-1) < 1
    normal = Volume(1e4 * head.astype(np.float32), centred_affine(SHAPE, 2.0), "Bq/mL")
    low = normal.like((normal.array + 4e3 * rng.standard_normal(SHAPE, np.float32)).clip(0))
    for name, volume in (("low", low), ("normal", normal), ("mask", normal.like(head, "mask"))):
        volume.save(tmp_path / f"{name}.nii.gz")
    done = subprocess.run(
        [sys.executable, "-c", USE, tmp_path, blocks[3]],
        cwd=package,  # python -c looks there first
        env=os.environ | {"PYTHONPATH": str(package)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["methods"] == ["lowdose", "gaussian", "tv"] and said["fitted"] == ["gaussian", "tv"]
    assert "gaussian" in said["keys"]
    assert json.loads((tmp_path / "model" / "model.json").read_text())["fwhm_mm"] in (3, 5, 7)
    out = Volume.load(tmp_path / "out.nii.gz")
    error, before = (np.abs(image.array - normal.array)[head].mean() for image in (out, low))
    assert out.same_grid(low) and error < 0.7 * before

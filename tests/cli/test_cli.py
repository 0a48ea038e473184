"""The command line: help at once, one line for a mistake, and the same results as the library."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from csrd.io.tables import KEYS
from csrd.io.volume import Volume, centred_affine
from csrd.listmode import open_listmode, thin, write_hrrt
from csrd.seeds import key64

CSRD = Path(sys.executable).with_name("csrd")
COMMANDS = ("info", "thin", "recon", "export", "align", "train", "denoise", "evaluate", "weights")
HEAVY = {"numba", "scipy", "nibabel", "ants", "skimage", "matplotlib", "pandas", "snakemake", "numpy"}
HEAVY |= {"torch", "torchvision", "lpips", "mahotas"}


def csrd(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run([CSRD, *map(str, arguments)], capture_output=True, text=True)


@pytest.fixture
def listmode(tmp_path) -> Path:
    """Return a small HRRT list-mode file."""
    draw, count, per_head = np.random.default_rng(1), 4000, 119_808 // 8
    crystals = draw.integers(per_head, size=(count, 2), dtype=np.uint32) + np.uint32([0, 3 * per_head])
    segment = crystals, draw.random(count) < 0.8, np.sort(draw.integers(100, size=count, dtype=np.uint32))
    path = tmp_path / "scan.l64"
    write_hrrt(path, iter([segment]), {"image duration": "1"})
    return path


def test_help_imports_nothing_heavy():
    source = "import sys, csrd.cli\nsys.argv = ['csrd', '--help']\n"
    source += "try:\n csrd.cli.main()\nexcept SystemExit:\n print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    assert all(command in done.stdout for command in COMMANDS)
    assert not HEAVY & set(done.stderr.split())


def test_info(listmode):
    assert json.loads(csrd("info", listmode).stdout) == json.loads(json.dumps(open_listmode(listmode).info()))


def test_thin_equals_the_library(listmode, tmp_path):
    """The seed is that of the subject, who is told or in the file's name."""
    done = csrd("thin", listmode, tmp_path / "a.l64", "--drf", 4, "--seed", 7)
    counts = thin(listmode, tmp_path / "b.l64", 4, key64(7, "sub-scan"))
    assert json.loads(done.stdout)["prompts_kept"] == counts["prompts_kept"]
    assert (tmp_path / "a.l64").read_bytes() == (tmp_path / "b.l64").read_bytes()
    csrd("thin", listmode, tmp_path / "c.l64", "--drf", 4, "--seed", 7, "--subject", "sub-02")
    assert (tmp_path / "c.l64").read_bytes() != (tmp_path / "b.l64").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["info", "none.l64"], "csrd: none.l64 does not exist"),
        (["thin", "none.l64", "x.l64", "--drf", "0.5"], "csrd: a dose reduction factor of 0.5"),
        (["recon", "none.l64", "x.nii.gz", "--config", "none.yaml"], "csrd: none.yaml is not readable YAML"),
        (
            ["recon", "none.l64", "x.nii.gz"],
            "csrd: none.l64 does not exist",
        ),
        (["recon", "none.l64", "."], "csrd: the output is .; name it with .nii.gz or .nii"),
        (["evaluate", ".", ".", "--mask", "."], "csrd: . is a folder; give a NIfTI file"),
        (["info", "."], "csrd: . is not a file; give the list-mode file or its header"),
        (["align", "none.nii.gz", "x", "--low", "four"], "csrd: --low is 'four'"),
        (
            ["train", "tvv", "x", "y", "--subject", "sub-01"],
            "csrd: there is no method tvv (did you mean tv?)",
        ),
        (["train", "tv", "x", "y", "--subject", "sub-01"], "csrd: x/sub-01/pet has 0 files"),
        (["train", "tv", "x", "y"], "csrd: there is no subject to train on; give one with --subject"),
        (["train", "csrd", "x.l64", "y", "--from", "packaged"], "csrd: csrd needs the MR; give it with --mr"),
        (["train", "tv", "x.l64", "y", "--from", "packaged"], "csrd: tv cannot be tuned; tune csrd or"),
        (["train", "csrdnomr", "x.l64", "y", "--from", "packaged"], "csrd: x.l64 does not exist"),
        (["train", "csrd", "x", "y", "--from", "z", "--processes", "2"], "csrd: a model is tuned in one"),
        (["train", "tv", "x", "y", "--subject", "sub-01", "--mumap", "z"], "csrd: --mumap is for tuning on"),
        (["thin", "x.l64", "y.l64", "--drf", "4", "--subject", "01"], "csrd: --subject is '01'; write sub-"),
        (["align", "x.nii.gz", "y", "--low", "0=z.nii.gz"], "csrd: --low is '0=z.nii.gz'; write"),
        (
            ["denoise", "none.nii.gz", "x.nii.gz", "--model", "m"],
            "csrd: none.nii.gz does not exist; check the path",
        ),
        (["weights", "vgg", "x"], "csrd: there is no network vgg; choose from vgg16, vgg19, alexnet"),
    ],
)
def test_mistake_gets_one_line(arguments, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = csrd(*arguments)
    assert done.returncode == 1
    assert done.stderr.startswith(sentence) and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir()), "nothing is half-written"


def test_evaluate(tmp_path):
    affine = centred_affine((16, 16, 16), 4.0)
    draw = np.random.default_rng(0)
    pet = Volume(draw.random((16, 16, 16), dtype=np.float32), affine, "Bq/mL")
    pet.save(tmp_path / "a.nii.gz")
    pet.like(pet.array + 0.25).save(tmp_path / "b.nii.gz")
    pet.like(np.ones(pet.shape, bool), "mask").save(tmp_path / "mask.nii.gz")
    done = csrd("evaluate", tmp_path / "a.nii.gz", tmp_path / "b.nii.gz", "--mask", tmp_path / "mask.nii.gz")
    (values,) = json.loads(done.stdout)
    assert (values["subject"], values["drf"], values["method"]) == ("sub-a", None, "b")
    assert values["mae"] == pytest.approx(0.25e-3, rel=1e-5), "in kBq/mL"
    assert values["psnr"] == pytest.approx(20 * np.log10(pet.array.max() / 0.25), rel=1e-5)
    assert values.keys() - set(KEYS) == {"mae", "psnr", "ssim", "h_dist", "p_dist", "nrmse"}
    assert values["p_dist"] > 0


def test_evaluate_as_configured(tmp_path):
    affine, draw = centred_affine((16, 16, 24), 4.0), np.random.default_rng(0)
    pet = Volume(draw.random((16, 16, 24), dtype=np.float32), affine, "Bq/mL")
    pet.save(tmp_path / "a.nii.gz")
    pet.like(pet.array * 2).save(tmp_path / "low.nii.gz")
    pet.like(np.ones(pet.shape, bool), "mask").save(tmp_path / "mask.nii.gz")
    (tmp_path / "released.yaml").write_text("metrics: {protocol: released}")
    (tmp_path / "vgg19.yaml").write_text(f"metrics: {{vgg: vgg19, weights: {tmp_path}}}")
    common = tmp_path / "a.nii.gz", tmp_path / "low.nii.gz", "--mask", tmp_path / "mask.nii.gz"
    done = csrd("evaluate", *common, "--low", tmp_path / "low.nii.gz", "--config", tmp_path / "released.yaml")
    peak, inner = 2 * pet.array.max(), pet.array[..., 10:-10]
    slices = [20 * np.log10(peak) - 10 * np.log10(np.mean(inner[..., i] ** 2.0)) for i in range(4)]
    assert json.loads(done.stdout)[0]["psnr"] == pytest.approx(np.mean(slices), rel=1e-5)
    done = csrd("evaluate", *common, "--config", tmp_path / "vgg19.yaml")
    line = f"csrd: the VGG-19 weights are missing; run: csrd weights vgg19 {tmp_path}"
    assert done.returncode == 1 and done.stderr.startswith(line) and done.stderr.count("\n") == 1

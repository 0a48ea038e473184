"""The presets in config/recon with stand-ins for their programs: arguments, files, time limits, errors.

What the programs make of these files only they can tell: tests/engines/test_programs.py runs them.
"""

import json
import os
import stat
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from csrd.config import load
from csrd.errors import InputError
from csrd.io.volume import Volume, centred_affine
from csrd.listmode import open_listmode, thin, write_hrrt
from csrd.scanner.geometry import hrrt
from csrd.seeds import generator
from csrd.stages.recon import image_of
from csrd.stages.scan import ScanFiles

ROOT = Path(__file__).parents[2]
PRESETS = ("castor", "hrrt", "yrt")  # STIR's export takes a minute: `make test-all` runs it where STIR is
SHAPE, VOXEL = (10, 11, 12), 20.0
HRRT_SHAPE, HRRT_VOXEL = (256, 256, 207), 1.21875

# What stands in for a program: notes its name, arguments and environment, and the size of the files it is
# given, and writes what the program would. A file NAME.does next to it may hold other doings.
STAND_IN = """#!{python}
import json, os, sys, time
from pathlib import Path
name, args, here = Path(sys.argv[0]).name, sys.argv[1:], Path(sys.argv[0]).parent
files = {{a: Path(a).stat().st_size for a in args if Path(a).is_file()}}
with open(here / "calls.jsonl", "a") as stream:
    stream.write(json.dumps([name, args, files, os.environ.get("OMP_NUM_THREADS")]) + "\\n")
def touch(*names):
    for name in names: Path(name).write_text("made")
def image(header, data, shape, voxel):
    Path(data).write_bytes(b"\\0\\0\\x80?" * (shape[0] * shape[1] * shape[2]))
    lines = ["!INTERFILE :=", f"name of data file := {{Path(data).name}}",
             "imagedata byte order := LITTLEENDIAN", "!number format := float",
             "!number of bytes per pixel := 4"]
    lines += [f"!matrix size [{{i + 1}}] := {{n}}" for i, n in enumerate(shape)]
    lines += [f"scaling factor (mm/pixel) [{{i + 1}}] := {{voxel}}" for i in range(3)]
    Path(header).write_text("\\n".join([*lines, "!END OF INTERFILE :="]))
special = here / f"{{name}}.does"
exec(special.read_text() if special.exists() else DOES.get(name, "pass"))
"""
DOES = {
    "castor-recon": "out = args[args.index('-fout') + 1]\n"
    "assert list(Path(args[args.index('-conf') + 1]).glob('scanner/csrd_*.lut'))\n"
    "assert Path(args[args.index('-conf') + 1], 'optimizer/MLEM.conf').is_file()\n"
    f"image(out + '_it2.hdr', out + '_it2.img', {SHAPE}, {VOXEL})",
    "lmhistogram": "touch('EM.s', 'EM.ch', 'EM.tr.s')",
    "e7_atten": "touch('TX.a')",
    "e7_sino": "touch('EM_sc.s')",
    "hrrt_osem3d": f"image('EM.i.hdr', 'EM.i', {HRRT_SHAPE}, {HRRT_VOXEL})",
    "yrtpet_reconstruct": "from csrd.io.volume import Volume\nimport numpy as np\n"
    f"affine = np.diag([-{VOXEL}, -{VOXEL}, {VOXEL}, 1])\n"
    f"affine[:3, 3] = [s * (n - 1) / 2 * {VOXEL} for s, n in zip((1, 1, -1), {SHAPE})]\n"
    f"Volume(np.ones({SHAPE}, np.float32), affine).save(args[args.index('--out') + 1])",
}


@pytest.fixture
def scan(tmp_path) -> ScanFiles:
    """Return a small scan at a quarter of the dose, beside the other files a preset asks for."""
    draw = generator(1, "presets")
    crystals = draw.integers(14_976, size=(4000, 2), dtype=np.uint32) + np.uint32([0, 4 * 14_976])
    segment = crystals, draw.random(4000) < 0.7, np.sort(draw.integers(100, size=4000, dtype=np.uint32))
    header = {"image duration": 0.1, "isotope halflife": 1224, "branching factor": 1}
    write_hrrt(tmp_path / "scan.l64", [segment], header)
    thin(tmp_path / "scan.l64", tmp_path / "low dose.l64", drf=4, seed=1)
    grid = Volume(np.full(SHAPE, 0.09, np.float32), centred_affine(SHAPE, VOXEL))
    grid.save(tmp_path / "mu map.nii.gz")
    grid.save(tmp_path / "sensitivity.nii.gz")  # given, so that none is computed
    np.save(tmp_path / "norm.npy", np.full(hrrt().crystals, 0.5, np.float32))
    for name in ("hrrt_rebinner.lut", "TX.i", "norm.n"):
        (tmp_path / name).write_text("of the user's")
    (tmp_path / "castor config/optimizer").mkdir(parents=True)
    (tmp_path / "castor config/optimizer/MLEM.conf").write_text("of CASToR's")
    low = tmp_path / "low dose.l64"
    names = "mu map.nii.gz", "norm.npy", "sensitivity.nii.gz"
    return ScanFiles(low, Path(f"{low}.hdr"), *(tmp_path / name for name in names))


@pytest.fixture
def programs(tmp_path, monkeypatch) -> Path:
    """Return a folder of stand-ins that comes first on the PATH, and start in the folder of the scan."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in DOES:
        path = folder / name
        source = STAND_IN.format(python=sys.executable)
        path.write_text(source.replace("special =", f"DOES = {DOES!r}\nspecial =", 1))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    paths = [folder, Path(sys.executable).parent, os.environ["PATH"]]
    monkeypatch.setenv("PATH", os.pathsep.join(map(str, paths)))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("CASTOR_CONFIG", str(tmp_path / "castor config"))
    monkeypatch.setenv("GMINI", str(tmp_path))
    (tmp_path / "config").symlink_to(ROOT / "config")
    monkeypatch.chdir(tmp_path)
    return folder


def run(preset: str, scan: ScanFiles, log: Path, **changes):
    """Return image and sidecar by a preset, on a small grid where it does not set its own, unchecked."""
    recon = load(yaml.safe_load((ROOT / f"config/recon/{preset}.yaml").read_text())).recon
    command = recon.command.model_copy(update={"check": False, **changes})
    grid = {} if preset == "hrrt" else {"matrix": SHAPE, "voxel_mm": VOXEL}
    settings = {"iterations": 2, "subsets": 16, "scatter": "none", **grid}
    recon = recon.model_copy(update={"command": command, **settings})
    if preset == "hrrt":
        scan = replace(scan, mumap=Path("TX.i").absolute(), normalisation=Path("norm.n").absolute())
    return image_of(scan, recon, drf=4, seed=1, subject="sub-01", threads=2, log=log)


def calls(programs: Path) -> list[list]:
    return [json.loads(line) for line in (programs / "calls.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_runs_its_programs_and_returns_their_image(preset, scan, programs, tmp_path, caplog):
    before = {path.name for path in tmp_path.iterdir()}
    volume, sidecar = run(preset, scan, tmp_path / "log")
    assert volume.shape == (HRRT_SHAPE if preset == "hrrt" else SHAPE) and volume.unit == "Bq/mL"
    assert np.all(volume.array == (4 if preset == "hrrt" else 1)), "the dose is scaled once"
    assert sidecar["DoseReductionFactor"] == 4
    assert sidecar["EngineUnits"] == ("relative" if preset == "hrrt" else "Bq/mL")
    assert volume.affine[0, 0] * (-1 if preset == "hrrt" else 1) > 0, "the axes of the preset"
    assert {path.name for path in tmp_path.iterdir()} == before | {"log"}, "nothing is left in the folder"
    assert ("untested" in caplog.text) == (preset == "hrrt")


@pytest.mark.parametrize("preset", [*PRESETS, "stir"])
def test_a_presets_first_line_says_whether_it_was_run_with_its_program(preset):
    text = (ROOT / f"config/recon/{preset}.yaml").read_text()
    untested = yaml.safe_load(text)["recon"]["command"].get("untested", False)
    assert text.startswith("# UNTESTED" if untested else "# Tested with ")
    assert untested == (preset == "hrrt")
    table = (ROOT / "docs/recon-hooks.md").read_text()
    row = next(line for line in table.splitlines() if line.startswith(f"| `config/recon/{preset}.yaml`"))
    assert ("untested" in row) == untested


def test_castor_gets_the_thinned_events_the_sensitivity_and_the_settings(scan, programs, tmp_path):
    run("castor", scan, tmp_path / "log")
    ((_, args, files, *_),) = calls(programs)
    value = dict(zip(args, args[1:], strict=False))
    assert value["-it"] == "2:16" and value["-vox"] == "20,20,20" and value["-dim"] == "10,11,12"
    assert value["-th"] == "2" and value["-conv"] == "gaussian,2.11934,2.11934,4::psf"
    assert {value["-df"], value["-sens"]} <= set(files)


def test_yrt_gets_the_thinned_events_the_sensitivity_and_the_settings(scan, programs, tmp_path):
    run("yrt", scan, tmp_path / "log")
    ((_, args, files, *_),) = calls(programs)
    value = dict(zip(args, args[1:], strict=False))
    assert files[value["--input"]] == 16 * open_listmode(scan.listmode).info()["prompts"]
    assert value["--num_iterations"] == "2" and value["--num_subsets"] == "16"
    assert {value["--scanner"], value["--sens"], value["--psf"]} <= set(files) and "--flag_randoms" in args


def test_the_hrrt_programs_get_one_anothers_files(scan, programs, tmp_path):
    run("hrrt", scan, tmp_path / "log")
    made = calls(programs)
    assert [name for name, *_ in made] == ["lmhistogram", "e7_atten", "e7_sino", "hrrt_osem3d"]
    assert {str(scan.listmode), str(tmp_path / "hrrt_rebinner.lut")} <= set(made[0][2])
    assert {"EM.s", "EM.ch", "EM_sc.s", "TX.a", str(tmp_path / "norm.n")} <= set(made[3][2])
    assert "-W 3 -X 256" in " ".join(made[3][1]) and all(threads == "2" for *_, threads in made)


@pytest.mark.parametrize(
    ("doing", "changes", "sentence"),
    [
        ("print('no licence'); sys.exit(3)", {}, r"exit status 3; .*last lines of .*: .*no licence"),
        (
            "print('waiting', flush=True); time.sleep(60)",
            {"time_limit_min": 0.05},
            "ended after 0.05 minutes.*waiting",
        ),
        ("print('odd'); touch('EM.i', 'EM.i.hdr')", {}, "does not begin with !INTERFILE.*odd"),
        ("print('small'); image('EM.i.hdr', 'EM.i', (8, 8, 8), 1.21875)", {}, r"shape \(8, 8, 8\).*small"),
        ("print('silent')", {}, "exit status 1.*"),
    ],
)
def test_a_program_that_fails_hangs_or_writes_garbage_gets_one_sentence(
    doing, changes, sentence, scan, programs, tmp_path
):
    (programs / "hrrt_osem3d.does").write_text(doing)
    with pytest.raises(InputError, match=sentence) as caught:
        run("hrrt", scan, tmp_path / "log", **changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_missing_file_is_named(preset, scan, programs, tmp_path):
    missing = "TX.i" if preset == "hrrt" else "mu map.nii.gz"
    (tmp_path / missing).unlink()
    with pytest.raises(InputError, match=f"{missing} does not exist"):
        run(preset, scan, tmp_path / "log")


def test_a_missing_variable_of_castors_is_named(scan, programs, tmp_path, monkeypatch):
    monkeypatch.delenv("CASTOR_CONFIG")
    with pytest.raises(InputError, match="CASTOR_CONFIG: set it to the config folder of CASToR"):
        run("castor", scan, tmp_path / "log")

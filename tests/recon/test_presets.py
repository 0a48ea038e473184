"""The presets in config/recon, with stand-ins for the programs, which check what they are given."""

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
from csrd.listmode import open_listmode, thin, write_hrrt
from csrd.scanner.geometry import hrrt
from csrd.seeds import generator
from csrd.stages.export import CASTOR, YRT, export
from csrd.stages.recon import ScanFiles, image_of

ROOT = Path(__file__).parents[2]
PRESETS = ("stir", "castor", "hrrt", "yrt")
SHAPE = {"stir": (161, 161, 127)}  # the others: the HRRT's 256 x 256 x 207

# What stands in for a program: notes its name, arguments, folder and environment, looks at the files it is
# given, and writes what the program would. A file NAME.does next to it may hold other doings.
STAND_IN = """#!{python}
import json, os, sys, time
from pathlib import Path
name, args, here = Path(sys.argv[0]).name, sys.argv[1:], Path(sys.argv[0]).parent
files = {{a: Path(a).stat().st_size for a in args if Path(a).is_file()}}
with open(here / "calls.jsonl", "a") as stream:
    given = [os.environ.get("LISTMODE"), os.environ.get("OMP_NUM_THREADS")]
    stream.write(json.dumps([name, args, files, *given]) + "\\n")
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
    "lm_to_projdata": "touch('prompts_f1g1d0b0.hs')",
    "lm_fansums": "touch('fansums_f1.dat')",
    "construct_randoms_from_singles": "touch('randoms.hs')",
    "calculate_attenuation_coefficients": "touch(args[1])",
    "stir_math": "touch(args[2])",
    "OSMAPOSL": "image('image_42.hv', 'image_42.v', (161, 161, 127), 2.03125)",
    "castor-recon": "out = args[args.index('-fout') + 1]\n"
    "image(out + '_it6.hdr', out + '_it6.img', (256, 256, 207), 1.21875)",
    "lmhistogram": "touch('EM.s', 'EM.ch', 'EM.tr.s')",
    "gendelays": "touch('EM_ra.s')",
    "e7_atten": "touch('TX.a')",
    "e7_sino": "touch('EM_sc.s')",
    "hrrt_osem3d": "image('EM.i.hdr', 'EM.i', (256, 256, 207), 1.21875)",
    "yrtpet_reconstruct": "from csrd.io.volume import Volume, centred_affine\nimport numpy as np\n"
    "shape = (256, 256, 207)\n"
    "Volume(np.ones(shape, np.float32), centred_affine(shape, 1.21875)).save(args[args.index('--out') + 1])",
    "find_ML_singles_from_delayed": "assert sys.stdin.read() == ''",
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
    for name in ("mu map.i", "norm.n", "template_span11.hs", "scanner.json", "image.json"):
        (tmp_path / name).write_text("of the user's")
    low = tmp_path / "low dose.l64"
    return ScanFiles(low, Path(f"{low}.hdr"), tmp_path / "mu map.i", tmp_path / "norm.n")


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
    monkeypatch.setenv("CASTOR_CONFIG", str(tmp_path / "castor-config"))
    (tmp_path / "config").symlink_to(ROOT / "config")
    monkeypatch.chdir(tmp_path)
    return folder


def run(preset: str, scan: ScanFiles, log: Path, **changes):
    recon = load(yaml.safe_load((ROOT / f"config/recon/{preset}.yaml").read_text())).recon
    recon = recon.model_copy(update={"command": recon.command.model_copy(update=changes)})
    return image_of(scan, recon, drf=4, seed=1, subject="sub-01", threads=2, log=log)


def calls(programs: Path) -> list[list]:
    return [json.loads(line) for line in (programs / "calls.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_runs_its_programs_and_returns_their_image(preset, scan, programs, tmp_path):
    volume, sidecar = run(preset, scan, tmp_path / "log")
    assert volume.shape == SHAPE.get(preset, (256, 256, 207)) and volume.unit == "Bq/mL"
    assert np.all(volume.array == 4), "CSR-D scales the dose once"
    assert sidecar["DoseReductionFactor"] == 4
    assert not list(tmp_path.glob("*.v")), "nothing is left in the folder"


def test_stir_gets_the_listmode_and_the_corrections(scan, programs, tmp_path):
    run("stir", scan, tmp_path / "log")
    made = calls(programs)
    assert [name for name, *_ in made] == [
        "lm_to_projdata", "lm_fansums", "find_ML_singles_from_delayed", "construct_randoms_from_singles",
        "calculate_attenuation_coefficients", "stir_math", "stir_math", "OSMAPOSL",
    ]  # fmt: skip
    assert all(listmode == str(scan.header) and threads == "2" for *_, listmode, threads in made)
    for name, args, files, *_ in made:
        if name in ("lm_to_projdata", "lm_fansums", "OSMAPOSL"):
            assert list(files) == args, "its .par file"
    assert {"acf.hs", str(scan.normalisation)} <= set(made[5][2])


def test_castor_gets_the_thinned_events_and_the_scanner(scan, programs, tmp_path):
    run("castor", scan, tmp_path / "log")
    ((_, args, files, *_),) = calls(programs)
    value = dict(zip(args, args[1:], strict=False))
    assert value["-it"] == "6:16" and value["-vox"] == "1.21875,1.21875,1.21875" and value["-th"] == "2"
    assert value["-norm"] == str(scan.normalisation) in files and value["-atn"] == str(scan.mumap) in files
    assert value["-df"] in files
    table = tmp_path / "castor-config/scanner/csrd_HRRT.lut"
    assert table.stat().st_size == 119_808 * 24 and table.with_suffix(".hscan").is_file()


def test_the_hrrt_programs_get_one_anothers_files(scan, programs, tmp_path):
    run("hrrt", scan, tmp_path / "log")
    made = calls(programs)
    assert [name for name, *_ in made] == ["lmhistogram", "gendelays", "e7_atten", "e7_sino", "hrrt_osem3d"]
    assert str(scan.listmode) in made[0][2]
    assert {"EM.s", "EM.ch", "EM_sc.s", "TX.a", str(scan.normalisation)} <= set(made[4][2])
    assert "-W 3 -X 256" in " ".join(made[4][1])


def test_yrt_gets_the_thinned_events(scan, programs, tmp_path):
    run("yrt", scan, tmp_path / "log")
    ((_, args, files, *_),) = calls(programs)
    events = args[args.index("--input") + 1]
    assert files[events] == 12 * open_listmode(scan.listmode).info()["prompts"]
    assert {"scanner.json", "image.json", str(scan.mumap)} <= set(files)


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
    if preset == "castor":
        scan = replace(scan, listmode=tmp_path / "none.l64")
        missing = "none.l64 does not exist"
    else:
        (tmp_path / "mu map.i").unlink()
        missing = "mu map.i does not exist"
    with pytest.raises(InputError, match=missing):
        run(preset, scan, tmp_path / "log")


def test_what_castor_and_yrt_get_are_the_files_events(scan, tmp_path):
    block = next(open_listmode(scan.listmode).blocks())
    prompts = block.crystals[block.prompt]
    counts = export(scan.listmode, tmp_path / "a.Cdh")
    records = np.fromfile(tmp_path / "a.Cdf", CASTOR)
    assert len(records) == counts["prompts"] == len(prompts)
    assert (records["crystals"] == prompts).all() and (records["ms"] == block.time_ms[block.prompt]).all()
    header = dict(line.split(": ") for line in (tmp_path / "a.Cdh").read_text().splitlines())
    assert header["Number of events"] == str(len(prompts)) and header["Duration (s)"] == "0.1"
    lines = 20 * (72 * 104 * 2) ** 2
    # As many randoms as delayeds, were all lines summed; here all are between two of the heads
    assert counts["delayeds"] / lines < records["randoms_per_s"].mean() * 0.1 < 1
    export(scan.listmode, tmp_path / "a.lmDat")
    assert (np.fromfile(tmp_path / "a.lmDat", YRT)["crystals"] == prompts).all()
    table = np.fromfile(tmp_path / "csrd_HRRT.lut", "<f4").reshape(-1, 6)
    np.testing.assert_allclose(table[:, :3], hrrt().crystal_positions)
    np.testing.assert_allclose(np.linalg.norm(table[:, 3:], axis=1), 1, rtol=1e-6)
    with pytest.raises(InputError, match="end it in .Cdh"):
        export(scan.listmode, tmp_path / "a.txt")

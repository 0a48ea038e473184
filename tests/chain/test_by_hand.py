"""One subject of the workflow's run, stage by stage by the command `csrd`: the same bytes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from csrd.io.bids import Scan
from csrd.listmode import InterfileHeader
from csrd.seeds import key64
from tests.conftest import REPOSITORY

CSRD = Path(sys.executable).with_name("csrd")
CONFIG = "--config", REPOSITORY / "config" / "test.yaml"
SCAN = Scan("sub-03", tracer="DASB")
SEED, DRFS = 2024, (4, 10)


def csrd(*arguments: object) -> str:
    done = subprocess.run([CSRD, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def recon(results, tmp_path_factory) -> Path:
    """Return a folder of reconstructions: a quarter of the dose made by hand, the others the workflow's."""
    folder = tmp_path_factory.mktemp("hand") / "recon"
    raw = results / "raw" / SCAN.name()
    low = folder.parent / "thinned" / f"{SCAN.name('listmode', drf=4)}.l64"
    low.parent.mkdir(parents=True)
    csrd("thin", f"{raw}_listmode.l64", low, "--drf", 4, "--seed", SEED)
    for drf in (1, 10):
        for suffix in (".nii.gz", ".json"):
            path = folder / f"{SCAN.name('pet', drf=drf)}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes((results / "recon" / path.relative_to(folder)).read_bytes())
    files = "--mumap", f"{raw}_mumap.nii.gz", "--normalisation", f"{raw}_normalisation.npy"
    scatter = folder / f"{SCAN.name('scatter')}.npy"
    csrd("scatter", f"{raw}_listmode.l64", scatter, *files, *CONFIG, "--seed", SEED)
    how = *files, "--scatter", scatter, *CONFIG, "--seed", SEED
    csrd("recon", low, folder / f"{SCAN.name('pet', drf=4)}.nii.gz", *how)
    return folder


def same(by_hand: Path, by_workflow: Path) -> None:
    assert by_hand.read_bytes() == by_workflow.read_bytes(), by_hand


def test_thin_scatter_and_recon(results, recon):
    """The thinned file is temporary in the workflow: its header shows the seed, the image its events."""
    header = InterfileHeader.read(recon.parent / "thinned" / f"{SCAN.name('listmode', drf=4)}.l64.hdr")
    assert header["thinning seed"] == str(key64(SEED, "sub-03"))
    image = SCAN.name("pet", drf=4)
    for name in (f"{SCAN.name('scatter')}.npy", f"{image}.nii.gz", f"{image}.json"):
        same(recon / name, results / "recon" / name)


def test_align_denoise_and_evaluate(results, recon):
    made, wanted = recon.parent / "derivatives" / "csrd", results / "derivatives" / "csrd"
    images = {drf: recon / f"{SCAN.name('pet', drf=drf)}.nii.gz" for drf in (1, *DRFS)}
    lows = [word for drf in DRFS for word in ("--low", f"{drf}={images[drf]}")]
    t1w, facts = (results / "raw" / SCAN.name(name) for name in ("T1w.nii.gz", "subject.json"))
    csrd("align", images[1], made, *lows, "--t1w", t1w, *CONFIG, "--facts", facts)
    names = [SCAN.reference, SCAN.mr, SCAN.head, *map(SCAN.low, DRFS)]
    for name in [
        *(f"{name}{end}" for name in names for end in (".nii.gz", ".json")),
        f"{SCAN.transform}.json",
    ]:
        same(made / name, wanted / name)

    for drf in DRFS:
        names = SCAN.low(drf), SCAN.denoised(drf, "csrd"), SCAN.std(drf, "csrd")
        low, out, std = (made / f"{name}.nii.gz" for name in names)
        how = "--mr", made / f"{SCAN.mr}.nii.gz", "--model", results / "models" / "csrd", "--std", std
        csrd("denoise", low, out, *how)
        for path in (out, std):
            same(path, wanted / path.relative_to(made))

    table = recon.parent / "sub-03_csrd.csv"
    judged = [made / f"{SCAN.denoised(drf, 'csrd')}.nii.gz" for drf in DRFS]
    how = "--mask", made / f"{SCAN.head}.nii.gz", "--table", table, *CONFIG, "--facts", facts
    rows = json.loads(csrd("evaluate", made / f"{SCAN.reference}.nii.gz", *judged, *how))
    assert [(row["subject"], row["drf"], row["method"]) for row in rows] == [
        ("sub-03", drf, "csrd") for drf in DRFS
    ]
    same(table, results / "metrics" / "sub-03_csrd.csv")

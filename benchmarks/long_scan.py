"""Time and memory of a long scan of the Biograph mMR, thinned and reconstructed at the vendor's slices.

    python benchmarks/long_scan.py FOLDER [--words 3.5e8] [--iterations 2] [--seconds 20] [--part]

A head with [18F]FDG is scanned by the virtual mMR for some seconds. Its words are repeated, each time with
the time tags of the seconds that follow, until the file has that many (3.5e8: 1.4 GB, as in ds003382). Then
`csrd thin` and `csrd recon` run as programs of their own, of which the time and the largest memory are
printed. Scatter is estimated. FOLDER needs 3 GB; a long.l that is there already is used again.
"""

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from csrd.io.files import header_path
from csrd.io.interfile import InterfileHeader
from csrd.io.volume import Volume
from csrd.listmode import open_listmode
from csrd.listmode.petlink import MS_MASK, TIME_KIND
from csrd.scanner.geometry import mmr
from csrd.stages.simulate import simulate_anatomy, write_scan
from csrd.virtual.acquire import Acquisition

FDG = "config/tracers/FDG.tsv"
SETTINGS = "recon: {{voxel_mm: 2.03125, matrix: [112, 128, 127], iterations: {iterations}}}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--words", type=float, default=3.5e8)
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--part", action="store_true", help="Leave the reconstruction of all events out.")
    chosen = parser.parse_args()
    folder = chosen.folder
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "long.l").exists():
        # In a process of its own: the memory of a program includes that of the one which started it
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            base = pool.submit(scan_of_a_head, folder, chosen.seconds).result()
        started = time.monotonic()
        repeated(base, folder / "long.l", int(chosen.words))
        print(f"wrote {folder / 'long.l'} in {time.monotonic() - started:.0f} s")
    info = open_listmode(folder / "long.l").info()
    print({key: info[key] for key in ("bytes", "prompts", "delayeds", "duration_s")})
    (folder / "recon.yaml").write_text(SETTINGS.format(iterations=chosen.iterations))
    corrections = ["--mumap", folder / "mumap.nii.gz", "--normalisation", folder / "ones.npy"]
    how = ["--config", folder / "recon.yaml", "--subject", "sub-01"]
    measured("cp", ["cp", folder / "long.l", folder / "copy.l"])
    (folder / "copy.l").unlink()
    files = {name: folder / f"{name}.l" for name in ("long", "low")}
    measured("csrd thin", [*csrd("thin"), *files.values(), "--drf", "10", "--subject", "sub-01"])
    for name in ("low",) if chosen.part else ("low", "long"):
        target = folder / f"{name}.nii.gz"
        measured(f"csrd recon {name}.l", [*csrd("recon"), files[name], target, *corrections, *how])


def scan_of_a_head(folder: Path, seconds: float) -> Path:
    """Write the scan of a virtual head by perfect crystals, its μ-map and efficiencies; return the scan."""
    images = {key: folder / f"{key}.nii.gz" for key in ("mr", "mumap", "activity", "labels", "brainmask")}
    others = {"facts_out": folder / "facts.json", "mr_to_pet": folder / "mr.json"}
    facts = {"tracer": "FDG", "weight_kg": 70.0, "injected_MBq": 100.0}
    how = {"start_s": 2700, "voxel_mm": 2.4375, "seed": 1, "subject": "sub-01"}
    simulate_anatomy(FDG, facts, **images, **others, **how)
    perfect = np.ones(mmr().crystals, np.float32)
    np.save(folder / "ones.npy", perfect)
    activity, mumap = (Volume.load(images[key]) for key in ("activity", "mumap"))
    scan = Acquisition(seconds, half_life_s=6586.2, branching=0.967, randoms_fraction=0.2, scatter=True)
    write_scan(
        folder / "base.l", activity, mumap, perfect, mmr(), scan, 1, "sub-01", threads=os.cpu_count() or 1
    )
    return folder / "base.l"


def repeated(base: Path, target: Path, words: int) -> None:
    """Write the words of a scan again and again, until they are so many, each time with later time tags."""
    once = np.fromfile(base, "<u4")
    tags = once >> 29 == TIME_KIND >> 29
    length_ms, times = int(tags.sum()), -(-words // len(once))
    with open(target, "wb") as stream:
        for number in range(times):
            later = once.copy()
            later[tags] = (once[tags] & MS_MASK) + np.uint32(number * length_ms) | np.uint32(TIME_KIND)
            stream.write(later.data)
    header = InterfileHeader(header_path(base).read_text())
    fixed = {
        "name of data file": target.name,
        "image duration (sec)": times * length_ms / 1000,
        "%total listmode word counts": times * len(once),
    }
    header_path(target).write_bytes(header.replace(fixed).encode())


def csrd(command: str) -> list:
    return [Path(sys.executable).with_name("csrd"), command]


def measured(name: str, command: list) -> None:
    """Run a program; print its time and the largest memory it had."""
    started = time.monotonic()
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.monotonic() - started
    assert status == 0, f"{name} ended with {status}"
    cpu_s = used.ru_utime + used.ru_stime
    print(f"{name}: {seconds:.1f} s ({cpu_s:.1f} s of CPU), {used.ru_maxrss / 1e6:.2f} GB", flush=True)


if __name__ == "__main__":
    main()

"""Simulation and reconstruction of the cohort of `config/gpu.yaml`, head by head.

Heads come from a file of `home.py heads`. The images of each are kept in the state folder, where a later call
goes on; once all are there, `pack.npz` has the pairs for `useful.py`. The MR is on the PET's grid by its true
matrix: registration is left to the CPU afterwards.
"""

import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import cohort_heads as cohort
import numpy as np
import torch
from cohort_heads import DRFS, SEED, Head, Images
from pack import write_pack
from record import Record, arguments, machine

from csrd.io.volume import Volume, centred_affine
from csrd.listmode import open_listmode, thin
from csrd.recon import sensitivity as sensitivities
from csrd.recon.embedded import reconstruct
from csrd.recon.sensitivity import geometric_sensitivity, subject_sensitivity
from csrd.resample import resample
from csrd.scanner.geometry import hrrt
from csrd.stages.simulate import write_scan
from csrd.train.patches import Scan
from csrd.virtual import acquire
from csrd.virtual.acquire import Acquisition, crystal_efficiencies

RESERVE_S = 60.0  # a head that is begun in time is finished


def main() -> int:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--heads", type=Path, required=True, help="the file of home.py heads")
    parser.add_argument("--state", type=Path, required=True, help="folder of what is done; goes on there")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--threads", type=int, default=16)
    given = parser.parse_args()
    record, started = Record(given.part, given.only), time.monotonic()
    record.measure("machine", lambda: machine(given.device))
    given.state.mkdir(parents=True, exist_ok=True)
    heads = cohort.read_heads(given.heads)
    if given.tiny:
        acquire.PILOT_DECAYS, sensitivities.LINES_AT_A_TIME = 2e4, 1000
    grid = _geometric(given)
    for head in heads:
        path = given.state / f"{head.subject}.npz"
        if not path.exists() and time.monotonic() - started < 60 * given.minutes - RESERVE_S:
            record.measure(head.subject, partial(of_head, head, grid, path, given))
    done = [Images.read(path) for path in sorted(given.state.glob(cohort.IMAGES))]
    record.measure("heads", lambda: {"done": len(done), "of": len(heads)})
    if len(done) == len(heads):
        record.measure("pack", lambda: pack(done, given.state / "pack.npz"))
    return 1 if record.failed else 0


def _geometric(given) -> Volume:
    """Return the scanner's sensitivity, computed once; in miniature 1 everywhere."""
    if given.tiny:
        return Volume(np.ones((16,) * 3, np.float32), centred_affine((16,) * 3, 16.0), "mm3")
    shape, voxel = cohort.MATRIX, cohort.VOXEL_MM
    path = given.state / "geometric.npy"
    if not path.exists():
        np.save(path, geometric_sensitivity(hrrt(), shape, voxel).array)
    return Volume(np.load(path), centred_affine(shape, voxel), "mm3")


def of_head(head: Head, grid: Volume, path: Path, given) -> dict:
    """Write the images of a head; return the seconds of each step, and the counts."""
    scanner, spent = hrrt(), {}
    efficiencies = crystal_efficiencies(scanner, SEED, head.subject)
    scan = cohort.SCAN | ({"duration_s": 0.05, "scatter": False} if given.tiny else {})
    settings = cohort.recon(given.device, **({"subsets": 2, "iterations": 1} if given.tiny else {}))
    settings.estimates_scatter = scan["scatter"]
    mumap = resample(head.mumap, grid)

    def timed(name: str, work):
        begun = time.perf_counter()
        found = work()
        spent[name] = round(time.perf_counter() - begun, 2)
        return found

    with tempfile.TemporaryDirectory(dir=given.state) as folder:
        normal = Path(folder, "normal.l64")
        of_scan = efficiencies, scanner, Acquisition(**scan), SEED, head.subject, given.threads
        counts = timed(
            "simulate", lambda: write_scan(normal, head.activity, head.mumap, *of_scan, device=given.device)
        )
        of_subject = mumap, efficiencies, 1000 if given.tiny else cohort.LINES, SEED, head.subject
        sensitivity = timed(
            "sensitivity", lambda: subject_sensitivity(scanner, grid, *of_subject, given.device)
        )
        doses = {}
        for drf in (1, *DRFS):
            listmode = normal if drf == 1 else Path(folder, f"{drf}.l64")
            if drf > 1:
                timed(f"thin {drf}", lambda drf=drf, to=listmode: thin(normal, to, drf=drf, seed=SEED))
            arrays = open_listmode(listmode), mumap, efficiencies, sensitivity, scanner, settings, drf
            image, _ = timed(f"reconstruct {drf}", lambda a=arrays: reconstruct(*a, SEED, head.subject))
            doses[drf] = cropped(image, given.tiny).astype(np.float32)
    mr = cropped(resample(head.mr, grid), given.tiny)
    Images(head.subject, head.split, doses, mr, cropped(mumap, given.tiny) > cohort.TISSUE).write(path)
    return spent | counts


def cropped(volume: Volume, tiny: bool) -> np.ndarray:
    """Return the common grid's voxels, at the middle."""
    crop = volume.shape if tiny else cohort.CROP
    starts = [(n - part) // 2 for n, part in zip(volume.shape, crop, strict=True)]
    return volume.array[tuple(slice(s, s + part) for s, part in zip(starts, crop, strict=True))]


def pack(done: list[Images], path: Path) -> dict:
    """Write the pairs of training and validation for `useful.py`; return residuals' units by dose."""
    units = units_of(done)
    scans = [
        (scan_of(images, drf, units), images.mask, images.split)
        for images in done
        for drf in cohort.TRAIN_DRFS
        if images.split != "test"
    ]
    write_pack(path, scans)
    return {"pairs": len(scans), "units": units}


def units_of(done: list[Images]) -> dict[int, float]:
    """Return what residuals of each dose are divided by, a mean over the training heads."""
    trained = [images.unit() for images in done if images.split == "train"]
    return {drf: float(np.mean([unit[drf] for unit in trained])) for drf in DRFS}


def scan_of(images: Images, drf: int, units: dict[int, float]) -> Scan:
    """Return a low dose with the MR in a network's units."""
    low, normal = images.doses[drf] / images.scale, images.doses[1] / images.scale
    mr = images.mr / images.mr[images.mask].mean()
    inputs = torch.from_numpy(np.stack([low, mr]).astype(np.float32))
    target = torch.from_numpy(((low - normal) / units[drf])[None].astype(np.float32))
    return Scan(inputs, target, float(np.log(drf)), units[drf], subject=images.subject)


if __name__ == "__main__":
    sys.exit(main())

"""Files for YRT-PET: events `.lmDat`, scanner `scanner.json` and `.lut`, sensitivity, and blurring kernel.

A record is the time in ms and the two crystals (uint32), and the background (float32), little-endian.
YRT-PET's crystals are ordered by layer, ring and place round the ring. Its own sensitivity gives every line
the weight 1, so ours is handed over, and the background is divided by the line's factors: r/(exposure · g ·
a · ε). The image then is in Bq/mL. Facts: YRT-PET's documentation and its program, 2.0.7.
"""

import json
from pathlib import Path

import numpy as np

from csrd.engines.castor import scanner_name
from csrd.engines.model import EngineModel
from csrd.io.files import whole_file
from csrd.scanner.geometry import Scanner

YRT = np.dtype([("ms", "<u4"), ("crystals", "<u4", 2), ("background", "<f4")])
FORMAT_VERSION = 3.0
KERNEL_SIGMAS = 4


def write_yrt(target: Path, model: EngineModel) -> dict:
    """Write a scan's files for YRT-PET beside `target` (.lmDat); return counts and the scanner's name."""
    name, order = scanner_name(model.scanner), ring_order(model.scanner)
    with whole_file(target) as part:
        prompts = _write_records(part, model, np.argsort(order))
    with whole_file(target.with_name(f"{name}.lut")) as part:
        model.lookup(order).tofile(part)
    with whole_file(target.with_name("scanner.json")) as part:
        part.write_text(json.dumps(_scanner(model.scanner, name), indent=2) + "\n")
    counts = model.counts_per_unit()
    counts.save(target.with_name("sensitivity.nii.gz"))
    model.start(counts).save(target.with_name("initial.nii.gz"))
    if model.blur_sigma_mm:
        with whole_file(target.with_name("psf.csv")) as part:
            np.savetxt(part, _kernels(model.blur_sigma_mm, model.sensitivity.voxel_mm), "%.9g", ",")
    return {"prompts": prompts, "delayeds": model.delayeds, "scanner": name}


def ring_order(scanner: Scanner) -> np.ndarray:
    """Return our crystals in YRT-PET's order, (C,): layer by layer, ring by ring, round the ring."""
    shape = (scanner.heads, scanner.layers, scanner.rings, scanner.columns)
    return np.arange(scanner.crystals).reshape(shape).transpose(1, 2, 0, 3).ravel()


def _write_records(path: Path, model: EngineModel, numbers: np.ndarray) -> int:
    """Write a record for each prompt, its crystals by YRT-PET's `numbers` (C,); return how many there are."""
    prompts = 0
    with open(path, "wb") as stream:
        for block in model.records():
            records = np.empty(len(block.ms), YRT)
            records["ms"], records["crystals"] = block.ms, numbers[block.crystals]
            records["background"] = block.background / (model.exposure * block.detected * block.attenuation)
            stream.write(records.tobytes())
            prompts += len(records)
    return prompts


def _scanner(scanner: Scanner, name: str) -> dict:
    """Return the description of a scanner, with its table of crystals."""
    a, b = scanner.head_pairs.T
    heads_apart = int(np.minimum(b - a, a - b + scanner.heads).min())
    return {
        "VERSION": FORMAT_VERSION,
        "scannerName": scanner.name,
        "detCoord": f"{name}.lut",
        "axialFOV": scanner.rings * scanner.ring_pitch_mm,
        "crystalSize_trans": scanner.pitch_mm,
        "crystalSize_z": scanner.ring_pitch_mm,
        "crystalDepth": scanner.layer_mm,
        "scannerRadius": scanner.face_radius_mm,
        "detsPerRing": scanner.heads * scanner.columns,
        "numRings": scanner.rings,
        "numDOI": scanner.layers,
        "maxRingDiff": min(scanner.max_ring_difference, scanner.rings - 1),
        "minAngDiff": max(2, (heads_apart - 1) * scanner.columns // 2 * 2),
        "detsPerBlock": scanner.columns,
    }


def _kernels(sigma_mm: float, voxel_mm: np.ndarray) -> np.ndarray:
    """Return Gaussian kernels along x, y, z, and in the last row their lengths, (4, longest)."""
    half = np.ceil(KERNEL_SIGMAS * sigma_mm / voxel_mm).astype(int)
    table = np.zeros((4, max(2 * half.max() + 1, 3)))
    for axis, (steps, mm) in enumerate(zip(half, voxel_mm, strict=True)):
        kernel = np.exp(-0.5 * (np.arange(-steps, steps + 1) * mm / sigma_mm) ** 2)
        table[axis, : len(kernel)] = kernel / kernel.sum()
    table[3, :3] = 2 * half + 1
    return table

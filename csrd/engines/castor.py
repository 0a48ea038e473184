"""Files for CASToR: events `.Cdh` and `.Cdf`, scanner `.hscan` and `.lut`, sensitivity, first image.

All is little-endian. A record is the time in ms (uint32), the attenuation correction factor, the randoms in
counts per second and the normalisation factor (float32), and the two crystals (uint32 each). CASToR divides
its projection by attenuation and normalisation factors and multiplies it by the duration; randoms have no
effect without these factors. The normalisation factor duration/(exposure · g · ε) makes its image Bq/mL.
Facts: CASToR's documentation and its program, 3.1.1.
"""

import re
from pathlib import Path

import numpy as np

from csrd.engines.model import EngineModel
from csrd.io.files import whole_file
from csrd.io.volume import Volume
from csrd.scanner.geometry import Scanner

CASTOR = np.dtype(
    [
        ("ms", "<u4"),
        ("attenuation", "<f4"),
        ("background_per_s", "<f4"),
        ("norm", "<f4"),
        ("crystals", "<u4", 2),
    ]
)


def write_castor(target: Path, model: EngineModel) -> dict:
    """Write a scan's files for CASToR beside `target` (.Cdh); return counts and the scanner's name."""
    name = scanner_name(model.scanner)
    data = target.with_suffix(".Cdf")
    with whole_file(target) as header_part, whole_file(data) as data_part:
        prompts = _write_records(data_part, model)
        header_part.write_text(
            f"Data filename: {data.name}\nNumber of events: {prompts}\nData mode: list-mode\n"
            f"Data type: PET\nStart time (s): 0\nDuration (s): {model.timing.duration_s:.9g}\n"
            f"Scanner name: {name}\n"
            "Calibration factor: 1\nIsotope: unknown\nMaximum number of lines per event: 1\n"
            "Attenuation correction flag: 1\nNormalization correction flag: 1\nScatter correction flag: 0\n"
            "Random correction flag: 1\nTOF information flag: 0\n"
        )
    with whole_file(target.with_name(f"{name}.lut")) as part:
        model.lookup().tofile(part)
    with whole_file(target.with_name(f"{name}.hscan")) as part:
        part.write_text(_scanner_header(model.scanner, name))
    counts = model.counts_per_unit()
    write_image(target.with_name("sensitivity.hdr"), counts)
    write_image(target.with_name("initial.hdr"), model.start(counts))
    return {"prompts": prompts, "delayeds": model.delayeds, "scanner": name}


def scanner_name(scanner: Scanner) -> str:
    """Return a scanner's name as part of a file name; a PETSIRD file names its scanner itself."""
    return "csrd_" + re.sub(r"[^A-Za-z0-9-]+", "_", scanner.name)


def _write_records(path: Path, model: EngineModel) -> int:
    """Write a record for each prompt; return their number."""
    prompts, seconds = 0, model.timing.duration_s
    with open(path, "wb") as stream:
        for block in model.records():
            records = np.empty(len(block.ms), CASTOR)
            records["ms"], records["crystals"] = block.ms, block.crystals
            records["attenuation"] = 1 / block.attenuation
            records["background_per_s"] = block.background / seconds
            records["norm"] = seconds / (model.exposure * block.detected)
            stream.write(records.tobytes())
            prompts += len(records)
    return prompts


def write_image(path: Path, image: Volume, number_format: str = "short float") -> None:
    """Write an image as Interfile, x fastest; CASToR calls float32 "short float", STIR "float"."""
    with whole_file(path.with_suffix(".img")) as part:
        image.array.transpose(2, 1, 0).astype("<f4").tofile(part)
    axes = [f"!matrix size [{i + 1}] := {n}" for i, n in enumerate(image.shape)]
    axes += [f"scaling factor (mm/pixel) [{i + 1}] := {mm:.9g}" for i, mm in enumerate(image.voxel_mm)]
    lines = [
        "!INTERFILE :=",
        f"!name of data file := {path.with_suffix('.img').name}",
        "imagedata byte order := LITTLEENDIAN",
        f"!number format := {number_format}",
        "!number of bytes per pixel := 4",
        "number of dimensions := 3",
        *axes,
        "!END OF INTERFILE :=",
    ]
    with whole_file(path) as part:
        part.write_text("\n".join(lines) + "\n")


def _scanner_header(scanner: Scanner, name: str) -> str:
    """Return the header of the look-up table.

    CASToR counts all crystals of a layer before the next; ours go head by head: one layer, it says.
    """
    length = scanner.rings * scanner.ring_pitch_mm
    return (
        f"modality: PET\nscanner name: {name}\nnumber of elements: {scanner.crystals}\n"
        f"number of layers: 1\nnumber of crystals in layer(s): {scanner.crystals}\n"
        f"crystals size depth: {scanner.layer_mm:g}\ncrystals size transaxial: {scanner.pitch_mm:g}\n"
        f"crystals size axial: {scanner.ring_pitch_mm:g}\nmean depth of interaction: -1\n"
        f"scanner radius: {scanner.face_radius_mm:g}\nmin angle difference: 0\n"
        f"voxels number transaxial: {round(scanner.face_radius_mm / scanner.pitch_mm)}\n"
        f"voxels number axial: {scanner.rings}\n"
        f"field of view transaxial: {scanner.face_radius_mm:g}\nfield of view axial: {length:g}\n"
    )

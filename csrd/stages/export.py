"""Events for other engines, CASToR (`.Cdh`, `.Cdf`) and YRT-PET (`.lmDat`), and the scanner as a table.

All is little-endian. A record of CASToR's data file is the time in ms (uint32), the randoms expected on the
line in counts per second (float32) and the two crystals (uint32 each); YRT-PET's has no randoms. The table
lists each crystal's centre and outward normal, six float32. Facts: CASToR's and YRT-PET's documentation;
neither program was run here.
"""

import re
from pathlib import Path

import numpy as np

from csrd.errors import InputError
from csrd.io.files import whole_file
from csrd.listmode import ListMode, open_listmode
from csrd.listmode.timing import Timing
from csrd.recon.corrections import randoms_rates
from csrd.recon.embedded import Events
from csrd.scanner.geometry import Scanner
from csrd.scanner.petsird import scanner_of_scan
from csrd.stages.import_ import efficiencies_of, normalised_scanner

CASTOR = np.dtype([("ms", "<u4"), ("randoms_per_s", "<f4"), ("crystals", "<u4", 2)])
YRT = np.dtype([("ms", "<u4"), ("crystals", "<u4", 2)])


def export(source: Path, target: Path, normalisation: Path | None = None) -> dict:
    """Write a list-mode file's prompts as `target` (.Cdh or .lmDat), and the scanner's table; return counts.

    The events of CASToR carry randoms, from the file's delayeds. Attenuation and efficiencies are in no
    record: the programs take them as files of their own. The table `csrd_<name>.lut`, for CASToR with its
    header .hscan, stands beside the target.
    Raises InputError for a target of another suffix or an unusable input.
    """
    if target.suffix not in (".Cdh", ".lmDat"):
        raise InputError(f"{target} names no format to write; end it in .Cdh (CASToR) or .lmDat (YRT-PET)")
    listmode = open_listmode(source)
    scanner = scanner_of_scan(listmode)
    name = "csrd_" + re.sub(r"[^A-Za-z0-9-]+", "_", scanner.name)  # a PETSIRD file names its scanner itself
    if target.suffix == ".lmDat":
        with whole_file(target) as part:
            counts = _write_records(part, listmode, YRT)
    else:
        counts = _write_castor(target, listmode, scanner, normalisation, name)
    with whole_file(target.with_name(f"{name}.lut")) as part:
        _lookup(scanner).tofile(part)
    return {**counts, "scanner": name}


def _write_castor(
    target: Path, listmode: ListMode, scanner: Scanner, normalisation: Path | None, name: str
) -> dict:
    """Write CASToR's header, data and scanner; return counts."""
    named, events, fans = Timing.of(listmode), Events(listmode), np.zeros(scanner.crystals)
    for block in events:
        fans += np.bincount(block.crystals[~block.prompt].ravel(), minlength=scanner.crystals)
    timing = named.over(events.survey, listmode)
    scanner, _ = normalised_scanner(scanner, normalisation, listmode=listmode)
    rates = randoms_rates(fans, scanner, efficiencies_of(normalisation, scanner))
    data = target.with_suffix(".Cdf")
    with whole_file(target) as header_part, whole_file(data) as data_part:
        counts = _write_records(data_part, listmode, CASTOR, rates / np.sqrt(timing.duration_s))
        header_part.write_text(
            f"Data filename: {data.name}\nNumber of events: {counts['prompts']}\nData mode: list-mode\n"
            f"Data type: PET\nStart time (s): 0\nDuration (s): {timing.duration_s:.9g}\n"
            f"Scanner name: {name}\n"
            "Calibration factor: 1\nIsotope: unknown\nMaximum number of lines per event: 1\n"
            "Attenuation correction flag: 0\nNormalization correction flag: 0\nScatter correction flag: 0\n"
            "Random correction flag: 1\nTOF information flag: 0\n"
        )
    with whole_file(target.with_name(f"{name}.hscan")) as part:
        part.write_text(_castor_scanner(scanner, name))
    return counts | {"delayeds": int(fans.sum() / 2)}


def _write_records(
    path: Path, listmode: ListMode, record: np.dtype, rates: np.ndarray | None = None
) -> dict[str, int]:
    """Write a record for each prompt; `rates` (C,) are such that a line has s_a · s_b randoms per second."""
    prompts = 0
    with open(path, "wb") as stream:
        for block in listmode.blocks():
            crystals = block.crystals[block.prompt]
            records = np.empty(len(crystals), record)
            records["ms"], records["crystals"] = block.time_ms[block.prompt], crystals
            if rates is not None:
                records["randoms_per_s"] = rates[crystals].prod(axis=1)
            stream.write(records.tobytes())
            prompts += len(crystals)
    return {"prompts": prompts}


def _lookup(scanner: Scanner) -> np.ndarray:
    """Return the centre in mm and the outward normal of every crystal, (C, 6) float32."""
    normals = scanner.head_normals.repeat(scanner.crystals_per_head, axis=0)
    return np.concatenate([scanner.crystal_positions, normals], axis=1).astype("<f4")


def _castor_scanner(scanner: Scanner, name: str) -> str:
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

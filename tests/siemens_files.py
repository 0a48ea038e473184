"""Raw data as a Siemens Biograph mMR writes them: DICOM with the private elements, and the .bf beside."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from csrd.config.sections import MmrNorm
from csrd.io.files import header_path
from csrd.listmode import mmr_bins, open_listmode, write_petlink
from csrd.scanner.geometry import mmr
from csrd.scanner.mmr_norm import BIN_SIZE_MM, PHASES, SHAPES, SINOGRAMS, Norm, normalised
from csrd.scanner.response import line_factors
from csrd.seeds import generator

SOFTWARE = {"syngo MR B20P": (0x1010, ""), "syngo MR E11": (0x1110, "SV10\x04\x03\x02\x01 CSA")}
RAW_STORAGE = "1.2.840.10008.5.1.4.1.1.66"  # Raw Data Storage


def raw_dicom(
    path: Path, kind: str, header: str, software: str = "syngo MR B20P", data: bytes | None = b"\0\0"
) -> Path:
    """Write the DICOM file of raw data of this kind, with `data` in (7fe1,1010), or without the element."""
    element, other = SOFTWARE[software]
    content = Dataset()
    content.file_meta = FileMetaDataset()
    content.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    content.file_meta.MediaStorageSOPClassUID = content.SOPClassUID = RAW_STORAGE
    uid = generate_uid(entropy_srcs=[path.name, kind])
    content.file_meta.MediaStorageSOPInstanceUID = content.SOPInstanceUID = uid
    content.ImageType = ["ORIGINAL", "PRIMARY", kind]
    content.Modality, content.Manufacturer, content.ManufacturerModelName = "PT", "SIEMENS", "Biograph_mMR"
    content.SoftwareVersions, content.PatientPosition, content.PatientID = software, "HFS", "TEST"
    content.add_new((0x0029, 0x0010), "LO", "SIEMENS MEDCOM HEADER")
    content.add_new((0x0029, 0x0011), "LO", "SIEMENS CSA HEADER")
    if other:
        content.add_new((0x0029, 0x1010), "OB", _even(other.encode("latin-1")))
    content.add_new((0x0029, element), "OB", _even(header.encode("latin-1")))
    if data is not None:
        content.add_new((0x7FE1, 0x0010), "LO", "SIEMENS CSA NON-IMAGE")
        content.add_new((0x7FE1, 0x1010), "OB", _even(data))
    path.parent.mkdir(parents=True, exist_ok=True)
    content.save_as(path, enforce_file_format=True)
    return path


def pair_of(petlink: Path, target: Path, software: str = "syngo MR B20P", inside: bool = False) -> Path:
    """Write a .l file with its header as a pair .dcm and .bf, or `inside` one .dcm; return the .dcm.

    The word count in the header is that of the data.
    """
    words = petlink.read_bytes()
    lines = [line for line in header_path(petlink).read_text().splitlines() if "word counts" not in line]
    header = "\r\n".join([*lines, f"%total listmode word counts:={len(words) // 4}", ""])
    raw_dicom(target, "PET_LISTMODE", header, software, words if inside else b"\0\0")
    if not inside:
        target.with_suffix(".bf").write_bytes(words)
    return target


def norm_pair(
    components: np.ndarray, target: Path, quantification: float, software: str = "syngo MR B20P"
) -> Path:
    """Write a normalisation's 80,851 values as norm.dcm and norm.bf; return the .dcm."""
    header = "\r\n".join(
        [
            "!INTERFILE:=",
            "!originating system:=2008",
            "%SMS-MI header name space:=PETCT norm",
            f"%scanner quantification factor (Bq*s/ECAT counts):={quantification:.6e}",
            "",
        ]
    )
    raw_dicom(target, "PET_NORM", header, software)
    target.with_suffix(".bf").write_bytes(np.asarray(components, "<f4").tobytes())
    return target


def _even(value: bytes) -> bytes:
    return value + b"\0" * (len(value) % 2)


MIDDLE = 32  # a ring
SPREADS = {"geometric": 0.08, "interference": 0.08, "efficiencies": 0.1, "axial": 0.08}
PERFECT = 1e3 / BIN_SIZE_MM  # of the scanner: with it as calibration, n is g in mm²


def perfect_norm() -> Norm:
    """Return the components by which every line has the factor g of a scanner of perfect crystals, in mm².

    g is no product of a part along the axis and one across it: it is exact between rings that face one
    another, and elsewhere on the average of the lines through the head.
    """
    across = np.zeros((mmr_bins.BINS, PHASES))
    for view in range(PHASES):
        lines, bins = facing_lines(view)
        across[bins, view] = line_factors(mmr(), lines)
    seen = across > 0
    mean = across.sum(1) / np.maximum(seen.sum(1), 1)
    interference = np.divide(across, mean[:, None], out=np.ones_like(across), where=seen)
    lines, bins = facing_lines(3)
    lines = lines[abs(bins - mmr_bins.BINS // 2) <= 60].astype(np.int64)
    facing, axial = line_factors(mmr(), lines).mean(), np.ones(SHAPES["axial"])
    for number in range(len(axial)):
        rings = np.argwhere(number == SINOGRAMS)
        moved = (lines + (MIDDLE - pair) * mmr_bins.COLUMNS for pair in rings)
        axial[number] = facing / np.mean([line_factors(mmr(), oblique).mean() for oblique in moved])
    efficiencies, dead = np.ones(SHAPES["efficiencies"]), [np.zeros(SHAPES[key]) for key in list(SHAPES)[4:]]
    geometric = np.tile(mean, (SHAPES["geometric"][0], 1))
    return Norm(geometric, interference, efficiencies, axial, *dead, quantification=PERFECT)


def facing_lines(view: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the crystals (N, 2) of a view's lines between the middle rings, and their bins (N,)."""
    plane = int(mmr_bins.RING_PLANE[MIDDLE, MIDDLE])
    found = []
    for at in range(mmr_bins.BINS):
        a, b = mmr_bins.crystals_of((plane * mmr_bins.VIEWS + view) * mmr_bins.BINS + at)
        if a >= 0 and mmr_bins.coincide(a, b):
            found.append((a, b, at))
    lines = np.array(found)
    return lines[:, :2].astype(np.uint32), lines[:, 2]


def varied(norm: Norm, gap_marked: bool = True) -> Norm:
    """Return a norm with each component multiplied by random factors around 1."""
    draw = generator(1, "varied")
    parts = {
        key: getattr(norm, key)
        * np.clip(draw.normal(1, spread, SHAPES[key]), 1 - 1.5 * spread, 1 + 1.5 * spread)
        for key, spread in SPREADS.items()
    }
    if gap_marked:
        parts["efficiencies"][:, 8::9] = 0
    return replace(norm, **parts)


def recorded(source: Path, norm: Norm, target: Path) -> None:
    """Write the events that a scanner of this norm keeps, of those that perfect crystals record."""
    scanner, _ = normalised(mmr(), norm, MmrNorm())
    segments, probable = [], 0.0
    for block in open_listmode(source).blocks(1 << 20):
        kept = scanner.measured_factors(block.crystals) * scanner.efficiencies[block.crystals].prod(1)
        segments.append((block, kept / line_factors(scanner, block.crystals)))
        probable = max(probable, float(segments[-1][1].max()))
    draw = generator(1, "recorded")
    # As many as the probabilities themselves would keep, so that the image keeps its scale
    header = {**open_listmode(source).header, "Dead time correction factor": probable}
    write_petlink(target, (_chosen(block, kept / probable, draw) for block, kept in segments), header)


def _chosen(block, chance: np.ndarray, draw: np.random.Generator) -> tuple:
    here = draw.random(len(chance)) < chance
    return block.crystals[here], block.prompt[here], block.time_ms[here]

"""Raw data as a Siemens Biograph mMR writes them: DICOM with the private elements, and the .bf beside."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from csrd.io.files import header_path

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

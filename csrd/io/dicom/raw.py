"""Raw data of Siemens PET/MR scanners in DICOM: the kind of data, their Interfile header, and their place.

A scan is a pair NAME.dcm and NAME.bf. The Interfile header is the text of the private element (0029,1010),
or of (0029,1110) where that one is empty or holds Siemens' own header, which contains SV10. The data are in
(7fe1,1010), or in the .bf where that element has another length. Facts: UCL/pet-rd-tools, NiftyPET/NIPET.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, generate_uid

from csrd.errors import InputError
from csrd.io.dicom.series import ELEMENT_ERRORS
from csrd.io.interfile import ENCODING, InterfileHeader
from csrd.io.raw_names import KINDS

HEADERS = Tag(0x0029, 0x1010), Tag(0x0029, 0x1110)
DATA = Tag(0x7FE1, 0x1010)
OWN_HEADER = "SV10"  # in a (0029,1010) that is not the Interfile header
LONG_BYTES = 1 << 22  # elements beyond it are not read with the others
ELSEWHERE = b"\0\0"  # in place of data that lie in the .bf: no multiple of a word, so never taken for them


@dataclass(frozen=True)
class RawData:
    """What the DICOM file of raw data says; `data` is the (first byte, length) of (7fe1,1010) in the file."""

    path: Path
    kind: str
    header: InterfileHeader
    element: BaseTag  # that holds the header
    data: tuple[int, int]

    @property
    def beside(self) -> Path:
        """Return the path of the data where they are not in the DICOM file."""
        return next((path for path in self._candidates if path.is_file()), self._candidates[0])

    @property
    def _candidates(self) -> list[Path]:
        return [self.path.with_suffix(suffix) for suffix in (".bf", ".BF")]

    def place(self, size: int) -> tuple[Path, int]:
        """Return the file with data of `size` bytes, and their first byte there.

        Raises InputError where neither the DICOM file nor the .bf beside it has data of this size.
        """
        first, length = self.data
        if length == size:
            return self.path, first
        beside = self.beside
        if not beside.is_file():
            inside = f"holds {length} bytes of data" if length else "holds no data"
            raise InputError(f"{self.path} {inside}, and {beside} does not exist; put both into one folder")
        if (found := beside.stat().st_size) != size:
            raise InputError(
                f"{beside} has {found} bytes, but its header in {self.path.name} says {size}; copy both again"
            )
        return beside, 0

    def require(self, kind: str) -> None:
        """Raise InputError where the data are of another kind."""
        if self.kind != kind:
            what = KINDS.get(self.kind, f"of kind {self.kind!r}")
            raise InputError(f"{self.path} is {what}, not {KINDS[kind]}; give the file of that kind")


def read_raw(path: str | Path) -> RawData:
    """Return what the DICOM file of raw data says, given either half of the pair.

    Raises InputError where it is missing, no DICOM file of raw PET data of Siemens, or damaged.
    """
    path = _dicom_of(Path(path))
    content = _read(path)
    try:
        kind = _kind(path, content)
        element, text = _header(content)
        data = _place(path, content)
    except ELEMENT_ERRORS as error:
        if isinstance(error, InputError):
            raise
        reason = " ".join(str(error).split())
        raise InputError(f"{path} has an element that cannot be read ({reason}); copy it again") from None
    if element is None:
        raise InputError(f"{path} has no Interfile header in (0029,1010) or (0029,1110); copy it again")
    return RawData(path, kind, InterfileHeader(text), element, data)


def write_raw(source: RawData, header: InterfileHeader, target: Path, size: int, inside: bool) -> None:
    """Write the DICOM file of other data of `size` bytes with their `header`, which lie in the .bf beside it.

    All other elements are those of `source`, except for the instance's UID, which is derived from the
    source's and the header, and the data's element, where the source's data are `inside` it.
    """
    content = _read(source.path)
    try:
        former = content[source.element]
        encoded = _even(header.encode())
        value = encoded if isinstance(former.value, bytes) else encoded.decode(ENCODING).rstrip("\0")
        content[source.element] = DataElement(source.element, former.VR, value)
        if inside or source.data[1] in (size, 0):
            content[DATA] = DataElement(DATA, "OB", ELSEWHERE)
        name = str(content.get("SOPInstanceUID", ""))
        content.SOPInstanceUID = generate_uid(entropy_srcs=[name, header.text])
        content.file_meta.MediaStorageSOPInstanceUID = content.SOPInstanceUID
        content.save_as(target, enforce_file_format=True)
    except ELEMENT_ERRORS as error:
        if isinstance(error, OSError):
            raise
        reason = " ".join(str(error).split())
        raise InputError(f"{source.path} cannot be written again ({reason}); copy it again") from None


def _dicom_of(path: Path) -> Path:
    """Return the path of the DICOM file, given it or the .bf beside it."""
    if path.suffix.lower() != ".bf":
        return path
    candidates = [path.with_suffix(suffix) for suffix in (".dcm", ".DCM", ".ima", ".IMA")]
    found = next((candidate for candidate in candidates if candidate.is_file()), None)
    if found is None:
        raise InputError(
            f"{path} has no {candidates[0].name} beside it, which holds its header; put both into one folder"
        )
    return found


def _read(path: Path) -> Dataset:
    """Return all elements of a DICOM file, long ones without their values."""
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = pydicom.dcmread(path, defer_size=LONG_BYTES)
            syntax = content.file_meta.get("TransferSyntaxUID")
    except ELEMENT_ERRORS as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is not a readable DICOM file ({reason}); copy it again") from None
    if syntax == DeflatedExplicitVRLittleEndian:
        raise InputError(f"{path} is a deflated DICOM file; export it uncompressed")
    return content


def _kind(path: Path, content: Dataset) -> str:
    """Return the kind of raw data, the third value of the image type."""
    values = content.get("ImageType") or ()
    values = [values] if isinstance(values, str) else [str(value) for value in values]
    kind = values[2] if len(values) > 2 else ""
    if not kind.startswith("PET_"):
        stated = "\\".join(values) or "none"
        raise InputError(f"{path} has the image type {stated!r}; give the DICOM file of raw PET data")
    return kind


def _header(content: Dataset) -> tuple[BaseTag | None, str]:
    """Return the element with the Interfile header, and the header's text."""
    for tag in HEADERS:
        value = content[tag].value if tag in content else b""
        text = value.decode(ENCODING) if isinstance(value, bytes) else str(value or "")
        text = text.rstrip("\0 ")
        if OWN_HEADER not in text and "!interfile" in text[:200].lower():
            return tag, text.lstrip("\0 \r\n")
    return None, ""


def _place(path: Path, content: Dataset) -> tuple[int, int]:
    """Return the first byte and the length of the data element in the file, (0, 0) without one."""
    if DATA not in content:
        return 0, 0
    raw = content.get_item(DATA, keep_deferred=True)
    if not isinstance(raw, RawDataElement) or raw.length == 0xFFFFFFFF:
        return 0, 0
    if raw.value_tell + raw.length > path.stat().st_size:
        raise InputError(f"{path} ends within its data; copy it again")
    return raw.value_tell, raw.length


def _even(value: bytes) -> bytes:
    """Return a value padded to the even length that DICOM requires."""
    return value + b"\0" * (len(value) % 2)

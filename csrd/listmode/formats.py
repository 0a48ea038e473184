"""The list-mode formats, and the detection of a file's format."""

import re
from pathlib import Path

from csrd.errors import InputError
from csrd.extras import require
from csrd.io.files import header_beside, header_path
from csrd.io.interfile import InterfileHeader, is_file
from csrd.io.raw_names import is_raw
from csrd.listmode.base import ListMode
from csrd.listmode.events import DELAYED, PROMPT, SKIPPED, no_counts
from csrd.listmode.hrrt import HrrtListMode
from csrd.listmode.hrrt_packets import count_packets
from csrd.listmode.packets import PacketListMode
from csrd.listmode.petlink import PetlinkListMode
from csrd.listmode.siemens import SiemensListMode
from csrd.listmode.words import CHUNK_WORDS, whole_words

SUPPORTED = "csrd reads HRRT (.l64), Siemens PETLINK 32-bit (.l, or .dcm and .bf) and PETSIRD (.petsird)"
PETSIRD_SUFFIX, PETSIRD_MAGIC = ".petsird", b"yardl"
LISTMODE_WORDS = ("listmode", "coincidencelist")  # names of the data's format in headers


def open_listmode(path: str | Path) -> ListMode:
    """Return a list-mode file, given its path or its header's.

    PETSIRD and DICOM are detected by their first bytes; of a pair .dcm and .bf either may be given. Other
    formats are read from the header, and the first packets must agree with it. Raises InputError for a file
    or header that is missing, empty, cut within a word, or of another system or kind.
    """
    if Path(path).is_dir():
        raise InputError(f"{path} is not a file; give the list-mode file or its header")
    if Path(path).suffix.lower() == PETSIRD_SUFFIX or is_petsird(Path(path)):
        require("petsird", "reading PETSIRD list-mode")
        from csrd.listmode.petsird import PetsirdListMode

        return PetsirdListMode.open(Path(path))
    if is_raw(Path(path)):
        return _open_siemens(Path(path))
    data, header_file = _data_and_header(Path(path))
    whole_words(data)
    header = InterfileHeader.read(header_file)
    _check_kind(header_file, header)
    listmode = _format(header_file, header)(data, header)
    _check_content(listmode, header_file)
    return listmode


def _open_siemens(path: Path) -> ListMode:
    """Return the list-mode of a DICOM file with its data in it or in the .bf beside it."""
    listmode = SiemensListMode.open(path)
    _check_kind(listmode.raw.path, listmode.header)
    if _format(listmode.raw.path, listmode.header) is not PetlinkListMode:
        raise InputError(f"{listmode.raw.path} holds no PETLINK list-mode; {SUPPORTED}")
    _check_content(listmode, listmode.raw.path)
    return listmode


def is_petsird(path: Path) -> bool:
    """Return whether a file begins with the preamble of PETSIRD."""
    try:
        with open(path, "rb") as stream:
            return stream.read(len(PETSIRD_MAGIC)) == PETSIRD_MAGIC
    except OSError:
        return False


def _data_and_header(path: Path) -> tuple[Path, Path]:
    """Return the paths of the data and of its header, one of which is given."""
    if path.suffix.lower() == ".hdr":
        return _data_of(path), path
    header = header_beside(path)
    if header is None:
        if not path.is_file():
            whole_words(path)  # raises the error of a missing or empty file
        beside = header_path(path)
        raise InputError(f"{path} has no header beside it; list-mode has its Interfile header at {beside}")
    return path, header


def _data_of(header_file: Path) -> Path:
    """Return the data that a header names, in the header's folder; else the data with the header's name."""
    named = InterfileHeader.read(header_file).get("name of data file", "")
    candidates = [header_file.with_suffix("")]
    if base := re.split(r"[/\\]", named)[-1]:  # scanners write the path on their own disk
        candidates.insert(0, header_file.parent / base)
    data = next((candidate for candidate in candidates if is_file(candidate)), None)
    if data is None:
        raise InputError(
            f"{candidates[0]}, the data of {header_file}, does not exist; put it beside its header"
        )
    return data


def _check_kind(header_file: Path, header: InterfileHeader) -> None:
    """Raise InputError where a header does not describe list-mode data that begin at the first byte."""
    kind = header.get("data format", "listmode")
    if kind.lower().replace(" ", "") not in LISTMODE_WORDS:
        raise InputError(f"{header_file} says data format '{kind}'; give list-mode, not its histogram")
    offset = header.get("data offset in bytes", "0") or "0"
    if offset.strip("{} ") != "0":
        raise InputError(
            f"{header_file} says data offset in bytes {offset}; remove these bytes from the data and say 0"
        )


def _format(header_file: Path, header: InterfileHeader) -> type[ListMode]:
    """Return the class of the format that a header describes."""
    system = header.get("originating system", "")
    space = header.get("SMS-MI header name space", "")
    if "hrrt" in system.lower():
        return HrrtListMode
    if "petlink" not in space.lower():
        raise InputError(f"{header_file} says originating system '{system}'; {SUPPORTED}")
    bits = header.get("LM event and tag words format (bits)", "32")
    if bits != "32":
        raise InputError(f"{header_file} says event and tag words of {bits} bits; {SUPPORTED}")
    return PetlinkListMode


def _check_content(listmode: ListMode, header_file: Path) -> None:
    """Raise InputError where the first words are not of the header's format.

    HRRT must have half of them in valid packets: random words have a quarter, all of them tags. In PETLINK
    every word is valid, so it is refused where most words form valid HRRT packets, real events among them.
    """
    assert isinstance(listmode, PacketListMode)
    words = next(listmode.words(CHUNK_WORDS, pairs=True))
    counts = no_counts()
    count_packets(words, counts)
    in_packets = 1 - counts[SKIPPED] / words.size
    if isinstance(listmode, HrrtListMode) and in_packets < 0.5:
        raise InputError(
            f"{listmode.path} is not HRRT list-mode: {in_packets:.0%} of its first {words.size} words form "
            f"packets; check that it belongs to {header_file}"
        )
    if isinstance(listmode, PetlinkListMode) and in_packets > 0.9:
        events = counts[PROMPT] + counts[DELAYED]
        if 4 * events > words.size:
            raise InputError(
                f"{listmode.path} holds HRRT packets, but {header_file} says PETLINK; check the header"
            )

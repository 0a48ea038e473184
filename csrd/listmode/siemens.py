"""Siemens PETLINK 32-bit list-mode in DICOM: a pair .dcm and .bf, or all in the .dcm (see `io.dicom.raw`)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from csrd.errors import InputError
from csrd.io.files import whole_file
from csrd.io.raw_names import LISTMODE, is_half
from csrd.listmode.draw import Keep
from csrd.listmode.petlink import PetlinkListMode
from csrd.listmode.words import WORD_BYTES, word_chunks

if TYPE_CHECKING:
    from csrd.io.dicom.raw import RawData  # pydicom is needed where a pair is opened, and only there

WORDS = "total listmode word counts"


@dataclass(frozen=True)
class SiemensListMode(PetlinkListMode):
    """PETLINK words of a pair; `path` is the file that holds them, from `first_byte` on."""

    raw: "RawData"
    first_byte: int = 0

    format = "Siemens PETLINK 32-bit list-mode, DICOM"

    @classmethod
    def open(cls, path: Path) -> "SiemensListMode":
        """Return the list-mode, given either half of the pair.

        Raises InputError where a half is missing, of another size than the header says, or of another kind.
        """
        from csrd.io.dicom.raw import read_raw

        raw = read_raw(path)
        raw.require(LISTMODE)
        data, first_byte = raw.place(_words_in(raw) * WORD_BYTES)
        return cls(data, raw.header, raw, first_byte)

    @property
    def word_count(self) -> int:
        """Return the number of words of the data."""
        return _words_in(self.raw)

    def words(self, chunk: int, pairs: bool | None = None) -> Iterator[np.ndarray]:
        """Return the data's words in chunks."""
        return word_chunks(self.path, bool(pairs), chunk, self.first_byte, self.word_count)

    @classmethod
    def files_at(cls, path: Path) -> tuple[Path, ...]:
        """Return both halves of a pair; a target of another suffix has an Interfile header beside it."""
        if not is_half(path):
            return super().files_at(path)
        return path.with_suffix(".bf"), path.with_suffix(".dcm")

    @property
    def files(self) -> tuple[Path, ...]:
        """Return the files of these list-mode data."""
        return tuple(dict.fromkeys((self.path, self.raw.path)))

    def write_thinned(
        self, target: Path, keep: Keep, notes: Mapping[str, object]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Write the words that a thinning keeps as a pair; for a target of another suffix as .l and .l.hdr.

        The pair's DICOM file is the source's with another word count, `notes` and another instance's UID.
        """
        if not is_half(target):
            return super().write_thinned(target, keep, notes)
        from csrd.io.dicom.raw import write_raw

        data, dicom = self.files_at(target)
        with whole_file(dicom) as dicom_part, whole_file(data) as data_part:
            counts, kept = self.compact_into(data_part, keep)
            size = data_part.stat().st_size
            fixed: dict[str, object] = {WORDS: size // WORD_BYTES}
            if "name of data file" in self.header:
                fixed["name of data file"] = data.name
            inside = self.path == self.raw.path
            write_raw(self.raw, self.header.replace(fixed | dict(notes)), dicom_part, size, inside)
        return counts, kept


def _words_in(raw: "RawData") -> int:
    """Return the number of words that the header counts."""
    text = raw.header.get(WORDS, "").strip()
    if not (text.isdecimal() and 0 < len(text) < 16 and int(text)):
        raise InputError(f"the header in {raw.path} has {WORDS} {text!r}; copy the file again")
    return int(text)

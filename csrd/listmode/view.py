"""Some of a list-mode file's events, read as if the file had no others."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from csrd.listmode.base import ListMode, TimingKeys
from csrd.listmode.draw import Keep


@dataclass(frozen=True)
class View(ListMode):
    """Events of `whole`; it is read, and never written."""

    whole: ListMode

    @property
    def timing_keys(self) -> TimingKeys:  # type: ignore[override] # a format's constant elsewhere
        return self.whole.timing_keys

    @property
    def scanner(self) -> str:
        return self.whole.scanner

    @property
    def bytes(self) -> int:
        return self.whole.bytes

    @classmethod
    def files_at(cls, path: Path) -> tuple[Path, ...]:
        return (path,)

    def write_thinned(self, target: Path, keep: Keep, notes: Mapping[str, object]) -> NoReturn:
        raise TypeError(f"{type(self).__name__} is read only; thin the file")

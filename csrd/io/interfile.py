"""Interfile headers: read, looked up by key, and rewritten line by line with only some values changed."""

import codecs
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from csrd.errors import InputError
from csrd.io.files import header_path, whole_file

MAX_BYTES = 1 << 20
ENTRY = re.compile(r"^\s*([!%]?)\s*([^;!%\s:][^\r\n]*?)\s*:=[ \t]*(.*?)\s*$")
ENCODING = "latin-1"  # maps every byte, so that an unchanged line is written as it was read


class InterfileHeader(Mapping[str, str]):
    """The entries `key := value` of an Interfile header, in the file's order, with their original lines.

    Keys are looked up without their prefix (`!` required, `%` vendor's own) and without regard to case
    and spaces: ``header["name of data file"]``. Of a repeated key the last value counts.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._entries: dict[str, tuple[str, str]] = {}
        for line in text.splitlines():
            if match := ENTRY.match(line):
                key, value = " ".join(match[2].split()), match[3]
                self._entries[_plain(key)] = (key, value)

    @classmethod
    def read(cls, path: str | Path) -> "InterfileHeader":
        """Return the header in a file.

        Raises InputError where the file is missing, larger than `MAX_BYTES`, or no Interfile header.
        """
        path = Path(path)
        try:
            with open(path, "rb") as stream:
                content = stream.read(MAX_BYTES + 1)
        except FileNotFoundError:
            raise InputError(f"{path} does not exist; check the path") from None
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}; check the path and its rights") from None
        if len(content) > MAX_BYTES:
            raise InputError(
                f"{path} is larger than {MAX_BYTES} bytes, too large for an Interfile header; "
                "check that it is the header and not the data"
            )
        text = _decoded(content)
        if not _opens_interfile(text):
            raise InputError(f"{path} does not begin with !INTERFILE; give the Interfile header of the data")
        return cls(text)

    def __getitem__(self, key: str) -> str:
        return self._entries[_plain(key)][1]

    def __iter__(self) -> Iterator[str]:
        return (key for key, _ in self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def replace(self, values: Mapping[str, object]) -> "InterfileHeader":
        """Return this header with the given values; keys that it lacks are added at its end.

        An added key may have its prefix. All other lines are kept, byte for byte.
        """
        missing = {_plain(key): (key, str(value)) for key, value in values.items()}
        changes = dict(missing)
        lines = self.text.splitlines(keepends=True)
        newline = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
        for number, line in enumerate(lines):
            match = ENTRY.match(line)
            if match and (key := _plain(match[2])) in changes:
                missing.pop(key, None)
                lines[number] = f"{line[: line.index(':=')]}:= {changes[key][1]}{newline}"
        if lines and not lines[-1].endswith(newline):
            lines[-1] += newline
        added = [f"{key} := {value}{newline}" for key, value in missing.values()]
        end = next((n for n, line in enumerate(lines) if _is_end(line)), len(lines))
        return InterfileHeader("".join([*lines[:end], *added, *lines[end:]]))

    def encode(self) -> bytes:
        """Return the header as the bytes of its file."""
        return self.text.encode(ENCODING, errors="replace")


def is_file(path: Path) -> bool:
    """Return whether a path that a header names is a file; False for an impossible file name."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, or with characters that no name may have
        return False


@contextmanager
def whole_pair(path: str | Path) -> Iterator[tuple[Path, Path]]:
    """Yield temporary siblings of a data file and its header; rename both on success, or neither.

    The data come first: where there is a header, its data are complete.
    """
    with whole_file(header_path(path)) as header, whole_file(path) as data:
        yield data, header


def _decoded(content: bytes) -> str:
    """Return a header's text without a byte order mark, UTF-16 converted to UTF-8."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        content = content.decode("utf-16", errors="replace").encode()
    return content.removeprefix(codecs.BOM_UTF8).decode(ENCODING)


def _plain(key: str) -> str:
    return "".join(key.split()).lstrip("!%").lower()


def _is_end(line: str) -> bool:
    return _plain(line.partition(":=")[0]) == "endofinterfile"


def _opens_interfile(text: str) -> bool:
    lines = (line.strip() for line in text.splitlines())
    first = next((line for line in lines if line and not line.startswith(";")), "")
    return _plain(first.partition(":=")[0]) == "interfile"

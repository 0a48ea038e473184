"""Files that are complete or absent, JSON, text and checksums."""

import glob
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from csrd.errors import InputError


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path`; rename it to `path` on success, delete it on failure.

    The sibling keeps every suffix of the name, because image libraries choose formats by suffix. Files
    that killed processes left are deleted first.
    Raises InputError where the file cannot be written.
    """
    path = Path(path)
    temporary = _part(path, os.getpid())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        yield temporary
        _flush(temporary)
        temporary.replace(path)
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror or error}; free some space or choose another output folder"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _part(path: Path, pid: int | str) -> Path:
    """Return the sibling that a process writes to."""
    stem, dot, suffixes = path.name.partition(".")
    return path.with_name(f"{stem}_part{pid}{dot}{suffixes}")


def _sweep(path: Path) -> None:
    """Delete the siblings whose writers are dead."""
    before, after = _part(path, "\0").name.split("\0")
    for found in path.parent.glob(f"{glob.escape(before)}[0-9]*{glob.escape(after)}"):
        pid = found.name.removeprefix(before).removesuffix(after)
        if pid.isdigit() and not _alive(int(pid)):
            found.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    if sys.platform == "win32":
        return True  # signal 0 would interrupt it there; the sibling stays
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def _flush(path: Path) -> None:
    """Write the content to disk before the rename, so that a power cut leaves no empty file."""
    with open(path, "r+b") as stream:  # Windows flushes what is open for writing
        os.fsync(stream.fileno())


def write_text(path: str | Path, text: str) -> None:
    """Write text as UTF-8, completely or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: dict) -> None:
    """Write `content` as indented JSON, completely or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def refuse_locked(path: str | Path) -> None:
    """Raise InputError where `path` cannot be written; to be called before its content is computed.

    A file is created and deleted again in the nearest folder that exists; no folder is made.
    """
    folder = Path(path).absolute().parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot write {path}: {folder}: {reason}; choose another output folder") from None


def header_path(listmode: str | Path) -> Path:
    """Return the path of the Interfile header that belongs to a list-mode file: `.hdr` appended."""
    return Path(f"{listmode}.hdr")


def header_beside(listmode: Path) -> Path | None:
    """Return the header beside a list-mode file: scan.l64.hdr or scan.hdr, if any."""
    candidates = header_path(listmode), listmode.with_suffix(".hdr")
    return next((path for path in candidates if path.is_file()), None)


def read_json(path: str | Path) -> dict:
    """Return the JSON object in `path`.

    Raises InputError where the file is missing or is not a JSON object.
    """
    try:
        content = json.loads(Path(path).read_bytes())  # bytes: a byte order mark is accepted
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the path") from None
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is not readable JSON ({error}); write it again") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no JSON object; write it again")
    return content


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes as hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def checksums(paths: Iterable[str | Path]) -> dict[str, dict[str, str | int]]:
    """Return size in bytes and SHA-256 of each file, by its path.

    Raises InputError where one cannot be read.
    """
    try:
        return {str(path): {"bytes": Path(path).stat().st_size, "sha256": sha256(path)} for path in paths}
    except OSError as error:
        raise InputError(f"cannot read {error.filename} ({error.strerror}); check the path") from None

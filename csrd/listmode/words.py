"""List-mode files as streams of 32-bit little-endian words, in memory that does not grow with the file."""

from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

import numpy as np

from csrd.errors import InputError

WORD_BYTES = 4
CHUNK_WORDS = 1 << 18  # 1 MiB: fits into the processor's cache
OPENING_BIT = np.uint32(1 << 31)


def whole_bytes(path: str | Path) -> int:
    """Return the size of a file.

    Raises InputError where it is missing, no regular file, or empty.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path")
    if not path.is_file():
        raise InputError(f"{path} is not a file; give the list-mode file or its header")
    size = path.stat().st_size
    if size == 0:
        raise InputError(f"{path} is empty; copy it again from the scanner")
    return size


def whole_words(path: str | Path) -> int:
    """Return the number of words in a file.

    Raises InputError where it is missing, no regular file, empty, or ends within a word.
    """
    size = whole_bytes(path)
    if size % WORD_BYTES:
        raise InputError(
            f"{path} has {size} bytes and so ends within a {WORD_BYTES}-byte word; copy it again, or cut the "
            f"rest off with: truncate -s {size - size % WORD_BYTES} {path}"
        )
    return size // WORD_BYTES


def chunk_count(words: int, chunk: int) -> int:
    """Return the number of chunks that `word_chunks` yields for a number of words."""
    return -(-words // chunk)


def word_chunks(
    path: str | Path, pairs: bool, chunk: int = CHUNK_WORDS, first_byte: int = 0, words: int | None = None
) -> Iterator[np.ndarray]:
    """Yield the file's words in order as views (N,) uint32 of one reused buffer, N ≤ chunk + 1.

    With `pairs` no packet of two words is cut: a chunk's last word whose bit 31 is clear, which may begin
    a packet, is moved to the next chunk. Only the file's last word may then be without its partner.
    Of a file that holds more than the words, these are `words` from `first_byte` on.
    """
    left = whole_words(path) if words is None else words
    buffer = np.empty(chunk + 1, dtype="<u4")  # one more for a moved word
    held = 0
    with opened(path) as stream:
        stream.seek(first_byte)
        while left:
            count = min(chunk, left)
            _fill(stream, buffer[held : held + count])
            left -= count
            found = buffer[: held + count]
            held = int(pairs and left > 0 and found[-1] < OPENING_BIT)
            yield found[: found.size - held]
            buffer[0] = found[-1]


def opened(path: str | Path) -> BufferedReader:
    """Return the file opened for reading."""
    try:
        return open(path, "rb")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; check its rights") from None


def _fill(stream: BufferedReader, words: np.ndarray) -> None:
    """Read exactly `words` from the stream."""
    try:
        count = stream.readinto(words.data.cast("B"))
    except OSError as error:
        raise InputError(f"cannot read {stream.name}: {error.strerror}; copy it again") from None
    if count != words.nbytes:
        raise InputError(f"{stream.name} became shorter while it was read; wait for the complete file")

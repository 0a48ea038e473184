"""Locks of open files by the operating system, which end with the process that holds them."""

import errno
import sys
from typing import IO

if sys.platform == "win32":
    import msvcrt

    BYTE = 1 << 30  # behind the text of the file, which others read while it is locked

    def lock(stream: IO[str], shared: bool = False) -> None:
        """Lock a file for this process, without waiting.

        Raises BlockingIOError where another process holds it, and OSError where there are no such locks, as
        of shared ones on Windows.
        """
        if shared:
            raise OSError(errno.ENOTSUP, "Windows has no shared locks of this kind")
        stream.seek(BYTE)
        try:
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError(error.errno, error.strerror) from None

else:
    import fcntl

    def lock(stream: IO[str], shared: bool = False) -> None:
        """Lock a file for this process, without waiting; a `shared` lock may be held by several, and waits.

        Raises BlockingIOError where another process holds it, and OSError where the disk has no locks.
        """
        try:
            fcntl.flock(stream, fcntl.LOCK_SH if shared else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise BlockingIOError(error.errno, error.strerror) from None
            raise

"""Exceptions with a message for the user, and how the command line shows it."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import TextIO

from csrd.jobs.orphans import ended_with_parent

NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")  # torch, on CPU and CUDA


class CsrdError(Exception):
    """An error whose message is one sentence for the user; the command line shows it without a traceback."""


class InputError(CsrdError, ValueError):
    """An input that cannot be used; the message is one sentence with file, value and remedy."""


class MissingExtra(CsrdError, ImportError):
    """A command whose optional packages are not installed; the message names the extra to install."""


class TrainingDiverged(CsrdError):
    """A training whose loss is no longer finite."""


class Interrupted(CsrdError):
    """A computation that was ended by SIGTERM and has saved its state."""


def notice(text: str) -> str:
    """Log a warning about an assumption (logger ``csrd``); return its text, for the sidecar.

    Where the application has no log handler, it is printed to stderr.
    """
    logging.getLogger("csrd").warning(text)
    return text


@contextmanager
def naming(what: str | Path) -> Iterator[None]:
    """Put the file's name before the message of an InputError in the block."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{what}: {error}") from None


class _Stderr(logging.Handler):
    """Writes the messages alone to the current standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        _write(f"{record.getMessage()}\n", sys.stderr)


@contextmanager
def shown_messages() -> Iterator[None]:
    """Show the messages of the logger ``csrd`` on standard error within the block, progress among them."""
    logger, handler = logging.getLogger("csrd"), _Stderr()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@contextmanager
def plain_errors(log: str | Path | None = None) -> Iterator[None]:
    """Run the block with its output in `log`; turn a CsrdError into one line and exit status 1.

    The line goes to the log and to the terminal, without a traceback: the input is wrong, or the machine has
    too little memory. Any other exception is a defect of CSR-D and keeps its traceback, which is also in the
    log. A block with a log is a job of the workflow, and ends with the workflow.
    """
    if log is None:
        try:
            with shown_messages():
                yield
        except (CsrdError, MemoryError, RuntimeError) as error:
            if (sentence := _sentence(error)) is None:
                raise
            sys.exit(sentence)
        return
    terminal = sys.stderr
    with _open(log) as stream, redirect_stdout(stream), redirect_stderr(stream), ended_with_parent():
        try:
            with shown_messages():
                yield
        except Exception as error:
            if (sentence := _sentence(error)) is None:
                import traceback

                _write("".join(traceback.format_exception(error)), stream)
                raise
            _write(f"{sentence}\n", terminal, stream)
            sys.exit(1)


@contextmanager
def _open(log: str | Path) -> Iterator[TextIO]:
    """Open the log; a job does not fail because its log cannot be completed.

    Raises SystemExit, saying why, where it cannot be opened.
    """
    try:
        Path(log).parent.mkdir(parents=True, exist_ok=True)
        stream = open(log, "a", buffering=1)  # noqa: SIM115
    except OSError as error:
        sys.exit(f"csrd: cannot write {log} ({error.strerror}); choose another results_dir")
    try:
        yield stream
    finally:
        with suppress(OSError):
            stream.close()


def _write(text: str, *streams: TextIO) -> None:
    for stream in streams:
        with suppress(OSError):  # a full disk must not hide what is said of it
            print(text, end="", file=stream, flush=True)


def _sentence(error: Exception) -> str | None:
    """Return the message for a CsrdError or too little memory; None for any other exception."""
    if isinstance(error, CsrdError):
        return f"csrd: {error}"
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(said in str(error) for said in NO_MEMORY)
    ):
        return "csrd: there was not enough memory; run fewer jobs at once (--cores), or use a larger machine"
    return None

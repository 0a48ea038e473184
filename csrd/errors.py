"""What is said to the user when an input cannot be used, and how it is said."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path


class InputError(ValueError):
    """An input that cannot be used; its text is one sentence naming file, value and remedy."""


@contextmanager
def naming(what: str | Path) -> Iterator[None]:
    """Put the file's name before what an InputError of the block says."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{what}: {error}") from None


@contextmanager
def plain_errors(log: str | Path | None = None) -> Iterator[None]:
    """Run the block with its output in `log`; turn an InputError into one line and exit status 1.

    The line goes to the log and to the terminal, without a traceback: the mistake is the user's.
    Any other exception is ours and keeps its traceback, which then stands in the log too.
    """
    terminal = sys.stderr
    if log is None:
        try:
            yield
        except InputError as error:
            sys.exit(f"csrd: {error}")
        return
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    with open(log, "a", buffering=1) as stream, redirect_stdout(stream), redirect_stderr(stream):
        try:
            yield
        except InputError as error:
            print(f"csrd: {error}", file=stream)
            print(f"csrd: {error}", file=terminal)
            sys.exit(1)
        except Exception:
            import traceback

            traceback.print_exc(file=stream)
            raise

"""Progress with the remaining time: a bar in a terminal, lines in a log."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

Item = TypeVar("Item")

LOG_EVERY_S = 10.0

logger = logging.getLogger(__name__)


def progress(items: Iterable[Item], label: str, total: int | None = None) -> Iterator[Item]:
    """Yield the items while showing how far along they are: in a terminal, else by the logger.

    `total` is needed where `items` has no length.
    """
    if total is None:
        assert isinstance(items, Sized), "items without a length need a total"
        total = len(items)
    return _bar(items, label, total) if sys.stderr.isatty() else _lines(items, label, total)


def _bar(items: Iterable[Item], label: str, total: int) -> Iterator[Item]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        yield from bar.track(items, total=total, description=label)


def _lines(items: Iterable[Item], label: str, total: int) -> Iterator[Item]:
    start = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= LOG_EVERY_S or (done == total and now - start >= 1):
            last, left = now, (now - start) / done * (total - done)
            logger.info(
                "%s: %d/%d (%.0f%%), %.0f s, %.0f s left",
                *(label, done, total, 100 * done / total, now - start, left),
            )

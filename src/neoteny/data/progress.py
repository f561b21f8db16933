"""Bars on stderr for what takes long: downloads and decoding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["progress"]


@contextmanager
def progress(
    label: str, total: int, done: int = 0, unit: Literal["bytes", "things"] = "bytes"
) -> Iterator[Callable[[int], None]]:
    """A bar that appears with the first call of `advance(count)`, which is what it gives.

    >>> with progress("decoding", total=60_000, unit="things") as advance:
    ...     pass
    """
    bar: Progress | None = None
    task = None

    def advance(count: int) -> None:
        nonlocal bar, task
        if bar is None:
            bar = _bar(unit)
            task = bar.add_task(label, total=total, completed=done)
            bar.start()
        assert task is not None
        bar.advance(task, count)

    try:
        yield advance
    finally:
        if bar is not None:
            bar.stop()


def _bar(unit: str) -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    amounts = (DownloadColumn(), TransferSpeedColumn()) if unit == "bytes" else (MofNCompleteColumn(),)
    columns = (TextColumn("{task.description}"), BarColumn(), *amounts, TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))

"""A bar on the terminal for what takes longer than five seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["bar"]

PATIENCE = 5.0
"""Seconds until a bar appears."""


@contextmanager
def bar(label: str, total: int, console: Console | None = None) -> Iterator[Callable[[], None]]:
    """Gives what is called after each of `total` pieces of work; shows a bar on standard error if that takes long.

    Nothing is shown where standard error is no terminal.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = console or Console(stderr=True)
    progress = Progress(console=console, transient=True)
    task = progress.add_task(label, total=total)
    began = time.monotonic()

    def advance() -> None:
        progress.advance(task)
        if console.is_terminal and time.monotonic() - began > PATIENCE:
            progress.start()  # which does nothing the second time

    try:
        yield advance
    finally:
        if progress.live.is_started:
            progress.stop()

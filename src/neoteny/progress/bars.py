"""A bar for one task, and words now and then for work of unknown length."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from neoteny.progress.stages import heard

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["bar", "waiting"]

PATIENCE = 5.0
"""Seconds until a bar with `late` appears."""


@contextmanager
def bar(
    label: str,
    total: int,
    *,
    done: int = 0,
    unit: Literal["bytes", "things"] = "things",
    late: bool = False,
    console: Console | None = None,
) -> Iterator[Callable[..., None]]:
    """A bar for one task; gives `advance(count=1)`, whose first call shows the bar.

    Where runs are being shown, their line says how far it is instead.

    Args:
        label: what stands before the bar.
        total: how much there is to do.
        done: how much of it is done already.
        unit: whether bytes are counted, with their speed, or anything else.
        late: for tasks that are mostly quick: the bar appears after 5 seconds, only on a terminal, and disappears at
            the end.
        console: where; by default standard error.

    >>> with bar("decoding", total=60_000) as advance:
    ...     pass
    """
    tell = heard.get()
    if tell is not None:
        yield _share(label, total, done, tell)
        tell("")
        return
    from rich import progress as rich
    from rich.console import Console

    console = console or Console(stderr=True)
    amounts = [rich.DownloadColumn(), rich.TransferSpeedColumn()] if unit == "bytes" else [rich.MofNCompleteColumn()]
    columns = (rich.TextColumn("{task.description}"), rich.BarColumn(), *amounts, rich.TimeRemainingColumn())
    shown = rich.Progress(*columns, console=console, transient=late)
    task = shown.add_task(label, total=total, completed=done)
    began = time.monotonic()

    def advance(count: int = 1) -> None:
        if not late or (console.is_terminal and time.monotonic() - began > PATIENCE):
            shown.start()  # does nothing the second time
        shown.advance(task, count)

    try:
        yield advance
    finally:
        if shown.live.is_started:
            shown.stop()


def _share(label: str, total: int, done: int, tell: Callable[[str], None]) -> Callable[..., None]:
    """`advance`, which tells in per cent."""
    shown = -1

    def advance(count: int = 1) -> None:
        nonlocal done, shown
        done += count
        if (percent := 100 * done // max(total, 1)) > shown:
            shown = percent
            tell(f"{label} {percent}%")

    return advance


@contextmanager
def waiting() -> Iterator[Callable[[str], None]]:
    """For work of unknown length that is mostly quick: gives `say(text)`, which tells every 5 seconds how far it is.

    >>> with waiting() as say:
    ...     say("looking")
    """
    told = time.monotonic()

    def say(text: str) -> None:
        nonlocal told
        if time.monotonic() - told > PATIENCE:
            told = time.monotonic()
            print(f"neoteny: {text}", file=sys.stderr, flush=True)

    yield say

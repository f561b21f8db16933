"""Progress on the terminal (standard error): a bar for one task, live lines for stacks of runs.

Without a terminal, as in a log, one line is written for each task or stack that is done.
"""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.console import Console

    from neoteny.lab.execution import Progress

__all__ = ["Rate", "bar", "describe", "live", "time_left", "waiting"]

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


class Rate:
    """How fast something grows, over the last seconds, so that compiling at the start soon stops counting.

    Args:
        window: seconds to look back.

    >>> rate = Rate()
    >>> rate.update(0, now=0.0), rate.update(500, now=1.0), rate.update(1500, now=2.0)
    (None, 500.0, 750.0)
    """

    def __init__(self, window: float = 15.0):
        self._window = window
        self._seen: deque[tuple[float, float]] = deque()

    def update(self, value: float, now: float | None = None) -> float | None:
        """Add the present value; returns the growth per second, or None while it is unknown."""
        now = time.monotonic() if now is None else now
        self._seen.append((now, value))
        while len(self._seen) > 2 and self._seen[1][0] < now - self._window:
            self._seen.popleft()
        (then, before) = self._seen[0]
        return (value - before) / (now - then) if now > then and value > before else None


def describe(progress: Progress, rate: float | None) -> str:
    """The text on the line of a stack: examples a second of all runs together, time to go, current metric.

    Args:
        progress: how far the stack is.
        rate: examples a second of one run.

    >>> from neoteny.lab.execution import Progress
    >>> describe(Progress("cbp", examples=500, total=1000, runs=30, metric="loss", value=0.6203), 100.0)
    '3,000 examples/s  0:00:05 to go  loss 0.620'
    """
    words = []
    if progress.examples >= progress.total:
        words.append("done")
    elif rate is None:
        words.append("preparing" if not progress.examples else "")
    else:
        left = round((progress.total - progress.examples) / rate)
        words.append(f"{rate * progress.runs:,.0f} {progress.unit}/s")
        words.append(f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} to go")
    if not math.isnan(progress.value):
        words.append(f"{progress.metric} {progress.value:.3f}")
    return "  ".join(filter(None, words))


def time_left(done: float, left: float, seconds: float) -> str:
    """How long the rest takes at the speed so far, in hours and minutes.

    >>> time_left(done=25, left=75, seconds=60)
    'about 0:03 to go'
    >>> time_left(done=0, left=75, seconds=60)
    ''
    """
    if not done:
        return ""
    minutes = round(left * seconds / done / 60)
    return f"about {minutes // 60}:{minutes % 60:02d} to go"


@contextmanager
def live(
    labels: Sequence[str] = (),
    *,
    sweep: Mapping[str, float] | None = None,
    show: bool = True,
    console: Console | None = None,
) -> Iterator[Callable[..., None]]:
    """Lines on the terminal, one for each stack; gives `notify(progress, name=None)`, which updates a stack's line.

    Without a terminal, a line is written for each stack that is done. A stack's name is its label, unless `notify` is
    given another.

    Args:
        labels: stacks whose lines are there from the start and stay.
        sweep: the work left of each stack of a sweep, by name, in examples of all its runs. Then a line for the whole
            sweep comes first, and a stack's line is removed when the stack is done.
        show: whether to show anything.
        console: where; by default standard error.
    """
    from rich.console import Console
    from rich.progress import BarColumn, TaskID, TextColumn
    from rich.progress import Progress as Bars

    console = console or Console(stderr=True)
    rates: dict[str, Rate] = {}
    tasks: dict[str, TaskID] = {}
    done: set[str] = set()
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[text]}", markup=False),
    )
    with Bars(*columns, console=console, disable=not (show and console.is_terminal)) as bars:
        total = None if sweep is None else _Total(sweep)
        whole = None if sweep is None else bars.add_task("all stacks", total=max(sum(sweep.values()), 1), text="")
        for label in labels:
            tasks[label] = bars.add_task(label, total=1.0, text="waiting")

        def notify(progress: Progress, name: str | None = None) -> None:
            name = progress.label if name is None else name
            if name in done:
                return
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=1.0, text="")
            share = progress.examples / progress.total
            text = describe(progress, rates.setdefault(name, Rate()).update(progress.examples))
            bars.update(tasks[name], completed=share, text=text)
            line = f"{name}  {text}"
            if whole is not None and total is not None:
                finished, text = total.update(name, share)
                bars.update(whole, completed=finished, text=text)
                line = f"{line}  {text}"
            if share >= 1:
                done.add(name)
                if whole is not None:
                    bars.remove_task(tasks[name])
                if show and not console.is_terminal:
                    console.print(line, markup=False, highlight=False, soft_wrap=True)

        yield notify


class _Total:
    """How far all stacks of a sweep are together.

    Args:
        work: the work left of each, in examples of all its runs.
    """

    def __init__(self, work: Mapping[str, float]):
        self._work, self._all, self._began = work, sum(work.values()), time.monotonic()
        self._begun: dict[str, float] = {}  # the share that was done before this sweep
        self._share: dict[str, float] = {}

    def update(self, name: str, share: float) -> tuple[float, str]:
        """Set the share of a stack that is done; returns the examples that are done, and the text to show."""
        self._begun.setdefault(name, share)
        self._share[name] = share
        finished = sum(value * self._work.get(one, 0) for one, value in self._share.items())
        now = finished - sum(value * self._work.get(one, 0) for one, value in self._begun.items())
        stacks = f"{sum(value >= 1 for value in self._share.values())} of {len(self._work)} stacks"
        return finished, f"{stacks}  {time_left(now, self._all - finished, time.monotonic() - self._began)}"

"""Live lines on the terminal: for each stack of runs how far it is, how fast it goes, and its current error."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from neoteny.lab.execution import Progress

__all__ = ["Rate", "describe", "live"]


class Rate:
    """How fast something grows, over the last seconds: compiling at the start does not count for long.

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
        """Take the value now; its growth a second, or None while that cannot be told."""
        now = time.monotonic() if now is None else now
        self._seen.append((now, value))
        while len(self._seen) > 2 and self._seen[1][0] < now - self._window:
            self._seen.popleft()
        (then, before) = self._seen[0]
        return (value - before) / (now - then) if now > then and value > before else None


def describe(progress: Progress, rate: float | None) -> str:
    """What stands behind the bar: examples a second of all runs together, time to go, current error.

    Args:
        progress: where the stack stands.
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


@contextmanager
def live(labels: Sequence[str], console: Console | None = None) -> Iterator[Callable[[Progress], None]]:
    """Lines on the terminal (standard error), one a label; gives what progress is told to.

    Where there is no terminal to show it, such as in a log, each line is written once, when its stack is done.
    """
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    console = console or Console(stderr=True)
    rates = {label: Rate() for label in labels}
    done: set[str] = set()
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[text]}", markup=False),
    )
    with Bars(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks = {label: bars.add_task(label, total=1.0, text="waiting") for label in labels}

        def notify(progress: Progress) -> None:
            label = progress.label
            text = describe(progress, rates[label].update(progress.examples))
            bars.update(tasks[label], completed=progress.examples / progress.total, text=text)
            if progress.examples >= progress.total and label not in done and not console.is_terminal:
                console.print(f"{label}  {text}", markup=False, highlight=False, soft_wrap=True)
                done.add(label)

        yield notify

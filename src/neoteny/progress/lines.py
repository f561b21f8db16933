"""Live lines on the terminal, one for each stack of runs, over a curve of what is measured."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from neoteny.progress.curves import Curves

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from neoteny.lab.execution import Progress

__all__ = ["Rate", "describe", "live", "time_left"]

A_SECOND = 2
"""How often the lines are drawn."""


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
    if progress.doing:
        words.append(progress.doing)
    elif progress.examples >= progress.total:
        words.append("done")
    elif rate is None:
        words.append("first steps" if not progress.examples else "")
    else:
        left = round((progress.total - progress.examples) / rate)
        words.append(f"{rate * progress.runs:,.0f} {progress.unit}/s")
        words.append(f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} to go")
    if not math.isnan(progress.value):
        small = 0 < abs(progress.value) < 0.01  # three decimals would show 0.000
        words.append(f"{progress.metric} {progress.value:{'.2e' if small else '.3f'}}")
    return "  ".join(filter(None, words))


def time_left(done: float, left: float, seconds: float) -> str:
    """How long the rest takes at the speed so far, in hours and minutes.

    >>> time_left(done=25, left=75, seconds=60)
    'about 0 h 03 min to go'
    >>> time_left(done=0, left=75, seconds=60)
    ''
    """
    if not done:
        return ""
    minutes = round(left * seconds / done / 60)
    return f"about {minutes // 60} h {minutes % 60:02d} min to go"


@contextmanager
def live(
    labels: Sequence[str] = (),
    *,
    sweep: Mapping[str, float] | None = None,
    show: bool = True,
    console: Console | None = None,
) -> Iterator[Callable[..., None]]:
    """Lines on the terminal, one for each stack; gives `notify(progress, name=None)`, which updates a stack's line.

    Below them are curves of the metric, where the stacks are few and known from the start. Without a terminal, a line
    is written for each stack that is done. A stack's name is its label, unless `notify` is given another.

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
    begun: dict[tuple[str, str, int], float] = {}  # when a stack was first heard to wait for something
    curves = Curves(labels)

    class Shown(Bars):
        """The lines, and the curve below them."""

        def get_renderables(self) -> Iterator[RenderableType]:
            for task in self.tasks:  # how long it has been at what it waits for
                since = task.fields["since"]
                waited = int(time.monotonic() - since) if since else 0
                task.fields["shown"] = f"{task.fields['text']}{f', {waited} s' * bool(waited)}"
            yield from super().get_renderables()
            if curves:
                yield curves

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[shown]}", markup=False),
    )
    fields: dict[str, Any] = {"text": "", "shown": "", "since": 0.0}
    with Shown(
        *columns, console=console, disable=not (show and console.is_terminal), refresh_per_second=A_SECOND
    ) as bars:
        total = None if sweep is None else _Total(sweep)
        whole = None if sweep is None else bars.add_task("all stacks", total=max(sum(sweep.values()), 1), **fields)
        for label in labels:
            tasks[label] = bars.add_task(label, total=1.0, **{**fields, "text": "waiting"})

        def notify(progress: Progress, name: str | None = None) -> None:
            name = progress.label if name is None else name
            if name in done:
                return
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=1.0, **fields)
            share = progress.examples / progress.total
            text = describe(progress, rates.setdefault(name, Rate()).update(progress.examples))
            waits = progress.doing or ("" if progress.examples else text)
            since = begun.setdefault((name, waits, progress.examples), time.monotonic()) if waits else 0.0
            bars.update(tasks[name], completed=share, text=text, since=since)
            curves.add(name, progress)
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
        stacks = f"{sum(value >= 1 for value in self._share.values())} of {len(self._work.keys() | self._share)} stacks"
        return finished, f"{stacks}  {time_left(now, self._all - finished, time.monotonic() - self._began)}"

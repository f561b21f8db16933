"""Where a sweep stands: a line for all of it, with the time to go, and one for each stack that is being trained."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from neoteny.lab.progress import Rate, describe

if TYPE_CHECKING:
    from rich.console import Console

    from neoteny.lab.execution import Progress

__all__ = ["overall", "to_go"]

Name = tuple[str, str, str]
"""Benchmark, row and phase."""


def to_go(done: float, left: float, seconds: float) -> str:
    """How long the rest takes at the speed so far.

    >>> to_go(done=25, left=75, seconds=60)
    'about 0:03 to go'
    >>> to_go(done=0, left=75, seconds=60)
    ''
    """
    if not done:
        return ""
    minutes = round(left * seconds / done / 60)
    return f"about {minutes // 60}:{minutes % 60:02d} to go"


@contextmanager
def overall(
    work: Mapping[Name, float], show: bool = True, console: Console | None = None
) -> Iterator[Callable[[Mapping[str, Name], Progress], None]]:
    """Lines on the terminal (standard error); gives what progress is told to, with the names of the labels.

    Where there is no terminal to show it, a line is written for each stack that is done.

    Args:
        work: what is left of each stack, in examples of all its runs.
        show: whether to show anything.
        console: where; by default standard error.
    """
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    console = console or Console(stderr=True, quiet=not show)
    began, total = time.monotonic(), sum(work.values())
    begun: dict[Name, float] = {}  # the share that was done before this sweep
    share: dict[Name, float] = {}
    rates: dict[Name, Rate] = {}
    tasks: dict[Name, int] = {}
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[text]}", markup=False),
    )
    with Bars(*columns, console=console, disable=not (show and console.is_terminal)) as bars:
        everything = bars.add_task("all stacks", total=max(total, 1), text="")

        def notify(names: Mapping[str, Name], progress: Progress) -> None:
            name = names[progress.label]
            if share.get(name, 0.0) >= 1:
                return
            if name not in rates:
                rates[name], begun[name] = Rate(), progress.examples / progress.total
                tasks[name] = bars.add_task(" ".join(name), total=1.0, text="")
            share[name] = progress.examples / progress.total
            text = describe(progress, rates[name].update(progress.examples))
            bars.update(tasks[name], completed=share[name], text=text)  # type: ignore[arg-type]
            finished = sum(share[one] * work.get(one, 0) for one in share)
            now = sum((share[one] - begun[one]) * work.get(one, 0) for one in share)
            stacks = f"{sum(value >= 1 for value in share.values())} of {len(work)} stacks"
            rest = to_go(now, total - finished, time.monotonic() - began)
            bars.update(everything, completed=finished, text=f"{stacks}  {rest}")
            if share[name] >= 1:
                bars.remove_task(tasks[name])  # type: ignore[arg-type]
                if not console.is_terminal:
                    line = f"{' '.join(name)}  {text}  {stacks}  {rest}"
                    console.print(line, markup=False, highlight=False, soft_wrap=True)

        yield notify

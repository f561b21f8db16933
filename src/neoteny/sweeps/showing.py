"""The table of a sweep as text: each benchmark's rows, the best first, and what could not be run."""

from __future__ import annotations

import io

import polars as pl

from neoteny.report.leaderboard.board import Board
from neoteny.report.runs.metrics import in_words, is_share
from neoteny.report.statistics.intervals import Interval

__all__ = ["as_text"]


def as_text(frame: pl.DataFrame) -> str:
    """The tidy table of `collect`, to be read; equal tables are equal texts."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    board, to = Board(frame), io.StringIO()
    console = Console(file=to, width=160, color_system=None)
    for name in board.benchmarks:
        metric = board.metric(name)
        better = "higher" if board.better(name) > 0 else "lower"
        title = f"{name}, {board.scale(name)} scale: {in_words(metric)}, {better} is better; means, 95% t intervals"
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for heading in ("row", "whole stream", "first tenth", "last tenth", "n", "chosen", "of"):
            table.add_column(heading, justify="left" if heading in ("row", "chosen") else "right")
        for one in board.standings(name):
            points = len(board.tuning(name, one.row))
            shown = [_shown(interval, is_share(metric)) for interval in (one.whole, one.first, one.last)]
            n = f"{one.runs - one.ended} of {one.runs}" if one.ended else str(one.runs)
            table.add_row(one.row, *shown, n, one.chosen, f"{points} points" if points else "")
        console.print(table, markup=False)
    for benchmark, row, reason in board.left_out():
        console.print(f"not run: {row} on {benchmark}: {reason}", markup=False, soft_wrap=True)
    return "\n".join(line.rstrip() for line in to.getvalue().splitlines()) + "\n"


def _shown(interval: Interval, share: bool) -> str:
    mean, low, high = (100.0**share * float(part) for part in (interval.mean, interval.low, interval.high))
    return f"{mean:.4g} [{low:.4g}, {high:.4g}]"

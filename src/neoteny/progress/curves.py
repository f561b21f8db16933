"""Small curves of characters: a metric over a run, while it goes on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.text import Text

    from neoteny.lab.execution import Progress

__all__ = ["STYLES", "Curves", "dots"]

ROWS, COLUMNS = 5, 60
STYLES = ("cyan", "magenta", "yellow", "green", "blue", "red")
"""Of the stacks, in their order; of more of them there is no curve."""
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Bits of a Braille character: two columns of four dots, from the top."""


def dots(heights: Sequence[float], rows: int, low: float, high: float) -> list[list[int]]:
    """A curve as bits of Braille characters, two points beside each other in each.

    Args:
        heights: the value at each point; NaN where there is none.
        rows: lines of characters.
        low: what the lowest dot stands for.
        high: what the highest one stands for.

    Returns:
        [rows][characters].

    >>> print("".join(chr(0x2800 + bits) for bits in dots([0, 1, 2, 3], 1, 0, 3)[0]))
    ⡠⠊
    """
    cells = [[0] * math.ceil(len(heights) / 2) for _ in range(rows)]
    before: int | None = None
    for place, value in enumerate(heights):
        if not math.isfinite(value):
            continue
        level = round((value - low) / (high - low) * (4 * rows - 1)) if high > low else 2 * rows
        top = 4 * rows - 1 - min(max(level, 0), 4 * rows - 1)
        # from beside the point before, so that a steep curve is one line
        start = top if before is None or abs(before - top) <= 1 else before + (1 if top > before else -1)
        for line in range(min(start, top), max(start, top) + 1):
            cells[line // 4][place // 2] |= _DOTS[place % 2][line % 4]
        before = top
    return cells


class Curves:
    """The curves of a few stacks in one picture; each point is the mean of what was told in its part of the run.

    Args:
        labels: of the stacks.
    """

    def __init__(self, labels: Sequence[str]):
        few = labels if len(labels) <= len(STYLES) else ()
        self._means: dict[str, dict[int, tuple[float, int]]] = {label: {} for label in few}
        self._last: dict[str, float] = {}
        self._metric = ""

    def add(self, name: str, progress: Progress) -> None:
        """Take in how far a stack is; nothing where its metric is unknown, or the same as before."""
        if name not in self._means or not math.isfinite(progress.value) or progress.value == self._last.get(name):
            return
        self._last[name], self._metric = progress.value, progress.metric
        place = min(2 * COLUMNS * progress.examples // progress.total, 2 * COLUMNS - 1)
        mean, count = self._means[name].get(place, (0.0, 0))
        self._means[name][place] = (mean + (progress.value - mean) / (count + 1), count + 1)

    def __bool__(self) -> bool:
        return any(len(points) > 1 for points in self._means.values())

    def _heights(self, points: dict[int, tuple[float, int]], columns: int) -> list[float]:
        """A value for each point of the picture, on straight lines between those that are known."""
        import numpy as np

        if not points:
            return []
        known = sorted(points)
        wanted = np.arange(2 * columns) * COLUMNS / columns
        found = np.interp(wanted, known, [points[place][0] for place in known], left=math.nan, right=math.nan)
        return found.tolist()

    @staticmethod
    def _cell(curves: Sequence[list[list[int]]], row: int, column: int) -> tuple[str, str]:
        """A character of the picture, and its style; where curves cross it is the last one's."""
        bits, style = 0, ""
        for cells, own in zip(curves, STYLES, strict=False):
            if cells[row] and cells[row][column]:
                bits, style = bits | cells[row][column], own
        return chr(0x2800 + bits) if bits else " ", style

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        from rich.text import Text

        columns = max(min(COLUMNS, options.max_width - 12), 8)
        values = [mean for points in self._means.values() for mean, _ in points.values()]
        low, high = min(values), max(values)
        curves = [dots(self._heights(points, columns), ROWS, low, high) for points in self._means.values()]
        for row in range(ROWS):
            mark = {0: f"{high:.3g}", ROWS - 1: f"{low:.3g}"}.get(row, "")
            line = Text(f"{mark:>9} ", no_wrap=True)
            for style, cells in groupby((self._cell(curves, row, column) for column in range(columns)), itemgetter(1)):
                line.append("".join(character for character, _ in cells), style)
            yield line
        names = Text(f"{'':10}{self._metric}: ", no_wrap=True, overflow="ellipsis")
        for name, color in zip(self._means, STYLES, strict=False):
            names.append(f"{name}  ", color)
        yield names

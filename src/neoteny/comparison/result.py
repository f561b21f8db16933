"""What a comparison found: a table, what it says in words, a figure, and the lines for a script."""

from __future__ import annotations

import io
import math
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from neoteny.comparison.code import lines_of
from neoteny.comparison.entries import BARE, Entries, Entry
from neoteny.report.statistics.cell import Cell, markdown_table
from neoteny.report.statistics.final_table import p_value
from neoteny.report.statistics.intervals import mean_interval

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure
    from rich.console import Group
    from rich.table import Table

__all__ = ["Comparison"]


@dataclass(frozen=True, eq=False)
class Comparison(Entries):
    """The result of `neoteny.compare`. Print it, draw it, or take it as a data frame.

    `best` is the name of the best method that is better than the bare loop, or the bare loop's; `code()` gives the
    lines for your script; `found["cbp"]` is an entry. The other attributes are those of
    `neoteny.comparison.entries.Entries`.
    """

    def says(self) -> list[str]:
        """What was found, in sentences."""
        from neoteny.comparison.words import sentences

        return sentences(self)

    def figure(self, metric: str | None = None, **options: Any) -> Figure:
        """The loss, or the accuracy, over the stream, in bins; one line an entry.

        Args:
            metric: `loss` or `accuracy`; by default what entries are judged by.
            options: `bins`, their number, 24 by default; `theme`, `LIGHT` or `DARK` paper.
        """
        from neoteny.comparison.figure import draw

        return draw(self, metric, **options)

    def code(self, name: str | None = None) -> str:
        """The lines for your own script: the best entry, or the one of this name, with the settings chosen for it.

        Raises:
            UnknownNameError: there is no such entry.
        """
        none = ["# No method is better than the bare loop here."] * (name is None and self.best == BARE)
        return "\n".join([*none, *lines_of(self, self.best if name is None else name)]) + "\n"

    def to_frame(self) -> pl.DataFrame:
        """One row an entry: its mean with the 95% interval, the difference to the bare loop, cost and settings."""
        import polars as pl

        rows = []
        for entry in self.entries:
            cell, own = self._cell(entry), self.against_bare.get(entry.name)
            rows.append(
                {
                    "entry": entry.name, "metric": self.metric, "mean": cell.mean, "low": cell.low, "high": cell.high,
                    "runs": self.seeds, "finite_runs": cell.n,
                    **{f"difference{end}": getattr(own, part, math.nan)
                       for end, part in (("", "mean"), ("_low", "low"), ("_high", "high"))},
                    "p": getattr(own, "p", math.nan), "cost": self._cost(entry), "step_size_times": entry.way.factor,
                    "settings": entry.settings,
                }
            )  # fmt: skip
        return pl.DataFrame(rows).with_columns(pl.col(pl.Float64).fill_nan(None))

    def table(self) -> Table:
        """A table for the terminal, the best first."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        table = Table(title=self.title, title_justify="left", caption=self.caption, caption_justify="left",
                      box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)  # fmt: skip
        for place, heading in enumerate(self._headings):
            table.add_column(heading, justify="left" if place in (0, 6) else "right", no_wrap=place < 6)
        for row in self._rows():
            table.add_row(*row, style="bold" if row[0] == self.best else None)
        return table

    def markdown(self) -> str:
        """The same in Markdown, with the sentences under it."""
        lines = [self._headings, ("---", *["---:"] * 5, "---"), *self._rows()]
        return f"{markdown_table(lines)}\n\n{self.title}: {self.caption}\n\n" + "\n".join(
            f"- {one}" for one in self.says()
        )

    @property
    def caption(self) -> str:
        """What the numbers are."""
        per_cent = " in %" * (self.metric == "accuracy")
        return (
            f"{self.metric}{per_cent} ({'higher' if self.sign > 0 else 'lower'} is better) before learning from each "
            f"batch, mean over {self.seeds} seeds and 95% Student t interval; difference to the bare loop seed by "
            "seed, p corrected for all comparisons (Holm); cost: seconds relative to the bare loop."
        )

    _headings = ("entry", "mean", "difference", "p", "cost", "step size", "settings")

    def _rows(self) -> list[tuple[str, ...]]:
        share = self.metric == "accuracy"
        found = []
        for entry in sorted(self.entries, key=self._order):
            own, cell = self.against_bare.get(entry.name), self._cell(entry)
            gap = Cell(own.mean, own.low, own.high, self.seeds).text(share, signed=True) if own else ""
            mean = cell.text(share) + f" ({cell.n} of {self.seeds})" * (cell.n < self.seeds)
            found.append((entry.name, mean, gap, p_value(own.p) if own else "", f"{self._cost(entry):.2f}",
                          self.step_size(entry), entry.settings))  # fmt: skip
        return found

    def _order(self, entry: Entry) -> tuple[int, float]:
        scores = self.scores(entry.name)
        ended = int((~np.isfinite(scores)).sum())
        return ended, -self.sign * float(scores[np.isfinite(scores)].mean()) if ended < len(scores) else 0.0

    def _cell(self, entry: Entry) -> Cell:
        return Cell.of(mean_interval(self.scores(entry.name)))

    def _cost(self, entry: Entry) -> float:
        return entry.seconds / self.entries[0].seconds

    def __rich__(self) -> Group:
        from rich.console import Group
        from rich.text import Text

        return Group(self.table(), *(Text(one) for one in self.says()))

    def __str__(self) -> str:
        from rich.console import Console

        out = io.StringIO()
        Console(file=out, width=max(110, shutil.get_terminal_size((110, 24)).columns)).print(self)
        return "\n".join(line.rstrip() for line in out.getvalue().rstrip().splitlines())

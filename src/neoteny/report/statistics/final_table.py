"""The final table: how each system did at first and at last, with intervals.

The windows are the first and the last tenth of the stream, 100,000 examples of a stream of a million. A run counts in
a window if it went through all of it. The change is taken run by run, over the runs that went through both windows.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from neoteny.errors import SettingError, UnknownNameError
from neoteny.report.files import write
from neoteny.report.runs.curve import Curve
from neoteny.report.runs.groups import Group
from neoteny.report.runs.metrics import direction, in_words, is_performance, is_share
from neoteny.report.runs.series import Unit
from neoteny.report.statistics.cell import Cell, latex_table, markdown_table
from neoteny.report.statistics.intervals import Kind, interval_name, mean_interval
from neoteny.report.statistics.paired import Difference, paired_differences
from neoteny.report.statistics.sample import count

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table

__all__ = ["FinalRow", "FinalTable", "final_table", "p_value"]


@dataclass(frozen=True)
class FinalRow:
    """One system.

    Attributes:
        system: label of its series.
        first: mean over the first window.
        last: mean over the last window.
        change: from the first to the last, run by run.
        runs: how many were started.
        scores: of each seed the mean over the last window; a run that did not come to its end has none.
    """

    system: str
    first: Cell
    last: Cell
    change: Cell
    runs: int
    scores: Mapping[int, float] = field(default_factory=dict, repr=False)

    @property
    def n(self) -> str:
        """Runs in the last window, and of how many if some ended early.

        >>> cell = Cell(1.0, 0.9, 1.1, 28)
        >>> FinalRow("backprop", cell, cell, cell, 30).n
        '28 of 30'
        """
        return count(self.last.n, self.runs)


@dataclass(frozen=True)
class FinalTable:
    """Rows of one benchmark, to be shown in a terminal, in Markdown or LaTeX, or kept as a file.

    Attributes:
        benchmark: its id.
        scale: name of the preset's scale.
        metric: what the numbers are.
        window: examples in each window, or steps of an agent.
        interval: name of the interval, such as "95% Student t interval".
        rows: one a system.
        unit: of the window.
        base: the system that the others are compared with; empty without a comparison.
        beside: of each other system its last window minus that of `base`, on the same seeds.
    """

    benchmark: str
    scale: str
    metric: str
    window: int
    interval: str
    rows: tuple[FinalRow, ...]
    unit: Unit = "examples"
    base: str = ""
    beside: Mapping[str, Difference] = field(default_factory=dict, repr=False)

    def against(self, base: str) -> FinalTable:
        """The same table with paired differences to one of its systems; p is corrected for their number (Holm).

        Raises:
            UnknownNameError: the table has no such system.
        """
        scores = {row.system: row.scores for row in self.rows}
        if base not in scores:
            raise UnknownNameError(base, scores, kind="system in this table")
        return replace(self, base=base, beside=paired_differences(scores, base))

    @property
    def title(self) -> str:
        """Benchmark and scale."""
        return f"{self.benchmark}, {self.scale} scale" if self.scale else self.benchmark

    @property
    def share(self) -> bool:
        """Whether the numbers are shares, shown in per cent; files keep the shares."""
        return is_share(self.metric)

    @property
    def headings(self) -> tuple[str, ...]:
        """Names of the columns."""
        beside = (f"last, beside {self.base}", "p") if self.base else ()
        return "system", f"first {self.window:,}", f"last {self.window:,}", "change", *beside, "n"

    @property
    def caption(self) -> str:
        """What the numbers are."""
        better = f" ({'higher' if direction(self.metric) > 0 else 'lower'} is better)"
        better *= is_performance(self.metric)  # a measure of the network is neither good nor bad
        unit = in_words(self.metric) + " in %" * self.share
        paired = f"; differences to {self.base} are taken seed by seed, p of paired t tests, Holm-corrected"
        return (
            f"{unit}{better}, mean over n runs and {self.interval}, in the first and the last "
            f"{self.window:,} {self.unit}; the change is taken run by run{paired * bool(self.base)}"
        )

    def cells(self, row: FinalRow) -> list[tuple[str, str]]:
        """The columns of a row between its name and n, each as mean and interval."""
        shown = [row.first.parts(self.share), row.last.parts(self.share), row.change.parts(self.share, signed=True)]
        if self.base:
            found = self.beside.get(row.system)
            cell = (
                Cell(found.mean, found.low, found.high, found.n).parts(self.share, signed=True) if found else ("", "")
            )
            shown += [cell, (p_value(found.p) if found else "", "")]
        return shown

    def rich(self) -> Table:
        """A table for the terminal.

        >>> import rich
        >>> rich.print(final_table(load("runs")[0]).rich())  # doctest: +SKIP
        """
        from rich import box
        from rich.table import Table
        from rich.text import Text

        longest = max((len(word) for row in self.rows for word in row.system.split()), default=0)

        class Shown(Table):
            """Where it is narrow, words of names stay whole and intervals go below means."""

            def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
                narrow = self.__rich_measure__(console, options).maximum > options.max_width
                # rich would make this column narrower too, which gains nothing
                self.columns[0].width = min(longest, 24) if narrow else None
                return super().__rich_console__(console, options)

        table = Shown(title=self.title, caption=self.caption, box=box.SIMPLE_HEAD, title_justify="left",
                      caption_justify="left", title_style="bold", pad_edge=False, collapse_padding=True)  # fmt: skip
        for place, heading in enumerate(self.headings):
            table.add_column(heading.replace("beside ", "beside\n"), justify="right" if place else "left")
        for row in self.rows:
            cells = [
                Text.assemble(mean, " " * bool(bounds), (bounds.replace("± ", "±\u00a0"), "dim"))
                for mean, bounds in self.cells(row)
            ]
            table.add_row(Text(row.system), *cells, row.n)
        return table

    def markdown(self) -> str:
        """A Markdown table with the caption under it."""
        lines = [self.headings, ("---", *["---:"] * (len(self.headings) - 1)), *self._lines()]
        return f"{markdown_table(lines)}\n\n{self.title}: {self.caption}.\n"

    def latex(self) -> str:
        r"""A LaTeX table with its caption; it needs the package booktabs.

        >>> cell = Cell(0.5, 0.4, 0.6, 3)
        >>> table = FinalTable("b-v1", "tiny", "accuracy", 100, "t", (FinalRow("cbp", cell, cell, cell, 3),))
        >>> print(table.latex().splitlines()[6])
        cbp & $50 \pm 10$ & $50 \pm 10$ & $+50 \pm 10$ & 3 \\
        """
        return latex_table([self.headings, *self._lines()], f"{self.title}: {self.caption}.")

    def _lines(self) -> list[tuple[str, ...]]:
        return [(row.system, *(" ".join(cell).strip() for cell in self.cells(row)), row.n) for row in self.rows]

    def frame(self) -> pl.DataFrame:
        """All numbers, unrounded: one row a system and window; differences to `base` stand in rows of their own."""
        rows = [
            {
                "benchmark": self.benchmark,
                "scale": self.scale,
                "system": row.system,
                "metric": self.metric,
                "window": window,
                self.unit: self.window,
                "mean": cell.mean,
                "low": cell.low,
                "high": cell.high,
                "n": cell.n,
                "runs": row.runs,
                "interval": self.interval,
            }
            for row in self.rows
            for window, cell in (("first", row.first), ("last", row.last), ("change", row.change))
        ]
        for name, found in self.beside.items():
            rows.append({**next(row for row in rows if row["system"] == name), "window": f"last minus {self.base}"})
            rows[-1] |= {key: getattr(found, key) for key in ("mean", "low", "high", "n", "p")}
        return pl.DataFrame(rows, infer_schema_length=None).fill_nan(None)

    def write(self, path: str | Path) -> Path:
        """Write the table as its suffix says: .csv, .parquet, .md or .tex; whole or not at all.

        Raises:
            SettingError: another suffix.
        """
        path, buffer = Path(path), io.BytesIO()
        if path.suffix == ".csv":
            self.frame().write_csv(buffer)
        elif path.suffix == ".parquet":
            self.frame().write_parquet(buffer)
        elif path.suffix == ".md":
            buffer.write(self.markdown().encode())
        elif path.suffix == ".tex":
            buffer.write(self.latex().encode())
        else:
            raise SettingError(
                f"A table cannot be written as {path.suffix or 'a file without suffix'!r}: use .csv, .parquet, .md or "
                ".tex."
            )
        return write(path, buffer.getvalue())


def final_table(
    group: Group, metric: str | None = None, *, interval: Kind = "t", window: int | None = None
) -> FinalTable:
    """Compare the beginning of a stream with its end.

    Args:
        group: from `load`.
        metric: by default the accuracy, the return of agents, or else the loss.
        interval: "t", "percentile" or "bca"; always 95%.
        window: examples (of agents: steps) in each window, a whole number of bins; by default a tenth of the longest
            recorded stream.

    Raises:
        UnknownNameError: the metric was not recorded.
        SettingError: the window is not a whole number of bins, or longer than the stream.
    """
    metric = group.metric(metric)
    curves = [one.curve(metric) for one in group.series]
    end = max((int(curve.steps[-1]) for curve in curves if len(curve.steps)), default=0)
    bin_size = max((curve.bin_size for curve in curves), default=0)
    if window is None:
        window = max(bin_size, end // 10 // bin_size * bin_size) if bin_size else 0
    elif bin_size and (window <= 0 or window % bin_size or window > end):
        raise SettingError(
            f"A window of {window!r} {group.unit} is not a whole number of recorded bins: "
            f"give a multiple of {bin_size} up to {end}."
        )
    rows = []
    for one, curve in zip(group.series, curves, strict=True):
        first, last = _window(curve, 0, window), _window(curve, end - window, end)
        change = last - first if 2 * window <= end else np.full(one.runs, np.nan)  # windows that overlap show none
        cells = [Cell.of(mean_interval(values, kind=interval)) for values in (first, last, change)]
        scores = {seed: float(score) for seed, score in zip(one.seeds, last, strict=True) if np.isfinite(score)}
        rows.append(FinalRow(one.label, *cells, runs=one.runs, scores=scores))
    return FinalTable(group.benchmark, group.scale, metric, window, interval_name(interval), tuple(rows), group.unit)


def p_value(p: float) -> str:
    """A p-value as text.

    >>> p_value(0.0001), p_value(0.0412)
    ('<0.001', '0.041')
    """
    return f"{p:.3f}" if p >= 0.0005 else "<0.001"


def _window(curve: Curve, start: int, stop: int) -> NDArray[np.float64]:
    """Mean of each run over the bins in (start, stop]; NaN for a run that did not go through all of it."""
    inside = curve.inside(start, stop)
    whole = inside.any() and curve.steps[inside][-1] == stop
    return curve.values[:, inside].mean(axis=1) if whole else np.full(len(curve.values), np.nan)

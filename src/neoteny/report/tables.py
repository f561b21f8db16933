"""The final table: how each system did at first and at last, with intervals.

The windows are the first and the last tenth of the stream, 100,000 examples of a stream of a million. A run counts in
a window if it went through all of it; the change is taken run by run, over the runs that went through both.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from neoteny.errors import SettingError
from neoteny.report.binning import Curve
from neoteny.report.files import write
from neoteny.report.intervals import Interval, Kind, interval_name, mean_interval
from neoteny.report.series import Group, Unit

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Cell", "FinalTable", "Row", "final_table"]


@dataclass(frozen=True)
class Cell:
    """A mean over n runs with its interval.

    >>> print(Cell(1.2468, 1.2101, 1.2835, 30), "|", Cell(1.2468, 1.2101, 1.2935, 30, kind="bca"))
    1.247 ± 0.037 | 1.247 [1.210, 1.294]
    >>> print(Cell(1.2468, math.nan, math.nan, 1), "|", Cell(math.nan, math.nan, math.nan, 0))
    1.247 | -
    """

    mean: float
    low: float
    high: float
    n: int
    kind: str = "t"

    def parts(self, share: bool = False, signed: bool = False) -> tuple[str, str]:
        """Mean and interval as text; decimals follow from the width of the interval."""
        if not math.isfinite(self.mean):
            return "-", ""
        mean, low, high = ((100.0 if share else 1.0) * value for value in (self.mean, self.low, self.high))
        half = (high - low) / 2
        number = f".{_decimals(half, mean)}f" if abs(mean) < 1e6 else ".4g"
        text = f"{mean:{'+' if signed else ''}{number}}"
        if not math.isfinite(half):
            return text, ""
        # Student's interval is symmetric, a bootstrap's need not be.
        return text, f"± {half:{number}}" if self.kind in ("t", "se") else f"[{low:{number}}, {high:{number}}]"

    def __str__(self) -> str:
        return " ".join(self.parts()).strip()


@dataclass(frozen=True)
class Row:
    """One system: first window, last window, change, and how many runs were started."""

    system: str
    first: Cell
    last: Cell
    change: Cell
    runs: int

    @property
    def n(self) -> str:
        """Runs in the last window, and of how many if some ended early.

        >>> cell = Cell(1.0, 0.9, 1.1, 28)
        >>> Row("backprop", cell, cell, cell, 30).n
        '28 of 30'
        """
        return str(self.runs) if self.last.n == self.runs else f"{self.last.n} of {self.runs}"


@dataclass(frozen=True)
class FinalTable:
    """Rows of one benchmark, to be shown in a terminal, in Markdown, or kept as a file.

    Attributes:
        benchmark: its id.
        scale: name of the preset's scale.
        metric: what the numbers are.
        window: examples in each window, or steps of an agent.
        interval: name of the interval, such as "95% Student t interval".
        rows: one a system.
        unit: of the window.
    """

    benchmark: str
    scale: str
    metric: str
    window: int
    interval: str
    rows: tuple[Row, ...]
    unit: Unit = "examples"

    @property
    def title(self) -> str:
        """Benchmark and scale."""
        return f"{self.benchmark}, {self.scale} scale" if self.scale else self.benchmark

    @property
    def share(self) -> bool:
        """Whether the numbers are shares, shown in per cent; files keep the shares."""
        return self.metric.endswith("accuracy")

    @property
    def headings(self) -> tuple[str, str, str, str, str]:
        """Names of the columns."""
        return "system", f"first {self.window:,}", f"last {self.window:,}", "change", "n"

    @property
    def caption(self) -> str:
        """What the numbers are."""
        better = "higher" if self.metric.endswith(("accuracy", "return")) else "lower"
        unit = f"{self.metric} in %" if self.share else self.metric
        return (
            f"{unit} ({better} is better), mean over n runs and {self.interval}, in the first and the last "
            f"{self.window:,} {self.unit}; the change is taken run by run"
        )

    def cells(self, row: Row) -> list[tuple[str, str]]:
        """The middle three columns of a row, each as mean and interval."""
        return [row.first.parts(self.share), row.last.parts(self.share), row.change.parts(self.share, signed=True)]

    def rich(self) -> Table:
        """A table for the terminal.

        >>> import rich
        >>> rich.print(final_table(load("runs")[0]).rich())  # doctest: +SKIP
        """
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(title=self.title, caption=self.caption, box=box.SIMPLE_HEAD, title_justify="left",
                      caption_justify="left", title_style="bold", pad_edge=False, collapse_padding=True)  # fmt: skip
        longest = max((len(word) for row in self.rows for word in row.system.split()), default=0)
        for place, heading in enumerate(self.headings):
            table.add_column(
                heading,
                justify="right" if place else "left",
                no_wrap=place > 0,
                min_width=0 if place else min(longest, 24),
            )
        for row in self.rows:
            cells = [Text.assemble(mean, " " * bool(bounds), (bounds, "dim")) for mean, bounds in self.cells(row)]
            table.add_row(Text(row.system), *cells, row.n)
        return table

    def markdown(self) -> str:
        """A Markdown table with the caption under it."""
        lines = [self.headings, ("---", "---:", "---:", "---:", "---:")]
        lines += [(row.system, *(" ".join(cell).strip() for cell in self.cells(row)), row.n) for row in self.rows]
        text = "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
        return f"{text}\n\n{self.title}: {self.caption}.\n"

    def frame(self) -> pl.DataFrame:
        """All numbers, unrounded: one row a system and window."""
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
        return pl.DataFrame(rows).fill_nan(None)

    def write(self, path: str | Path) -> Path:
        """Write the table as its suffix says: .csv, .parquet or .md; whole or not at all.

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
        else:
            raise SettingError(
                f"A table cannot be written as {path.suffix or 'a file without suffix'!r}: use .csv, .parquet or .md."
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
        cells = [_cell(mean_interval(values, kind=interval)) for values in (first, last, change)]
        rows.append(Row(one.label, *cells, runs=one.runs))
    return FinalTable(group.benchmark, group.scale, metric, window, interval_name(interval), tuple(rows), group.unit)


def _window(curve: Curve, start: int, stop: int) -> NDArray[np.float64]:
    """Mean of each run over the bins in (start, stop]; NaN for a run that did not go through all of it."""
    inside = (curve.steps > start) & (curve.steps <= stop)
    whole = inside.any() and curve.steps[inside][-1] == stop
    return curve.values[:, inside].mean(axis=1) if whole else np.full(len(curve.values), np.nan)


def _cell(result: Interval) -> Cell:
    return Cell(float(result.mean), float(result.low), float(result.high), int(result.n), result.kind)


def _decimals(half_width: float, mean: float) -> int:
    """Two figures of the half-width; four of the mean where there is no interval."""
    if math.isfinite(half_width) and half_width > 0:
        return min(max(1 - math.floor(math.log10(half_width)), 0), 6)
    return min(max(3 - math.floor(math.log10(abs(mean))), 0), 6) if mean else 3

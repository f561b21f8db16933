"""The leaderboard as a figure: one line a method, one narrow panel a benchmark, as wide as a column of text.

A dot is the mean over the last tenth of the stream with its 95% interval (Student's t), a pale tick the first tenth.
The vertical line is backpropagation's. A row far behind all others would squeeze them together: it is cut, and its
value stands at the edge. All panels have the same order of rows, so that a method is found once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from neoteny.report.figures.layout import EDGE, fit_legend, footnote, footnote_height, text_width, wrap
from neoteny.report.figures.style import LIGHT, Theme, drawing, new_figure, per_cent
from neoteny.report.leaderboard.board import BASE, Board, Standing
from neoteny.report.runs.metrics import in_words, is_share

__all__ = ["KINDS", "forest", "limits", "order"]

KINDS = {
    "reference": ("#4D4D4D", "o"),
    "regulariser": ("#B87800", "s"),
    "optimizer": ("#783CD8", "^"),
    "perturbation": ("#009E73", "D"),
    "projection": ("#B5568B", "v"),
    "reset": ("#0072B2", "o"),
    "average": ("#2A8AC4", "P"),
    "architecture": ("#D55E00", "X"),
}
"""The colour and the mark of each kind of row."""
WIDTH, COLUMNS = 5.0, 3  # inches; at most so many benchmarks beside each other
ROW, FOOT, BETWEEN = 0.16, 0.46, 0.16  # inches: a line, below a panel, between panels
SIZE = 8.0  # points of the names


def forest(board: Board, theme: Theme = LIGHT) -> Figure:
    """Draw the table, up to three benchmarks side by side.

    Args:
        board: with at least one benchmark.
        theme: paper and ink.
    """
    with drawing(theme):
        figure = new_figure(WIDTH, 4)
        names = board.benchmarks
        standings = {name: {one.row: one for one in board.standings(name)} for name in names}
        met = {one.kind for found in standings.values() for one in found.values()}
        kinds = [kind for kind in KINDS if kind in met]
        handles = [
            Line2D([], [], color=KINDS[kind][0], marker=KINDS[kind][1], markersize=4.5, linewidth=1.2, label=kind)
            for kind in kinds
        ]
        legend, legend_height = fit_legend(figure, handles, WIDTH - 2 * EDGE)
        scales = sorted({board.scale(name) for name in names})
        scale = " and ".join(scales)
        note = (
            f"Scale: {scale}; sorted by the mean place. Mark: mean over the last tenth of the stream with its 95% "
            "interval (Student's t); pale tick: first tenth; vertical line: backprop. A number at the "
            "edge: further out than the panel shows. Hollow: some runs turned non-finite, the mean is of the others."
        )
        small = wrap(figure, note, WIDTH - 2 * EDGE)
        beside = -(-len(names) // -(-len(names) // COLUMNS))  # four are two and two, not three and one
        blocks = [names[start : start + beside] for start in range(0, len(names), beside)]
        rows = [[row for row in order(board) if any(row in standings[name] for name in block)] for block in blocks]
        left = EDGE + max(text_width(figure, row, SIZE) for block in rows for row in block) + 0.08
        width = (WIDTH - left - 2 * EDGE - (len(blocks[0]) - 1) * BETWEEN) / len(blocks[0])
        titles = {name: wrap(figure, name.rpartition("-v")[0].replace("-", " "), width, SIZE + 0.5) for name in names}
        heads = [0.16 + 0.14 * max(len(titles[name]) for name in block) for block in blocks]
        total = EDGE + legend_height + footnote_height(small) + EDGE
        total += sum(head + ROW * len(listed) + FOOT for head, listed in zip(heads, rows, strict=True))
        figure.set_size_inches(WIDTH, total)
        legend.set_bbox_to_anchor((EDGE / WIDTH, 1 - EDGE / total), figure.transFigure)
        y = total - EDGE - legend_height
        for block, listed, head in zip(blocks, rows, heads, strict=True):
            y -= head + ROW * len(listed)
            for column, name in enumerate(block):
                x = left + column * (width + BETWEEN)
                place = (x / WIDTH, y / total, width / WIDTH, ROW * len(listed) / total)
                axes = figure.add_axes(place, label=name)
                _panel(axes, board, name, [standings[name].get(row) for row in listed], theme)
                axes.set_title("\n".join(titles[name]), loc="left", weight="bold", pad=5, fontsize=SIZE + 0.5)
                axes.set_yticks(range(len(listed)), listed if column == 0 else [], fontsize=SIZE)
            y -= FOOT
        footnote(figure, small, footnote_height(small) + EDGE / 2, theme.muted)
    return figure


def order(board: Board) -> list[str]:
    """All rows by their mean place, 0 for the best to 1 for the worst, on the benchmarks that most were run on."""
    places: dict[str, list[float]] = {}
    others: dict[str, list[float]] = {}
    for name in board.benchmarks:
        found = board.standings(name)
        for place, one in enumerate(found):
            kept = places if name in board.compared else others
            kept.setdefault(one.row, []).append(place / max(len(found) - 1, 1))
    return sorted(places | {row: each for row, each in others.items() if row not in places},
                  key=lambda row: (float(np.mean(places.get(row) or others[row])), row))  # fmt: skip


def _panel(axes: Axes, board: Board, name: str, listed: Sequence[Standing | None], theme: Theme) -> None:
    metric, share = board.metric(name), is_share(board.metric(name))
    standings = [one for one in listed if one is not None]
    low, high = limits(standings, board.better(name))
    axes.set_xlim(low, high)
    axes.set_ylim(len(listed) - 0.4, -0.6)
    better = "higher" if board.better(name) > 0 else "lower"
    axes.set_xlabel(f"{in_words(metric)}\n({better} is better)", labelpad=1, fontsize=SIZE, linespacing=1.1)
    axes.grid(True, axis="both")
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=SIZE - 0.5, pad=2)
    axes.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 2.5, 5, 10]))
    if share:
        per_cent(axes.xaxis)
    base = next((one for one in standings if one.row == BASE), None)
    if base is not None and np.isfinite(base.last.mean):
        axes.axvline(float(base.last.mean), color=theme.muted, linewidth=0.9, zorder=1)
    for place, one in enumerate(listed):
        if one is not None:
            _line(axes, float(place), one, (low, high), theme, share)


def _line(axes: Axes, place: float, one: Standing, limits: tuple[float, float], theme: Theme, share: bool) -> None:
    low, high = limits
    colour, mark = KINDS.get(one.kind, (theme.ink, "o"))
    mean, first = float(one.last.mean), float(one.first.mean)
    if low <= first <= high:
        axes.plot([first, first], [place - 0.3, place + 0.3], color=colour, alpha=0.4, linewidth=1.2, zorder=2)
    if not np.isfinite(mean):
        axes.annotate("all runs ended", (high, place), ha="right", va="center", size=SIZE - 1.5, color=theme.muted)
        return
    if low <= mean <= high:
        bounds = [float(one.last.low), float(one.last.high)]
        if np.isfinite(bounds).all():
            axes.plot(bounds, [place, place], color=colour, linewidth=1.3, solid_capstyle="butt", zorder=3)
        face: Any = theme.paper if one.ended else colour
        axes.plot([mean], [place], mark, color=colour, markerfacecolor=face, markersize=4, zorder=4)
        return
    beyond = mean > high
    text = f"{100 * mean:.0f}%" if share else f"{mean:.3g}"
    axes.annotate(
        f"{text} →" if beyond else f"← {text}",
        (high if beyond else low, place),
        ha="right" if beyond else "left",
        va="center",
        size=SIZE - 1,
        color=colour,
    )


def limits(standings: Sequence[Standing], better: int = -1) -> tuple[float, float]:
    """What a panel shows: all rows with their intervals, but not those far behind the others.

    That is Tukey's outer fence, three quartile distances from the quartile, on the worse side alone.

    Args:
        standings: of one benchmark.
        better: 1 where more is better, -1 where less is.

    >>> limits([])
    (0.0, 1.0)
    """
    known = [one for one in standings if np.isfinite(one.last.mean)]
    if not known:
        return 0.0, 1.0
    worse = -better * np.array([float(one.last.mean) for one in known])
    widths = [float(one.last.high - one.last.low) for one in known if np.isfinite(one.last.low)]
    lower, upper = np.quantile(worse, [0.25, 0.75])
    fence = upper + 3 * max(upper - lower, float(np.median(widths)) if widths else 0.0)
    inside = [one for one, value in zip(known, worse, strict=True) if value <= fence]
    bounds = np.array(
        [[one.last.low, one.last.high, one.last.mean, one.first.mean] for one in inside], dtype=np.float64
    )
    bounds = bounds[np.isfinite(bounds) & (-better * bounds <= fence)]
    low, high = float(bounds.min()), float(bounds.max())
    margin = 0.03 * (high - low) or 0.5 * abs(high) or 1.0
    return low - margin, high + margin

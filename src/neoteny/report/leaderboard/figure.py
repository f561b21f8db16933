"""The leaderboard as a figure: one panel a benchmark, one line a method, sorted, with its interval.

A dot is the mean over the last tenth of the stream with its 95% bootstrap interval, a pale tick the first tenth. The
vertical line is backpropagation's. A row far behind all others would squeeze them together: it is cut, and an arrow at
the edge points to it, with its value.
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
from neoteny.report.runs.metrics import is_share

__all__ = ["KINDS", "forest"]

KINDS = {
    "reference": "#4D4D4D",
    "regulariser": "#E69F00",
    "optimizer": "#783CD8",
    "perturbation": "#009E73",
    "projection": "#CC79A7",
    "reset": "#0072B2",
    "average": "#56B4E9",
    "architecture": "#D55E00",
}
"""The colour of each kind of row."""
WIDTH = 10.0
ROW, HEAD, FOOT, BETWEEN = 0.155, 0.34, 0.42, 0.3  # inches: a line, above and below a panel, between panels
SIZE = 7.5  # points of the names


def forest(board: Board, theme: Theme = LIGHT) -> Figure:
    """Draw the table, two panels side by side.

    Args:
        board: with at least one benchmark.
        theme: paper and ink.
    """
    with drawing(theme):
        figure = new_figure(WIDTH, 4)
        names = board.benchmarks
        standings = {name: board.standings(name) for name in names}
        columns = min(len(names), 2)
        rows = -(-len(names) // columns)
        widest = max(text_width(figure, one.row, SIZE) for found in standings.values() for one in found)
        kinds = [kind for kind in KINDS if any(one.kind == kind for found in standings.values() for one in found)]
        handles = [
            Line2D([], [], color=KINDS[kind], marker="o", markersize=4, linewidth=1.2, label=kind) for kind in kinds
        ]
        legend, legend_height = fit_legend(figure, handles, WIDTH - 2 * EDGE)
        note = (
            "Mean over the last tenth of the stream with its 95% bootstrap interval (dot) and over the first tenth "
            "(pale tick); the best at the top. Vertical line: backprop. Arrows: further out than the panel shows. "
            "Hollow: some of the row's runs turned non-finite, and the mean is that of the others."
        )
        small = wrap(figure, note, WIDTH - 2 * EDGE)
        heights = [
            ROW * max(len(standings[name]) for name in names[row * columns : (row + 1) * columns])
            for row in range(rows)
        ]
        top = EDGE + legend_height + 0.1
        total = top + sum(heights) + rows * (HEAD + FOOT) + footnote_height(small) + EDGE
        figure.set_size_inches(WIDTH, total)
        legend.set_bbox_to_anchor((EDGE / WIDTH, 1 - EDGE / total), figure.transFigure)
        left = EDGE + widest + 0.1
        width = (WIDTH - EDGE - (columns - 1) * BETWEEN - columns * left) / columns
        for place, name in enumerate(names):
            row, column = divmod(place, columns)
            height = ROW * len(standings[name])
            x = left + column * (left + width + BETWEEN)
            y = total - top - sum(heights[:row]) - row * (HEAD + FOOT) - HEAD - height
            axes = figure.add_axes((x / WIDTH, y / total, width / WIDTH, height / total), label=name)
            _panel(axes, board, name, standings[name], theme)
        footnote(figure, small, footnote_height(small) + EDGE / 2, theme.muted)
    return figure


def _panel(axes: Axes, board: Board, name: str, standings: Sequence[Standing], theme: Theme) -> None:
    metric = board.metric(name)
    places = np.arange(len(standings))
    low, high = limits(standings, board.better(name))
    axes.set_xlim(low, high)
    axes.set_ylim(len(standings) - 0.4, -0.6)
    axes.set_title(f"{name}, {board.scale(name)} scale", loc="left", weight="bold", pad=5)
    axes.set_xlabel(f"{metric} ({'higher' if board.better(name) > 0 else 'lower'} is better)", labelpad=2)
    axes.grid(True, axis="x")
    axes.grid(False, axis="y")
    axes.set_yticks(places, [one.row for one in standings], fontsize=SIZE)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    if is_share(metric):
        per_cent(axes.xaxis)
    base = next((one for one in standings if one.row == BASE), None)
    if base is not None and np.isfinite(base.last.mean):
        axes.axvline(float(base.last.mean), color=theme.muted, linewidth=0.9, zorder=1)
    for place, one in zip(places, standings, strict=True):
        _line(axes, float(place), one, (low, high), theme, is_share(metric))


def _line(axes: Axes, place: float, one: Standing, limits: tuple[float, float], theme: Theme, share: bool) -> None:
    low, high = limits
    mean, colour = float(one.last.mean), KINDS.get(one.kind, theme.ink)
    first = float(one.first.mean)
    if low <= first <= high:
        axes.plot([first, first], [place - 0.3, place + 0.3], color=colour, alpha=0.35, linewidth=1.2, zorder=2)
    if not np.isfinite(mean):
        axes.annotate("all runs ended", (high, place), ha="right", va="center", size=SIZE - 1, color=theme.muted)
        return
    if low <= mean <= high:
        bounds = [float(one.last.low), float(one.last.high)]
        if np.isfinite(bounds).all():
            axes.plot(bounds, [place, place], color=colour, linewidth=1.3, solid_capstyle="butt", zorder=3)
        face: Any = theme.paper if one.ended else colour
        axes.plot([mean], [place], "o", color=colour, markerfacecolor=face, markersize=3.6, zorder=4)
        return
    beyond = mean > high
    text = f"{100 * mean:.1f}%" if share else f"{mean:.3g}"
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

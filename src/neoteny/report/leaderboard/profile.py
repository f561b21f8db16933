"""The leaderboard's performance profiles: of each row the share of runs that are better than any score.

A run's score is 0 at the mean of backpropagation and 1 at the mean of the best row on the benchmark, so benchmarks can
be put together; where no row is better than backpropagation there is no such scale, and the benchmark is left out.
Drawn are backpropagation and of each kind of row the best, by the mean rank.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from neoteny.report.figures.layout import EDGE, fit_legend, footnote, footnote_height, wrap
from neoteny.report.figures.style import LIGHT, Theme, drawing, new_figure, per_cent
from neoteny.report.leaderboard.board import BASE, Board, finite_mean
from neoteny.report.leaderboard.figure import KINDS
from neoteny.report.statistics.profiles import performance_profile

__all__ = ["drawn", "normalised", "profiles", "scaled"]

WIDTH, HEIGHT = 5.0, 2.6  # inches, of the axes
THRESHOLDS = np.linspace(-0.5, 1.25, 141)


def profiles(board: Board, theme: Theme = LIGHT) -> Figure | None:
    """Draw them; None for fewer than two benchmarks, and where backpropagation was not run on all of the ranking.

    Args:
        board: the table.
        theme: paper and ink.

    Source: Agarwal et al., NeurIPS 2021, section 4.2.
    """
    rows, names = drawn(board), scaled(board)
    if len(rows) < 2 or len(names) < 2:
        return None
    with drawing(theme):
        figure = new_figure(WIDTH, 4)
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        handles: list[Any] = []
        for row, kind in rows:
            found = performance_profile([normalised(board, name, row) for name in names], THRESHOLDS)
            colour, mark = KINDS.get(kind, (theme.ink, "o"))
            base = row == BASE  # of a kind with other references: without marks, so that it is told from them
            style: dict[str, Any] = {"color": colour, "linewidth": 1.3, "linestyle": (0, (2, 1)) if base else "-"}
            (line,) = axes.step(THRESHOLDS, found.share, where="post", label=row, marker="" if base else mark,
                                markevery=20, markersize=4, **style)  # fmt: skip
            axes.fill_between(THRESHOLDS, found.low, found.high, step="post", color=colour, alpha=0.12, linewidth=0)
            handles.append(line)
        axes.set(xlim=(THRESHOLDS[0], THRESHOLDS[-1]), ylim=(0, 1.02))
        axes.set_xlabel("score: 0 is backprop's mean, 1 that of the best row")
        axes.set_ylabel("runs that are better")
        per_cent(axes.yaxis)
        axes.grid(True)
        legend, legend_height = fit_legend(figure, handles, WIDTH - 2 * EDGE)
        note = (
            f"Last tenth of the stream, {len(names)} benchmarks; backprop, and of each kind of row the best "
            "by the mean rank. Bands: 95% stratified bootstrap at each score."
        )
        small = wrap(figure, note, WIDTH - 2 * EDGE)
        foot = footnote_height(small) + EDGE + 0.4
        total = 2 * EDGE + legend_height + HEIGHT + foot
        figure.set_size_inches(WIDTH, total)
        legend.set_bbox_to_anchor((EDGE / WIDTH, 1 - EDGE / total), figure.transFigure)
        axes.set_position((0.6 / WIDTH, foot / total, 1 - (0.6 + EDGE) / WIDTH, HEIGHT / total))
        footnote(figure, small, footnote_height(small) + EDGE / 2, theme.muted)
    return figure


def drawn(board: Board) -> list[tuple[str, str]]:
    """Backpropagation, and of each kind of row the best by the mean rank, each with its kind."""
    ranking = board.ranking()
    best = {}
    for one in ranking:
        best.setdefault("" if one.row == BASE else one.kind, (one.row, one.kind))
    return [best.pop(""), *best.values()] if "" in best else []


def scaled(board: Board) -> list[str]:
    """The benchmarks of the ranking on which a row is better than backpropagation, so that scores have a scale."""
    found = []
    for name in board.compared:
        best, base = board.standings(name)[0], board.sample(name, BASE, "last")
        if base is not None and board.better(name) * (float(best.last.mean) - finite_mean(base.values)) > 0:
            found.append(name)
    return found


def normalised(board: Board, benchmark: str, row: str) -> NDArray[np.float64]:
    """A row's runs on a benchmark, 0 at the mean of backpropagation and 1 at that of the best row."""
    better = board.better(benchmark)
    best = better * float(board.standings(benchmark)[0].last.mean)
    base, own = (board.sample(benchmark, name, "last") for name in (BASE, row))
    assert base is not None and own is not None
    zero = better * finite_mean(base.values)
    return (better * own.values - zero) / (best - zero)

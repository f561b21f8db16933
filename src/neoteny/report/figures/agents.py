"""Agents over several tasks as a figure: one line a system, what a paper has for it beside ours."""

from __future__ import annotations

import math
from collections.abc import Iterable

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from neoteny.report.figures.layout import EDGE, fit_legend, footnote, footnote_height, text_width, wrap
from neoteny.report.figures.style import LIGHT, Theme, drawing, new_figure
from neoteny.report.statistics.agents_table import AgentsTable
from neoteny.report.statistics.intervals import interval_name

__all__ = ["draw_table"]

WIDTH, ROW, FOOT, SIZE = 5.0, 0.22, 0.42, 8.0  # inches: all, a line, below the axes; points of the names
OURS, AREA, THEIRS = "#0072B2", "#56B4E9", "#D55E00"


def draw_table(table: AgentsTable, theme: Theme = LIGHT) -> Figure:
    """Draw the IQM of each system: at the last evaluation, over the whole run, and as published.

    Args:
        table: from `agents_table`; rows without runs show what is published alone.
        theme: paper and ink.
    """
    with drawing(theme):
        figure = new_figure(WIDTH, 3)
        handles = [
            Line2D([], [], color=OURS, marker="o", markersize=4.5, linewidth=1.2, label="IQM, last evaluation"),
            Line2D([], [], color=AREA, marker="|", markersize=7, linewidth=1.2, label="IQM of the area"),
        ]
        if table.published:
            handles.append(Line2D([], [], color=THEIRS, marker="D", markersize=4.5, linewidth=0, label="published IQM"))
        legend, height = fit_legend(figure, handles, WIDTH - 2 * EDGE)
        ran = [row for row in table.rows if row.runs]
        note = (
            f"{table.title}, {table.step:,} steps: {_span(row.tasks for row in ran)} tasks, "
            f"{_span(row.runs for row in ran)} runs of each; {interval_name('stratified')}."
            f"{f' Published: {table.published}.' * bool(table.published)}{table.note_on_lost}"
        )
        small = wrap(figure, note, WIDTH - 2 * EDGE)
        left = EDGE + max(text_width(figure, row.system, SIZE) for row in table.rows) + 0.1
        total = EDGE + height + ROW * len(table.rows) + FOOT + footnote_height(small) + EDGE
        figure.set_size_inches(WIDTH, total)
        legend.set_bbox_to_anchor((EDGE / WIDTH, 1 - EDGE / total), figure.transFigure)
        bottom = (FOOT + footnote_height(small) + EDGE) / total
        axes = figure.add_axes((left / WIDTH, bottom, (WIDTH - left - 2 * EDGE) / WIDTH, ROW * len(table.rows) / total))
        for place, row in enumerate(table.rows):
            for cell, colour, mark, up in ((row.whole, AREA, "|", 0.16), (row.last["IQM"], OURS, "o", -0.08)):
                axes.plot([cell.low, cell.high], [place + up] * 2, color=colour, linewidth=1.3, zorder=2)
                axes.plot([cell.mean], [place + up], mark, color=colour, markersize=4.5, zorder=3)
            if not math.isnan(row.published):
                axes.plot([row.published], [place], "D", color=THEIRS, markersize=4.5, zorder=4)
        axes.set_yticks(range(len(table.rows)), [row.system for row in table.rows], fontsize=SIZE)
        axes.set_ylim(len(table.rows) - 0.5, -0.5)
        axes.set_xlabel("human-normalised score" if table.normalised else "return", fontsize=SIZE)
        axes.grid(True, axis="both")
        axes.tick_params(axis="y", length=0)
        footnote(figure, small, footnote_height(small) + EDGE / 2, theme.muted)
    return figure


def _span(numbers: Iterable[int]) -> str:
    """From the least to the greatest, or the one that all are."""
    found = sorted(set(numbers))
    return f"{found[0]} to {found[-1]}" if len(found) > 1 else str(found[0])

"""Measures over time: one small panel a measure and layer, the same y axis for all layers of a measure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neoteny.report.figures.curves import AXES, draw_lines, last_step, line_handles, small_print
from neoteny.report.figures.layout import EDGE, fit_legend, footnote, footnote_height, text_width, tick_margin, wrap
from neoteny.report.figures.style import LIGHT, Theme, colours, drawing, new_figure
from neoteny.report.runs.groups import Group
from neoteny.report.runs.metrics import in_words, layer_order
from neoteny.report.statistics.intervals import Kind, mean_interval

__all__ = ["layers_of", "measures", "sheets"]

WIDE, NARROW = 7.2, 3.75
PANEL = 1.35  # inches a panel is high
OVER = 0.3  # inches over a panel for its name,
SECOND = 0.13  # and for its layer, if that does not fit beside it
BETWEEN = 0.22  # inches between a panel and the tick labels of the next
A_SHEET = 16  # panels a figure


def measures(
    group: Group,
    names: Sequence[str] | None = None,
    *,
    interval: Kind = "t",
    theme: Theme = LIGHT,
    narrow: bool = False,
    title: str | None = None,
    remarks: Sequence[str] = (),
    what: str = "measured every",
) -> Figure:
    """Draw measures over the examples seen (of agents: steps), layer by layer.

    Args:
        group: from `load`.
        names: which measures; by default all that were recorded.
        interval: "t", "percentile" or "bca"; always 95%.
        theme: `LIGHT` or `DARK` paper.
        narrow: for a column or a telephone: half as wide.
        title: what stands over the panels; by default benchmark and scale.
        remarks: more lines of small print.
        what: how the small print speaks of the distance of two points.

    Raises:
        UnknownNameError: no measure was recorded, or none of this name.

    >>> measures(load("runs")["online-permuted-mnist"], ["dead_units", "srank_99"])  # doctest: +SKIP
    """
    names = [group.metric(name) for name in (names if names is not None else group.measures or [None])]
    rows = {name: layers_of(group, name) for name in names}
    columns = _columns(rows, narrow)
    width = NARROW if narrow else WIDE
    with drawing(theme):
        figure = new_figure(width, 4)
        hues = colours(group.series, theme)
        drawn = {name: [[one.curve(name, layer) for one in group.series] for layer in rows[name]] for name in names}
        end = last_step([curve for each in drawn.values() for curves in each for curve in curves])
        panels: list[Axes] = []
        lost: set[int] = set()
        for name in names:
            row = []
            for layer, curves in zip(rows[name], drawn[name], strict=True):
                axes = figure.add_axes((0.2, 0.2, 0.2, 0.2), label=f"{name} {layer}")
                bands = [mean_interval(curve.values, kind=interval) for curve in curves]
                ticks = 4 if columns < 4 and not narrow else 3
                lost.update(draw_lines(axes, name, curves, bands, hues, ticks=ticks, end=end))
                axes.set_ylabel("")
                axes.set_xlabel("")
                axes.set_title(in_words(name), loc="left", pad=5, weight="bold")
                row.append(axes)
            _share_y(row)
            panels += row
        leaving = [group.series[index].label for index in sorted(lost)]
        notes = small_print(group.series, drawn[names[0]][0], interval, leaving, what=what)
        titles = [layer or ("all layers" if len(rows[name]) > 1 else "") for name in names for layer in rows[name]]
        _lay_out(figure, panels, titles, columns, group, hues, [*notes, *remarks], theme, title or group.title)
    return figure


def sheets(group: Group, names: Sequence[str]) -> list[list[str]]:
    """Recorded measures in portions that fit one figure each."""
    portions: list[list[str]] = []
    room = 0
    for name in names:
        needed = len(layers_of(group, name))
        if needed > room:
            portions.append([])
            room = A_SHEET
        portions[-1].append(name)
        room -= needed
    return portions


def layers_of(group: Group, metric: str) -> list[str]:
    """Layers of a metric over all series, in the network's order."""
    return sorted({layer for one in group.series for layer in one.layers(metric)}, key=layer_order)


def _columns(rows: dict[str, list[str]], narrow: bool) -> int:
    """How many panels stand side by side: a row a measure if that fits, else as few empty places as possible."""
    most = 2 if narrow else 4
    counts = {len(layers) for layers in rows.values()}
    if len(counts) == 1 and 1 < (layers := counts.pop()) <= most:
        return layers
    panels = sum(map(len, rows.values()))
    choices = range(min(most, panels), 1, -1)
    return min(choices, key=lambda columns: (-panels % columns, -columns), default=1)


def _share_y(row: Sequence[Axes]) -> None:
    limits = np.array([axes.get_ylim() for axes in row])
    for axes in row:
        axes.set_ylim(limits[:, 0].min(), limits[:, 1].max())


def _lay_out(
    figure: Figure,
    panels: Sequence[Axes],
    layers: Sequence[str],
    columns: int,
    group: Group,
    hues: Sequence[str],
    notes: Sequence[str],
    theme: Theme,
    name: str,
) -> None:
    """Title and legend on top, panels in a grid, small print below; the height comes of it."""
    width = figure.get_size_inches()[0]
    rows = -(-len(panels) // columns)
    lines = [line for note in notes for line in wrap(figure, note, width - 2 * EDGE)]
    title = wrap(figure, name, width - 2 * EDGE, 9)
    legend, legend_height = fit_legend(figure, line_handles(group.series, hues), width - 2 * EDGE)
    left = max(tick_margin(figure, axes)[0] for axes in panels)
    below = max(tick_margin(figure, axes)[1] for axes in panels)
    panel_width = (width - 2 * EDGE - columns * left - (columns - 1) * BETWEEN - 0.1) / columns
    beside = all(
        text_width(figure, axes.get_title("left"), 9) + text_width(figure, layer, 8.5) + 0.1 < panel_width
        for axes, layer in zip(panels, layers, strict=True)
    )
    over = OVER if beside else OVER + SECOND
    head = EDGE + 0.16 * len(title) + 0.06 + legend_height + 0.04
    foot = EDGE + footnote_height(lines) + 0.06 + 0.17
    total = head + rows * (over + PANEL + below) + foot
    figure.set_size_inches(width, total)
    for place, (axes, layer) in enumerate(zip(panels, layers, strict=True)):
        row, column = divmod(place, columns)
        x = EDGE + left + column * (panel_width + left + BETWEEN)
        y = total - head - row * (over + PANEL + below) - over - PANEL
        axes.set_position((x / width, y / total, panel_width / width, PANEL / total))
        if layer:
            axes.annotate(layer, (float(beside), 1), (0, 5), xycoords="axes fraction", textcoords="offset points",
                          ha="right" if beside else "left", size=8.5, color=theme.muted)  # fmt: skip
        if layer and not beside:
            axes.set_title(axes.get_title("left"), loc="left", pad=5 + 72 * SECOND, weight="bold")
    figure.text(EDGE / width, 1 - EDGE / total, "\n".join(title), size=9, weight="bold", va="top")
    legend.set_bbox_to_anchor((EDGE / width, 1 - (EDGE + 0.16 * len(title) + 0.06) / total), figure.transFigure)
    middle = EDGE + left + (width - 2 * EDGE - left) / 2
    figure.text(middle / width, (foot - 0.03) / total, AXES[group.unit], size=8.5, ha="center", va="top")
    footnote(figure, lines, EDGE + footnote_height(lines), theme.muted)

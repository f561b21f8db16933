"""Placing text so that nothing is clipped and nothing overlaps: everything is measured, then placed, in inches.

The height of a figure follows from what is in it: axes of a fixed height, and as much small print as there is. So this
is not matplotlib's constrained layout, which fits the axes into a figure of a given height, does not see the small
print, and would have to run anew for each drawing of a figure with many panels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D

__all__ = ["EDGE", "direct_labels", "fit_legend", "footnote", "label_width", "spread", "tick_margin", "wrap"]

EDGE = 0.08  # between the outermost ink and the edge of the figure
LINE = 1.32  # distance of lines of text, in font sizes
SMALL = 7.0  # points of the small print
SWATCH, GAP = 0.16, 0.06  # of a direct label: its piece of line, and the spaces beside that


def _renderer(figure: Figure) -> RendererAgg:
    return figure.canvas.get_renderer()  # type: ignore[attr-defined]


def text_width(figure: Figure, text: str, size: float) -> float:
    """Width of one line of text in inches."""
    probe = figure.text(0, 0, text, size=size)
    width = probe.get_window_extent(_renderer(figure)).width / figure.dpi
    probe.remove()
    return width


def wrap(figure: Figure, text: str, width: float, size: float = SMALL) -> list[str]:
    """Break text into lines of at most this many inches; a single longer word stays whole."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(figure, longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places as near as possible to the wanted ones, at least `gap` apart, between `low` and `high`.

    With the gaps taken out this is least squares under a fixed order: isotonic regression.

    >>> spread([1.0, 1.1, 5.0], gap=1.0, low=0.0, high=6.0)
    [0.55, 1.55, 5.0]
    """
    from scipy.optimize import isotonic_regression

    order, gaps = np.argsort(wanted, kind="stable"), gap * np.arange(len(wanted))
    reduced = isotonic_regression(np.asarray(wanted)[order] - gaps).x
    places = np.empty(len(order))
    places[order] = np.clip(reduced, low, max(low, high - gaps[-1])) + gaps
    return [round(float(place), 6) for place in places]


def tick_margin(figure: Figure, axes: Axes) -> tuple[float, float]:
    """Inches that tick labels and axis labels take up left of the axes and below them."""
    renderer, box = _renderer(figure), axes.bbox
    left, below = axes.yaxis.get_tightbbox(renderer), axes.xaxis.get_tightbbox(renderer)
    return ((box.x0 - left.x0) / figure.dpi if left else 0.0, (box.y0 - below.y0) / figure.dpi if below else 0.0)


def fit_legend(figure: Figure, handles: Sequence[Line2D], width: float) -> tuple[Legend, float]:
    """A legend under or over the axes with as many columns as fit; returns it with its height in inches."""
    most = min(len(handles), 6)
    for columns in range(most, 0, -1):
        rows = -(-len(handles) // columns)
        if columns < most and -(-len(handles) // rows) != columns:
            continue  # fewer columns of equal length come with the same rows
        legend = figure.legend(
            handles=handles, ncols=columns, loc="upper left", borderpad=0, borderaxespad=0, frameon=False,
            handlelength=1.3, handletextpad=0.5, columnspacing=1.4, labelspacing=0.35,
        )  # fmt: skip
        box = legend.get_window_extent(_renderer(figure))
        if box.width / figure.dpi <= width or columns == 1:
            return legend, box.height / figure.dpi
        legend.remove()
    raise ValueError("a legend of no lines")


def footnote(figure: Figure, lines: Sequence[str], top: float, colour: str) -> None:
    """Small print under the axes, its first line `top` inches above the bottom of the figure."""
    width, height = figure.get_size_inches()
    for index, line in enumerate(lines):
        y = (top - index * SMALL * LINE / 72) / height
        figure.text(EDGE / width, y, line, size=SMALL, color=colour, va="top")


def footnote_height(lines: Sequence[str]) -> float:
    """Inches that the small print takes up."""
    return len(lines) * SMALL * LINE / 72


def label_width(figure: Figure, labels: Sequence[str], size: float) -> float:
    """Inches that direct labels take up right of the axes."""
    return max(text_width(figure, label, size) for label in labels) + SWATCH + 3 * GAP + EDGE


def direct_labels(
    figure: Figure, axes: Axes, labels: Sequence[str], ends: Sequence[float], hues: Sequence[str], size: float
) -> None:
    """Write each line's name beside its end, and join the two by a thin line of its colour.

    Args:
        figure: holds the axes, in their final place.
        axes: where the lines are.
        labels: one a line.
        ends: the value each line ends at.
        hues: one a line.
        size: of the text, in points.
    """
    width, height = figure.get_size_inches()
    box = axes.get_position()
    right, bottom, top = box.x1 * width, box.y0 * height, box.y1 * height
    floor, ceiling = axes.get_ylim()
    wanted = [bottom + (np.clip(end, floor, ceiling) - floor) / (ceiling - floor) * (top - bottom) for end in ends]
    places = spread(wanted, size * LINE / 72, bottom + 0.05, top + 0.05)
    for label, start, place, hue in zip(labels, wanted, places, hues, strict=True):
        thread = [right, right + 2 * GAP, right + 2 * GAP + SWATCH]
        for xs, ys, line in ((thread[:2], [start, place], 0.6), (thread[1:], [place, place], 2.2)):
            figure.add_artist(
                Line2D(
                    [x / width for x in xs], [y / height for y in ys], color=hue, linewidth=line, solid_capstyle="butt"
                )
            )
        figure.text((thread[2] + GAP) / width, place / height, label, size=size, va="center_baseline")

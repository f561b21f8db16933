"""A check-up as a figure: one panel for each measure, one bar for each layer, and a tick at the reference's value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from neoteny.measures.checkup import short
from neoteny.measures.symptoms import DORMANT_RISE, GUESS, RANK_FALL, SYMPTOMS, WEIGHT_GROWTH, Symptom
from neoteny.report.figures.layout import EDGE, fit_legend, footnote, footnote_height, text_width, wrap
from neoteny.report.figures.style import COLOURS, LIGHT, Theme, drawing, new_figure

if TYPE_CHECKING:
    from neoteny.measures import LayerReport, Report

__all__ = ["draw"]

WIDTH = 7.2
ROW = 0.2  # inches a layer takes,
BAR = 0.62  # and the share of it that is bar
OVER = 0.4  # inches over the panels, for their names
BELOW = 0.3  # and under them, for tick labels
BETWEEN = 0.27
BOLD = 1.16  # times the width that a text has in regular weight
WELL, SIGN = COLOURS["cbp"], COLOURS["backprop"]


@dataclass(frozen=True)
class _Panel:
    """One measure: its field, the two lines of its heading, the kind of its axis, and the symptom that colours it."""

    measure: str
    heading: str
    kind: str  # share, count, ratio or log
    symptom: Symptom


_SIGN = {symptom.measure: symptom for symptom in SYMPTOMS}
PANELS = (
    _Panel("dormant_units", "dormant_units\nshare of units", "share", _SIGN["dormant_units"]),
    _Panel("dormant_score", "dormant_score\nshare of units", "share", _SIGN["dormant_score"]),
    _Panel("saturated_units", "saturated_units\nshare of units", "share", _SIGN["saturated_units"]),
    _Panel("srank_99", "srank_99\ndirections", "count", _SIGN["srank_99"]),
    _Panel("weight_growth", "weight growth\ntimes", "ratio", _SIGN["weight_magnitude"]),
    _Panel("gradient_norm", "gradient_norm\nlog scale", "log", _SIGN["gradient_norm"]),
)


def draw(report: Report, *, theme: Theme = LIGHT) -> Figure:
    """Draw a check-up: layers from top to bottom in order of execution, those that show a sign in vermilion.

    Args:
        report: from `neoteny.diagnose`.
        theme: `LIGHT` or `DARK` paper.

    >>> draw(neoteny.diagnose(model, probe_inputs))  # doctest: +SKIP
    """
    panels = [panel for panel in PANELS if _has(report, panel.measure)]
    names = [short(layer.layer) for layer in report.layers]
    lines = [f"Check-up on {report.examples:,} examples, {report.units:,} hidden units"]
    notes = _notes(report)
    with drawing(theme):
        figure = new_figure(WIDTH, 4)
        left = max(text_width(figure, name, 8) for name in names) + 0.1
        title = [line for text in lines for line in wrap(figure, text, WIDTH - 2 * EDGE, 9)]
        small = [line for note in notes for line in wrap(figure, note, WIDTH - 2 * EDGE)]
        legend, legend_height = fit_legend(figure, _handles(report, theme), WIDTH - 2 * EDGE)
        head = EDGE + 0.16 * len(title) + 0.06 + legend_height + OVER
        tall = ROW * len(names) + 0.06
        foot = BELOW + footnote_height(small) + EDGE
        height = head + tall + foot
        figure.set_size_inches(WIDTH, height)
        for number, line in enumerate(title):
            y = 1 - (EDGE + 0.16 * number) / height
            figure.text(EDGE / WIDTH, y, line, size=9, weight="bold", va="top")
        legend.set_loc("upper left")
        legend.set_bbox_to_anchor((EDGE / WIDTH, 1 - (EDGE + 0.16 * len(title) + 0.06) / height), figure.transFigure)
        room = WIDTH - 2 * EDGE - left - BETWEEN * (len(panels) - 1)
        widest = max(text_width(figure, panel.heading.split("\n")[0], 8.5) for panel in panels)
        size = 8.5 * min(1.0, room / len(panels) / (BOLD * widest))
        for number, panel in enumerate(panels):
            x = EDGE + left + number * (room / len(panels) + BETWEEN)
            box = (x / WIDTH, foot / height, room / len(panels) / WIDTH, tall / height)
            axes = figure.add_axes(box, label=panel.measure)
            _bars(axes, panel, report, theme, size)
            axes.set_yticks(range(len(names)), names if number == 0 else [])
            axes.set_ylim(len(names) - 0.4, -0.6)
        footnote(figure, small, footnote_height(small) + EDGE / 2, theme.muted)
    return figure


def _has(report: Report, measure: str) -> bool:
    """Whether there is a panel: of saturated units only where there are some, as most activations have no bounds."""
    values = [getattr(layer, measure) for layer in report.layers]
    return any(values) if measure == "saturated_units" else any(value is not None for value in values)


def _bars(axes: Axes, panel: _Panel, report: Report, theme: Theme, size: float) -> None:
    values = [_value(layer, panel.measure) for layer in report.layers]
    then = _then(report, panel)
    floor = _floor(values + then) if panel.kind == "log" else 0.0
    slack = [GUESS if layer.guessed else 1.0 for layer in report.layers]
    hues = [SIGN if panel.symptom.shows(*pair) else WELL for pair in zip(values, then, slack, strict=True)]
    widths = [max(value, floor) - floor if math.isfinite(value) else 0.0 for value in values]
    if panel.kind == "log":
        axes.set_xscale("log")
    axes.barh(range(len(values)), widths, BAR, left=floor or None, color=hues, linewidth=0)
    for place, value in enumerate(then):
        if math.isfinite(value):
            axes.plot([value, value], [place - 0.42, place + 0.42], color=theme.ink, linewidth=1.4)
    for place, value in enumerate(values):
        if not math.isfinite(value):
            axes.text(0.02, place, "not finite", transform=axes.get_yaxis_transform(), size=7, va="center")
    _scale(axes, panel, [value for value in values + then if math.isfinite(value)], floor)
    axes.set_title(panel.heading.split("\n")[0], loc="left", pad=14, weight="bold", size=size)
    axes.annotate(panel.heading.split("\n")[1], (0, 1), (0, 4), "axes fraction", "offset points", color=theme.muted)
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_color(theme.muted)


def _scale(axes: Axes, panel: _Panel, shown: Sequence[float], floor: float) -> None:
    most = max(shown, default=0.0)
    match panel.kind:
        case "share":
            axes.set_xlim(0, 1)
            axes.set_xticks([0, 0.5, 1], ["0", "50", "100%"])
        case "log":
            axes.set_xlim(floor, max(most, floor * 10) * 1.5)
            axes.xaxis.set_major_locator(LogLocator(numticks=3))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_minor_formatter(NullFormatter())
        case "ratio":
            axes.set_xlim(0, max(most, WEIGHT_GROWTH) * 1.06)
            axes.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10], integer=True))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
        case _:
            axes.set_xlim(0, max(most, 1) * 1.06)
            axes.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10], integer=True))


def _floor(values: Sequence[float]) -> float:
    """Where a logarithmic axis begins: a decade below the least value that it can show."""
    positive = [value for value in values if math.isfinite(value) and value > 0]
    return 10.0 ** (math.floor(math.log10(min(positive))) - 1) if positive else 1e-3


def _value(layer: LayerReport, measure: str) -> float:
    value = getattr(layer, measure)
    return math.nan if value is None else value


def _then(report: Report, panel: _Panel) -> list[float]:
    """The reference's value for each layer; NaN where there is none."""
    if report.reference is None:
        return [math.nan] * len(report.layers)
    if panel.measure == "weight_growth":
        return [1.0] * len(report.layers)
    before = {layer.layer: layer for layer in report.reference.layers}
    return [_value(before[layer.layer], panel.measure) for layer in report.layers]


def _handles(report: Report, theme: Theme) -> list[Line2D]:
    square = {"marker": "s", "markersize": 6, "linestyle": "none", "markeredgewidth": 0}
    handles = [
        Line2D([], [], color=WELL, label="no sign", **square),
        Line2D([], [], color=SIGN, label="a sign, to be watched", **square),
    ]
    if report.reference is not None:
        tick = Line2D([], [], color=theme.ink, marker="|", markersize=9, markeredgewidth=1.4, linestyle="none")
        tick.set_label(report.reference_is)
        handles.append(tick)
    return handles


def _notes(report: Report) -> list[str]:
    """The small print: when a bar is coloured, what was guessed, and the direct measure."""
    notes = [
        f"A sign: shares {100 * DORMANT_RISE:g} points above the reference, a rank of at most {RANK_FALL:.0%} of it, "
        f"weights {WEIGHT_GROWTH:g} times as large, no gradient at all."
    ]
    if any(layer.guessed for layer in report.layers):
        notes.append(
            "The weights no longer show how they began, so the fresh copy has torch's default ones, "
            f"and only weights {WEIGHT_GROWTH * GUESS:.2g} times as large count."
        )
    if report.trainability is not None:
        notes.append(f"Verdict: {report.trainability}.")
    return notes

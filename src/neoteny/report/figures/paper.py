"""A figure of a paper, drawn from run folders as the paper has it: same axes, bins and intervals.

What a reader needs in order to judge it is written on it: scale, n, bin, interval, curves that are missing, and which
marks are the paper's. `neoteny.report.papers` has the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neoteny.errors import RunFolderError, UnknownNameError
from neoteny.report.figures.curves import AXES, WIDE, draw_lines, last_step, lay_out, mark_changes, small_print
from neoteny.report.figures.fresh import draw_fresh
from neoteny.report.figures.panels import measures
from neoteny.report.figures.style import LIGHT, Theme, colours, count, drawing, new_figure
from neoteny.report.papers.records import PaperFigure
from neoteny.report.papers.selection import Selection
from neoteny.report.runs.curve import Curve, rebin
from neoteny.report.runs.groups import Group, Runs
from neoteny.report.runs.metrics import is_performance, is_share
from neoteny.report.runs.series import Series, curve_of
from neoteny.report.runs.settings import format_number
from neoteny.report.statistics.intervals import mean_interval

__all__ = ["draw"]

POINTS = 20  # a curve of fewer bins than this is binned more finely than the paper's


def draw(
    figure: PaperFigure, runs: Runs, scale: str | None = None, *, out: Path | None = None, theme: Theme = LIGHT
) -> Figure:
    """Draw a figure with those of its curves that were run.

    Args:
        figure: from `neoteny.report.papers`.
        runs: from `load`.
        scale: which, where there are several; by default the one with the most curves.
        out: the folder that the commands of an error name.
        theme: `LIGHT` or `DARK` paper.

    Raises:
        RunFolderError: none of its curves was run; it says with which commands they are.
        UnknownNameError: nothing was run at this scale.
    """
    there = runs.scales(figure.benchmark)
    if scale is not None and there and scale not in there:
        raise UnknownNameError(scale, there, f"scale of {figure.benchmark} in these runs")
    if scale is None:
        scale = max(there, key=lambda one: len(_drawn(figure, runs, one)[0]), default="small")
    series, selection = _drawn(figure, runs, scale)
    group = runs.newest(figure.benchmark, scale)
    if not series or group is None:
        made = "\n  ".join(figure.commands(scale, selection, out))
        raise RunFolderError(
            f"{figure.name}: nothing to draw was run at {scale} scale (it needs "
            f"{', '.join(condition.label for condition in figure.needs(scale))}). Run\n  {made}"
        )
    group = Group(group.benchmark, scale, tuple(series))
    title = f"{figure.title}: {group.title}"
    notes = _missing(figure, scale, series)
    if selection.changed:
        notes.append(f"All with {', '.join(f'{k} = {format_number(v)}' for k, v in selection.changed.items())}.")
    notes.append(f"After {figure.source}." if figure.source else "Not in the paper.")
    if figure.panels:
        return measures(group, figure.panels, interval=figure.interval, theme=theme, title=title, remarks=notes)
    return _curves(figure, group, selection, title, notes, theme)


def _curves(
    figure: PaperFigure, group: Group, selection: Selection, title: str, notes: Sequence[str], theme: Theme
) -> Figure:
    series = group.series
    curves = [_curve(figure, one, selection) for one in series]
    bins = _bin(figure, curves)
    curves = [rebin(curve, bins, figure.metric) if bins % (curve.bin_size or 1) == 0 else curve for curve in curves]
    longest = last_step(curves)
    curves = [
        ending(curve, longest) if one.label in figure.at_end else curve
        for one, curve in zip(series, curves, strict=True)
    ]
    bands = [mean_interval(curve.values, kind=figure.interval) for curve in curves]
    with drawing(theme):
        hues = colours(series, theme)
        drawn = new_figure(*WIDE)
        axes = drawn.add_subplot()
        end = last_step(curves)
        lost = draw_lines(axes, _shown(figure), curves, bands, hues, end=end)
        axes.set_xlabel(AXES[figure.axis])
        changes = mark_changes(axes, series, theme) if figure.axis == "steps" else []
        if figure.minus:
            axes.axhline(0, color=theme.muted, linewidth=0.8, zorder=1)
        what = small_print(
            series, curves, figure.interval, [series[index].label for index in lost],
            what=_points(figure), unit=figure.axis,
        )  # fmt: skip
        if not figure.minus and not figure.at_end:
            what += draw_fresh(axes, series, figure.metric, hues, theme, kind=figure.interval, axis=figure.axis)
        if figure.minus:
            what.append(f"Differences are taken between runs of the same seed, from {figure.minus.label}.")
        late = [one.label for one in series if one.label in figure.at_end]
        what += [f"Drawn at the end of the others' axis: {', '.join(late)}."] if late else []
        marks = _mark(axes, figure, group, hues, theme, end)
        lay_out(drawn, axes, group, bands, hues, [*what, *changes, *marks, *notes], theme, WIDE[1], title=title)
    return drawn


def _curve(figure: PaperFigure, one: Series, selection: Selection) -> Curve:
    curve = curve_of(one, figure.metric, figure.layer, figure.axis)
    if figure.minus is None:
        return curve
    other = curve_of(selection.found[figure.minus].only(one.seeds), figure.metric, figure.layer, figure.axis)
    steps, mine, theirs = np.intersect1d(curve.steps, other.steps, return_indices=True)
    return Curve(steps, 100 * (curve.values[:, mine] - other.values[:, theirs]), curve.bin_size)


def ending(curve: Curve, end: int) -> Curve:
    """The curve moved along the axis until it ends there.

    >>> ending(Curve(np.array([10, 20]), np.zeros((1, 2)), 10), 50).steps
    array([40, 50])
    """
    return replace(curve, steps=curve.steps + (end - int(curve.steps[-1]))) if len(curve.steps) else curve


def _shown(figure: PaperFigure) -> str:
    """The label of the axis; a difference is not shown as a share, as it may be negative."""
    return f"{figure.metric} - that of {figure.minus.label}, points" if figure.minus else figure.metric


def _drawn(figure: PaperFigure, runs: Runs, scale: str) -> tuple[list[Series], Selection]:
    """The series that can be drawn, in the order of the figure's conditions."""
    selection = figure.select(runs.newest(figure.benchmark, scale), scale)
    conditions = (*figure.conditions_at(scale), *figure.optional)
    found = [selection.found[condition] for condition in conditions if condition in selection.found]
    if figure.minus:
        reference = selection.found.get(figure.minus)
        shared = [[seed for seed in one.seeds if reference and seed in reference.seeds] for one in found]
        found = [one.only(seeds) for one, seeds in zip(found, shared, strict=True) if seeds]
    wanted = figure.panels or (figure.metric,)
    return [one for one in found if not set(wanted).isdisjoint(one.frame["metric"].unique())], selection


def _points(figure: PaperFigure) -> str:
    if figure.axis == "classes":
        return "a point every"
    return "measured every" if figure.axis == "steps" and not is_performance(figure.metric) else "bins of"


def _missing(figure: PaperFigure, scale: str, series: Sequence[Series]) -> list[str]:
    here = {one.label for one in series}
    missing = [condition.label for condition in figure.conditions_at(scale) if condition.label not in here]
    return [f"Not run yet: {', '.join(missing)}."] if missing else []


def _bin(figure: PaperFigure, curves: Sequence[Curve]) -> int:
    """The paper's bin, or a smaller round number of recordings where that leaves too few points."""
    recorded = max((curve.bin_size for curve in curves), default=1) or 1
    most = min(figure.bin, last_step(curves) / POINTS)
    sizes = (k * 10**power * recorded for power in range(9) for k in (1, 2, 5))
    return max((size for size in sizes if size <= most), default=recorded)


def _mark(axes: Axes, figure: PaperFigure, group: Group, hues: Sequence[str], theme: Theme, end: int) -> list[str]:
    """The paper's values as light diamonds; where the scale is another, at the same share of the run."""
    here = {one.label: hue for one, hue in zip(group.series, hues, strict=True)}
    known = [(label, x, y) for label, marks in figure.published.items() if label in here for x, y in marks.items()]
    if not known:
        return []
    low, high = axes.get_ylim()
    own = group.scale == "paper"
    # At another scale the values may lie far from the curves, which are not squeezed to make room for them.
    room = np.inf if own else (high - low) / 2
    longest = np.inf if own else figure.length  # beyond it there is no share of the run
    shown = [mark for mark in known if low - room <= mark[2] <= high + room and mark[1] <= longest]
    pad = 0.04 * (high - low)
    if shown:
        low = min(low, min(y for _, _, y in shown) - pad)
        high = max(high, max(y for _, _, y in shown) + pad)
        axes.set_ylim(max(low, -pad / 2) if is_share(_shown(figure)) else low, high)
    if own:
        axes.set_xlim(0, max(end, max(x for _, x, _ in known)))
    for label, x, y in shown:
        place = x if own else end * x / figure.length
        axes.plot(place, y, marker="D", markersize=5, markerfacecolor=theme.paper, markeredgecolor=here[label],
                  markeredgewidth=1, alpha=0.75, linestyle="none", clip_on=False, zorder=4)  # fmt: skip
    notes = []
    if shown:
        where = "" if own else ", at its own scale, each at its share of the run"
        notes.append(f"Diamonds: the paper's values, read off its figure{where}.")
    if hidden := [mark for mark in known if mark not in shown]:
        share = is_share(_shown(figure))
        values = (
            f"{label} {f'{100 * y:g}%' if share else f'{y:g}'} after {count(x)} {figure.axis}" for label, x, y in hidden
        )
        notes.append(f"The paper's, outside these axes: {', '.join(values)}.")
    return notes

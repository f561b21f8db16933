"""A figure of a paper, drawn from run folders as the paper has it: same axes, bins and intervals.

What it takes to judge it is written on it: scale, n, bin, interval, curves that are missing, and which marks are the
paper's. `neoteny.report.atlas` has the figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neoteny.errors import RunFolderError, UnknownNameError
from neoteny.report.binning import Curve, rebin
from neoteny.report.curves import AXES, WIDE, draw_lines, last_step, lay_out, mark_changes, small_print
from neoteny.report.intervals import Kind, mean_interval
from neoteny.report.lines import Axis, Line, Selection, commands, curve_of, select
from neoteny.report.panels import measures
from neoteny.report.series import Group, Runs, Series, format_number, is_performance
from neoteny.report.style import LIGHT, Theme, colours, count, drawing, is_share, new_figure

__all__ = ["Known", "PaperFigure", "draw", "group_of", "scales_of"]

POINTS = 20  # a curve of fewer bins than this is binned more finely than the paper's
ORDER = ("paper", "small", "tiny")  # of scales: the more telling first


@dataclass(frozen=True)
class Known:
    """A value read off the paper's figure: of which curve, where, and how much."""

    label: str
    x: float
    y: float


@dataclass(frozen=True)
class PaperFigure:
    """What a figure shows.

    Attributes:
        name: what it is called on the command line.
        title: what it shows.
        source: where the paper has it; empty where it has none.
        benchmark: name without version.
        lines: the curves, as the paper has them.
        length: of the paper's axis, in its unit.
        runs: of the paper, a curve.
        fewer: runs at other scales.
        at: the curves at another scale, where the paper's settings make no sense.
        metric: what is drawn.
        layer: of it; "last" for the last hidden one.
        axis: what the axis counts.
        bin: of the paper, in the axis's unit.
        minus: the curve that the others are compared with, run by run; it is not drawn itself.
        panels: measures to draw layer by layer, instead of one metric.
        optional: curves that are drawn where they were run, and are not missed where they were not.
        known: the paper's values.
        interval: the paper's.
    """

    name: str
    title: str
    source: str
    benchmark: str
    lines: tuple[Line, ...]
    length: int
    runs: int
    fewer: int = 10
    at: Mapping[str, tuple[Line, ...]] = field(default_factory=dict)
    metric: str = "accuracy"
    layer: str = ""
    axis: Axis = "tasks"
    bin: int = 1
    minus: Line | None = None
    panels: tuple[str, ...] = ()
    optional: tuple[Line, ...] = ()
    known: tuple[Known, ...] = ()
    interval: Kind = "se"

    def lines_at(self, scale: str) -> tuple[Line, ...]:
        """The curves at a scale, without the one that they are compared with."""
        return self.at.get(scale, self.lines)

    def needs(self, scale: str) -> tuple[Line, ...]:
        """Everything that has to be run."""
        return (*self.lines_at(scale), *([self.minus] if self.minus else []))

    def select(self, group: Group | None, scale: str) -> Selection:
        """The runs of the figure at a scale."""
        needs = self.needs(scale)
        found = select(group, (*needs, *self.optional))
        return replace(found, missing=tuple(line for line in found.missing if line in needs))

    @property
    def origin(self) -> str:
        """Where it comes from."""
        return self.source or "not in the paper"

    def commands(self, scale: str, selection: Selection | None = None, out: Path | None = None) -> list[str]:
        """What makes the missing lines, as many runs of each as of those that are there; by default all."""
        needs = self.needs(scale)
        there = [one.runs for one in selection.found.values()] if selection else []
        runs = max(there, default=self.runs if scale == "paper" else self.fewer)
        return commands(self.benchmark, scale, runs, selection.missing if selection else needs, needs, out)


def scales_of(benchmark: str, runs: Runs) -> list[str]:
    """The scales at which a benchmark was run, the more telling first."""
    here = {group.scale for group in runs if _named(group, benchmark)}
    return sorted(here, key=lambda scale: (ORDER.index(scale) if scale in ORDER else len(ORDER), scale))


def group_of(benchmark: str, runs: Runs, scale: str) -> Group | None:
    """The runs of a benchmark at a scale, of its newest version; None if there are none."""
    return max(
        (group for group in runs if _named(group, benchmark) and group.scale == scale),
        key=lambda group: int(group.benchmark.rpartition("-v")[2]),
        default=None,
    )


def draw(
    figure: PaperFigure, runs: Runs, scale: str | None = None, *, out: Path | None = None, theme: Theme = LIGHT
) -> Figure:
    """Draw a figure with those of its curves that were run.

    Args:
        figure: from the atlas.
        runs: from `load`.
        scale: which, where there are several; by default the one with the most curves.
        out: the folder that the commands of an error name.
        theme: `LIGHT` or `DARK` paper.

    Raises:
        RunFolderError: none of its curves was run; it says with which commands they are.
        UnknownNameError: nothing was run at this scale.
    """
    there = scales_of(figure.benchmark, runs)
    if scale is not None and there and scale not in there:
        raise UnknownNameError(scale, there, f"scale of {figure.benchmark} in these runs")
    if scale is None:
        scale = max(there, key=lambda one: len(_drawn(figure, runs, one)[0]), default="small")
    series, selection = _drawn(figure, runs, scale)
    group = group_of(figure.benchmark, runs, scale)
    if not series or group is None:
        made = "\n  ".join(figure.commands(scale, selection, out))
        raise RunFolderError(
            f"{figure.name}: nothing to draw was run at {scale} scale (it needs "
            f"{', '.join(line.label for line in figure.needs(scale))}). Run\n  {made}"
        )
    group = Group(group.benchmark, scale, tuple(series))
    title = f"{figure.title}: {group.title}"
    notes = _missing(figure, scale, series)
    if selection.ground:
        notes.append(f"All with {', '.join(f'{k} = {format_number(v)}' for k, v in selection.ground.items())}.")
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
        if figure.minus:
            what.append(f"Differences are taken between runs of the same seed, from {figure.minus.label}.")
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


def _shown(figure: PaperFigure) -> str:
    """What stands at the axis; a difference is no share, as it may be negative."""
    return f"{figure.metric} - that of {figure.minus.label}, points" if figure.minus else figure.metric


def _drawn(figure: PaperFigure, runs: Runs, scale: str) -> tuple[list[Series], Selection]:
    """The series that can be drawn, in the order of the figure's lines."""
    selection = figure.select(group_of(figure.benchmark, runs, scale), scale)
    lines = (*figure.lines_at(scale), *figure.optional)
    found = [selection.found[line] for line in lines if line in selection.found]
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
    missing = [line.label for line in figure.lines_at(scale) if line.label not in here]
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
    known = [mark for mark in figure.known if mark.label in here]
    if not known:
        return []
    low, high = axes.get_ylim()
    own = group.scale == "paper"
    # A scaled run may lie elsewhere altogether: its curves are not squeezed for the paper's values.
    room = np.inf if own else (high - low) / 2
    shown = [mark for mark in known if low - room <= mark.y <= high + room]
    pad = 0.04 * (high - low)
    if shown:
        low = min(low, min(mark.y for mark in shown) - pad)
        high = max(high, max(mark.y for mark in shown) + pad)
        axes.set_ylim(max(low, -pad / 2) if is_share(_shown(figure)) else low, high)
    if own:
        axes.set_xlim(0, max(end, max(mark.x for mark in known)))
    for mark in shown:
        x = mark.x if own else end * mark.x / figure.length
        axes.plot(x, mark.y, marker="D", markersize=5, markerfacecolor=theme.paper, markeredgecolor=here[mark.label],
                  markeredgewidth=1, alpha=0.75, linestyle="none", clip_on=False, zorder=4)  # fmt: skip
    notes = []
    if shown:
        where = "" if own else ", at its own scale, each at its share of the run"
        notes.append(f"Diamonds: the paper's values, read off its figure{where}.")
    if hidden := [mark for mark in known if mark not in shown]:
        values = (f"{mark.label} {_value(figure, mark.y)} after {count(mark.x)} {figure.axis}" for mark in hidden)
        notes.append(f"The paper's, outside these axes: {', '.join(values)}.")
    return notes


def _value(figure: PaperFigure, value: float) -> str:
    return f"{100 * value:g}%" if is_share(_shown(figure)) else f"{value:g}"


def _named(group: Group, benchmark: str) -> bool:
    return group.benchmark.rpartition("-v")[0] == benchmark

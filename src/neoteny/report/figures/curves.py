"""Learning curves: the mean over runs and its interval, one line a system.

Everything a reader needs in order to judge a line is written under it: bin size, number of runs, kind of interval,
scale, and which runs ended early.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from neoteny.errors import RunFolderError
from neoteny.report.figures.fresh import draw_fresh
from neoteny.report.figures.layout import (
    EDGE,
    direct_labels,
    fit_legend,
    footnote,
    footnote_height,
    label_width,
    tick_margin,
    wrap,
)
from neoteny.report.figures.style import LIGHT, Theme, colours, drawing, dress, new_figure
from neoteny.report.runs.curve import Curve
from neoteny.report.runs.folders import RunFrame
from neoteny.report.runs.groups import Group, group_frames
from neoteny.report.runs.metrics import in_words, is_share
from neoteny.report.runs.series import Series, settings_of
from neoteny.report.statistics.intervals import Interval, Kind, interval_name, mean_interval

__all__ = [
    "AXES",
    "WIDE",
    "draw_lines",
    "last_step",
    "lay_out",
    "learning_curves",
    "line_handles",
    "mark_changes",
    "plot",
    "small_print",
]

WIDE, NARROW = (7.2, 2.9), (3.75, 2.4)  # width of the figure, height of the axes
TITLE = 0.26  # inches from the top of the axes to the top of the figure
LABEL_SIZE = 8.5
MOST_CHANGES = 60  # more lines than this are a grey area
MOST_DIRECT = 16  # more names than this do not fit beside the axes,
WIDEST_DIRECT = 2.3  # nor do longer ones
AXES = {"examples": "examples seen", "steps": "steps in the environment", "tasks": "task", "classes": "classes"}
DIVERGING = 12  # times the usual range: a line that goes beyond would flatten all others


def learning_curves(
    group: Group,
    metric: str | None = None,
    *,
    bin_size: int | None = None,
    interval: Kind = "t",
    theme: Theme = LIGHT,
    narrow: bool = False,
    axes: Axes | None = None,
) -> Figure:
    """Draw the learning curves of one benchmark.

    Args:
        group: from `load`.
        metric: what to draw; by default the accuracy, the return of agents, or else the loss.
        bin_size: examples a point, a multiple of the recorded bins; by default these.
        interval: "t", "percentile" or "bca"; always 95%.
        theme: `LIGHT` or `DARK` paper.
        narrow: for a column or a telephone: half as wide, the names under the axes.
        axes: draw into these axes of a figure of your own, with an ordinary legend and without the small print.

    Raises:
        UnknownNameError: the metric was not recorded.
        SettingError: the bin size is not a multiple of the recorded one.

    >>> figure = learning_curves(load("runs")["slowly-changing-regression"])  # doctest: +SKIP
    >>> figure.savefig("curves.pdf")  # doctest: +SKIP
    """
    metric = group.metric(metric)
    curves = [one.curve(metric, bin_size=bin_size) for one in group.series]
    bands = [mean_interval(curve.values, kind=interval) for curve in curves]
    with drawing(theme):
        hues = colours(group.series, theme)
        figure = axes.get_figure(root=True) if axes is not None else None
        if axes is not None and isinstance(figure, Figure):
            draw_lines(axes, metric, curves, bands, hues)
            draw_fresh(axes, group.series, metric, hues, theme, kind=interval)
            axes.set_xlabel(AXES[group.unit])
            axes.legend(handles=line_handles(group.series, hues), frameon=False)
        else:
            width, height = NARROW if narrow else WIDE
            figure = new_figure(width, height)
            axes = figure.add_subplot()
            lost = draw_lines(axes, metric, curves, bands, hues, ticks=4 if narrow else 6)
            axes.set_xlabel(AXES[group.unit])
            notes = small_print(group.series, curves, interval, [group.series[index].label for index in lost])
            notes += draw_fresh(axes, group.series, metric, hues, theme, kind=interval)
            notes += mark_changes(axes, group.series, theme)
            lay_out(figure, axes, group, bands, hues, notes, theme, height, direct=not narrow)
    return figure


def plot(
    frame: pl.DataFrame, config: Mapping[str, Any], metric: str | None = None, axes: Axes | None = None, **options: Any
) -> Figure:
    """Draw the learning curves of runs still in memory; a notebook shows the figure.

    Args:
        frame: tidy metrics (run, step, task, metric, layer, value).
        config: the resolved configuration, as in `config.yaml`.
        metric: what to draw; by default the accuracy, or else the loss.
        axes: axes of your own to draw into.
        options: those of `learning_curves`.

    Raises:
        RunFolderError: nothing has been recorded yet.
    """
    if frame.is_empty():
        raise RunFolderError("These runs have recorded nothing yet: train them for at least one bin, then plot.")
    (group,) = group_frames([RunFrame(config, frame)])
    return learning_curves(group, metric, axes=axes, **options)


def draw_lines(
    axes: Axes,
    metric: str,
    curves: Sequence[Curve],
    bands: Sequence[Interval],
    hues: Sequence[str],
    *,
    ticks: int = 6,
    end: int | None = None,
) -> list[int]:
    """Draw means and bands over the examples seen, up to `end`; returns the places of the lines that leave the axes."""
    for curve, band, hue in zip(curves, bands, hues, strict=True):
        alone = np.isfinite(band.mean).sum() == 1  # a band or a line of one point would be invisible
        if alone:
            axes.vlines(curve.steps, band.low, band.high, color=hue, alpha=0.4, linewidth=2.5, zorder=2)
        else:
            axes.fill_between(curve.steps, band.low, band.high, color=hue, alpha=0.18, linewidth=0, zorder=2)
        dot = {"marker": "o", "markersize": 3.5, "clip_on": False} if alone else {}
        axes.plot(curve.steps, band.mean, color=hue, zorder=3, **dot)
    low, high, lost = _limits(bands, metric)
    axes.set_ylim(low, high)
    axes.set_xlim(0, end or last_step(curves) or 1)
    axes.set_ylabel(in_words(metric))
    dress(axes, metric, ticks)
    return lost


def last_step(curves: Sequence[Curve]) -> int:
    """The last example of the longest curve; 0 if there is none."""
    return max((int(curve.steps[-1]) for curve in curves if len(curve.steps)), default=0)


def line_handles(series: Sequence[Series], hues: Sequence[str]) -> list[Line2D]:
    """What a legend shows for each series."""
    return [Line2D([], [], color=hue, linewidth=2.2, label=one.label) for one, hue in zip(series, hues, strict=True)]


def small_print(
    series: Sequence[Series],
    curves: Sequence[Curve],
    kind: Kind,
    lost: Sequence[str] = (),
    what: str = "bins of",
    unit: str | None = None,
) -> list[str]:
    """What a reader has to know: bins, n, the interval, runs that ended early, runs that have not finished."""
    unit, one_of = unit or series[0].unit, series[0].unit.removesuffix("s")
    sizes = sorted({curve.bin_size for curve in curves if curve.bin_size})
    if sizes == [1]:
        unit = {"classes": "class"}.get(unit, unit.removesuffix("s"))
    binned = f"; {what} {' or '.join(f'{size:,}' for size in sizes)} {unit}" if sizes else ""
    counts = sorted({one.runs for one in series})
    if counts == [1]:
        who = "One run of each system, no interval"
    elif len(counts) == 1:
        who = f"Mean over n = {counts[0]} runs{' of each system' * (len(series) > 1)}; band: {interval_name(kind)}"
    else:
        usual = max(counts, key=lambda n: (sum(one.runs == n for one in series), n))
        others = (f"{one.runs} for {one.label}" for one in series if one.runs != usual)
        runs = f"{usual} run{'s' * (usual > 1)}"
        who = f"Mean over n = {runs} of each system ({', '.join(others)}); band: {interval_name(kind)}"
        who += ", none for one run" * (1 in counts)
    notes = [f"{who}{binned}."]
    for one in series:
        if ended := one.ended:
            first = min(step for _, step in ended)
            notes.append(
                f"{one.label}: {len(ended)} of {one.runs} runs became non-finite and ended, the first by {one_of} "
                f"{first:,}; n falls to {one.runs - len(ended)}."
            )
    end = last_step(curves)
    short = [
        f"{one.label} (to {curve.steps[-1]:,})"
        for one, curve in zip(series, curves, strict=True)
        if len(curve.steps) and curve.steps[-1] < end and len(one.ended) < one.runs
    ]
    if short:
        notes.append(f"Not as far as the others: {', '.join(short)}.")
    if lost:
        notes.append(f"Leaves the axes: {', '.join(lost)}.")
    return notes


def mark_changes(axes: Axes, series: Sequence[Series], theme: Theme) -> list[str]:
    """Light vertical lines where the friction under agents changes or agents are reset; gives the words for them."""
    settings = {one.label: settings_of(one) for one in series}
    shifting = [one for one in series if one.frame["task"].n_unique() > 1 and (one.frame["metric"] == "friction").any()]
    shifts = {settings[one.label].get("task_length") for one in shifting}
    resets = {one.label: every for one in series if _resets(one) and (every := settings[one.label].get("reset_every"))}
    notes = []
    if _mark_every(axes, shifts, theme):
        notes.append(f"Friction changes at the vertical lines, every {shifts.pop():,} steps.")
    elif _mark_every(axes, set(resets.values()), theme):
        every = next(iter(resets.values()))
        notes.append(f"At the vertical lines, every {every:,} steps, resets are due: {', '.join(resets)}.")
    primed = {label: own for label, own in settings.items() if own.get("priming_updates")}
    for steps, updates in sorted({(own["priming_steps"], own["priming_updates"]) for own in primed.values()}):
        labels = [label for label, own in primed.items() if own["priming_updates"] == updates]
        notes.append(f"Primed after {steps:,} steps, by {updates:,} updates: {', '.join(labels)}.")
    return notes


def _resets(one: Series) -> bool:
    """Whether a method of the system acts at the moments that `reset_every` sets."""
    methods = one.sources[0].config.get("methods") or {}
    return any(own.get("period", 0) is None or own.get("when") == "at_task" for own in methods.values())


def _mark_every(axes: Axes, lengths: set[Any], theme: Theme) -> bool:
    """Lines at all multiples of the one length; whether there are any, and not too many."""
    every, end = next(iter(lengths)) if len(lengths) == 1 else None, axes.get_xlim()[1]
    if not isinstance(every, int) or not 1 < end / every <= MOST_CHANGES:
        return False
    for step in range(every, int(end), every):
        axes.axvline(step, color=theme.grid, linewidth=0.7, zorder=1)
    return True


def _limits(bands: Sequence[Interval], metric: str) -> tuple[float, float, list[int]]:
    """Limits of the y axis that show the lines; a diverging one is cut, as it would flatten the others."""
    if metric.endswith("return"):  # a return diverges downwards: the same rule, turned around
        turned = [Interval(-band.mean, -band.high, -band.low, band.n, band.kind, band.level) for band in bands]
        low, high, lost = _limits(turned, "")
        return _without_falls(bands, -high, -low, lost)
    means = [band.mean[np.isfinite(band.mean)] for band in bands]
    if not any(len(mean) for mean in means):
        return 0.0, 1.0, []
    low, high = (float(f([f(mean) for mean in means if len(mean)])) for f in (np.min, np.max))
    usual = float(np.median([np.quantile(mean, 0.95) for mean in means if len(mean)])) - low
    lost: list[int] = []
    if usual > 0 and high - low > DIVERGING * usual and not is_share(metric):
        lost = [index for index, mean in enumerate(means) if (mean > low + DIVERGING * usual).any()]
        staying = [mean.max() for index, mean in enumerate(means) if index not in lost and len(mean)]
        high = float(max(staying, default=low + DIVERGING * usual))
    edges = np.array([np.concatenate([getattr(band, end) for band in bands]) for end in ("low", "high")])
    edges = edges[:, np.isfinite(edges).all(axis=0)]
    widths = np.diff(edges, axis=0)
    room = max(high - low, float(np.median(widths)) if widths.size else 0.0) or 0.1 * abs(high) or 0.05
    if widths.size:
        # The bands are shown too, but one that is much wider than the others is cut.
        low, high = min(low, max(edges.min(), low - room)), max(high, min(edges.max(), high + room))
    if is_share(metric):
        low, high = max(low, 0.0), min(high, 1.0)
    if metric == "units_replaced":
        low, high = max(low, 0.0), max(high, 1.0)
    pad = 0.04 * (high - low) or room / 2
    bottom = low - pad
    if metric and min(float(mean.min()) for mean in means if len(mean)) >= 0:
        bottom = max(bottom, 0.0)  # no loss and no share is below 0
    return bottom, high + pad, lost


def _without_falls(
    bands: Sequence[Interval], low: float, high: float, lost: list[int]
) -> tuple[float, float, list[int]]:
    """Limits of returns that cut off how deep single agents fall now and then: it would squeeze all others."""
    means = {place: band.mean[np.isfinite(band.mean)] for place, band in enumerate(bands) if place not in lost}
    if not any(mean.size for mean in means.values()):
        return low, high, lost
    usual = np.quantile(np.concatenate(list(means.values())), [0.02, 0.98])
    low = max(low, float(usual[0] - 0.25 * (usual[1] - usual[0])) if usual[1] > usual[0] else low)
    return low, high, sorted([*lost, *(place for place, mean in means.items() if (mean < low).any())])


def lay_out(
    figure: Figure,
    axes: Axes,
    group: Group,
    bands: Sequence[Interval],
    hues: Sequence[str],
    notes: Sequence[str],
    theme: Theme,
    height: float,
    direct: bool = True,
    title: str | None = None,
) -> None:
    """Give every part the room it needs, and the figure the height that comes of it."""
    width = figure.get_size_inches()[0]
    labels = [one.label for one in group.series]
    beside = label_width(figure, labels, LABEL_SIZE)
    direct = direct and len(labels) <= MOST_DIRECT and beside <= WIDEST_DIRECT
    lines = [line for note in notes for line in wrap(figure, note, width - 2 * EDGE)]
    heading = wrap(figure, title or group.title, width - 2 * EDGE, LABEL_SIZE + 0.5)
    left, below = tick_margin(figure, axes)
    legend = legend_height = None
    if not direct:
        legend, legend_height = fit_legend(figure, line_handles(group.series, hues), width - 2 * EDGE)
        legend_height += 0.12
    bottom = EDGE + footnote_height(lines) + 0.08 + (legend_height or 0) + below
    over = TITLE + 0.15 * (len(heading) - 1)
    total = bottom + height + over
    figure.set_size_inches(width, total)
    right = beside if direct else 0.17
    axes.set_position(((left + EDGE) / width, bottom / total, (width - left - EDGE - right) / width, height / total))
    figure.text(EDGE / width, 1 - EDGE / total, "\n".join(heading), size=LABEL_SIZE + 0.5, weight="bold", va="top")
    footnote(figure, lines, EDGE + footnote_height(lines), theme.muted)
    if legend is not None and legend_height:
        legend.set_bbox_to_anchor((EDGE / width, (bottom - below - 0.08) / total), figure.transFigure)
    if direct:
        ends = [band.mean[np.isfinite(band.mean)] for band in bands]
        direct_labels(figure, axes, labels, [end[-1] if len(end) else np.nan for end in ends], hues, LABEL_SIZE)

"""A comparison as a figure: the loss or the accuracy over the stream, one line an entry."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from neoteny.comparison.entries import BARE, FRESH, Entries
from neoteny.errors import UnknownNameError
from neoteny.report.figures.curves import AXES, WIDE, draw_lines, lay_out, small_print
from neoteny.report.figures.style import LIGHT, Theme, colours, drawing, new_figure
from neoteny.report.runs.curve import Curve
from neoteny.report.runs.folders import RunFrame
from neoteny.report.runs.groups import Group
from neoteny.report.runs.series import Series
from neoteny.report.statistics.intervals import Interval, mean_interval

__all__ = ["draw"]

MANY = 4
"""More bands than this hide each other."""

KNOWN = {BARE: "backprop", FRESH: "linear"}
"""Whose colours those without a method have."""


def draw(found: Entries, metric: str | None = None, *, bins: int = 24, theme: Theme = LIGHT) -> Figure:
    """Draw the curves: means over the seeds in bins of equally many batches; the last one may have fewer.

    With more than four entries only the bare loop and the best have the band of their 95% interval.

    Args:
        found: from `neoteny.compare`.
        metric: `loss` or `accuracy`; by default what entries are judged by.
        bins: how many at most.
        theme: `LIGHT` or `DARK` paper.

    Raises:
        UnknownNameError: another metric, or accuracy where targets are no classes.
    """
    known = ("loss", "accuracy") if found.metric == "accuracy" else ("loss",)
    metric = found.metric if metric is None else metric
    if metric not in known:
        raise UnknownNameError(metric, known, "metric of this comparison")
    each = -(-len(found.sizes) // bins)
    starts = np.arange(0, len(found.sizes), each)
    sizes = np.asarray(found.sizes, dtype=np.float64)
    weights = np.add.reduceat(sizes, starts)
    seen = np.cumsum(weights).astype(np.int64)
    curves, series = [], []
    for entry in found.entries:
        values = entry.losses if metric == "loss" or entry.accuracies is None else entry.accuracies
        binned = np.add.reduceat(values * sizes, starts, axis=1) / weights
        curves.append(Curve(seen, np.where(np.isfinite(binned), binned, np.nan), int(np.median(weights))))
        system = KNOWN.get(entry.name, entry.name)
        source = RunFrame({"benchmark": "your stream", "method": system, "runs": found.seeds}, pl.DataFrame())
        frame = pl.DataFrame({"run": [], "metric": [], "step": []}, schema_overrides={"metric": pl.String})
        series.append(Series(entry.name, system, {}, frame, tuple(range(found.seeds)), (source,)))
    bands = [mean_interval(curve.values) for curve in curves]
    many = len(curves) > MANY
    if many:
        plain = [entry.name not in (BARE, found.best) for entry in found.entries]
        bands = [_without_band(band) if one else band for band, one in zip(bands, plain, strict=True)]
    with drawing(theme):
        figure = new_figure(*WIDE)
        axes = figure.add_subplot()
        hues = colours(series, theme)
        lost = draw_lines(axes, metric, curves, bands, hues)
        axes.set_xlabel(AXES["examples"])
        notes = small_print(series, curves, "t", [series[index].label for index in lost])
        ended = {entry.name: int((~np.isfinite(entry.losses).all(axis=1)).sum()) for entry in found.entries}
        notes += [
            f"{name}: {runs} of {found.seeds} runs became non-finite; from there the mean is over the others."
            for name, runs in ended.items()
            if runs
        ]
        if many:
            notes.append(f"Only the {BARE}{f' and {found.best}' * (found.best != BARE)} with a band.")
        if found.first:
            axes.axvline(float(sizes[: found.first].sum()), color=theme.muted, linewidth=0.8, linestyle=(0, (4, 3)))
            notes.append("Settings were chosen left of the dashed line, with other seeds; right of it is reported.")
        if found.anew:
            notes.append(f"The fresh network begins anew {len(found.anew)} times in what is reported.")
        group = Group("your stream", "", tuple(series))
        title = f"{metric} before learning, {found.title}"
        lay_out(figure, axes, group, bands, hues, notes, theme, WIDE[1], title=title)
    return figure


def _without_band(band: Interval) -> Interval:
    nothing = np.full_like(band.mean, np.nan)
    return replace(band, low=nothing, high=nothing)

"""Fresh networks on learning curves: circles at the tasks at which they began anew."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from neoteny.report.figures.style import Theme
from neoteny.report.runs.metrics import FRESH, is_share
from neoteny.report.runs.series import Axis, Series, curve_of
from neoteny.report.statistics.intervals import Kind, mean_interval
from neoteny.report.statistics.plasticity import has_fresh

__all__ = ["WORDS", "draw_fresh"]

WORDS = (
    "Circles: networks that begin anew at that task and learn it with the same optimizer, without the system's "
    "methods (so systems may share them); mean over the same runs."
)
"""What the circles are, for the small print."""


def draw_fresh(
    axes: Axes,
    series: Sequence[Series],
    metric: str,
    hues: Sequence[str],
    theme: Theme,
    *,
    kind: Kind = "t",
    axis: Axis = "examples",
) -> list[str]:
    """Draw a circle with its interval at each task that a fresh network learned; the words for the small print.

    Args:
        axes: with the learning curves; the y axis becomes as long as the circles need.
        series: those of the curves.
        metric: of the curves.
        hues: a colour a series.
        theme: the paper's.
        kind: of the intervals.
        axis: what the x axis counts.
    """
    found = [(one, hue) for one, hue in zip(series, hues, strict=True) if has_fresh(one, metric)]
    for one, hue in found:
        curve = curve_of(one, f"{FRESH}{metric}", axis=axis)
        band = mean_interval(curve.values, kind=kind)
        axes.vlines(curve.steps, band.low, band.high, color=hue, alpha=0.6, linewidth=1.2, zorder=4)
        axes.plot(curve.steps, band.mean, marker="o", markersize=4.5, markerfacecolor=theme.paper, markeredgecolor=hue,
                  linestyle="none", clip_on=False, zorder=5)  # fmt: skip
        means = band.mean[np.isfinite(band.mean)]
        low, high = axes.get_ylim()
        pad = 0.04 * (high - low)
        low, high = min(low, *(means - pad), np.inf), max(high, *(means + pad), -np.inf)
        axes.set_ylim((max(low, 0.0), min(high, 1.0 + pad)) if is_share(metric) else (low, high))
    return [WORDS] if found else []

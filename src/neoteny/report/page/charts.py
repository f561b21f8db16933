"""What the page's script draws: the systems of a group, and each metric as means with bounds, as short numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neoteny.report.figures.panels import layers_of
from neoteny.report.figures.style import DARK, LIGHT, colours
from neoteny.report.runs.curve import Curve, rebin
from neoteny.report.runs.groups import Group
from neoteny.report.runs.metrics import FRESH, in_words, is_share
from neoteny.report.runs.series import Series
from neoteny.report.statistics.intervals import Kind, mean_interval
from neoteny.report.statistics.plasticity import has_fresh

__all__ = ["Chart", "Look", "chart", "charts", "data", "looks", "panel"]

MOST = 400  # points a line; more bins are joined to larger ones
DASHES = ("", "7 4", "2 3", "9 3 2 3", "14 4", "5 2 1 2 1 2")
MARKS = (  # around (17, 6); the script draws the same ones
    "",
    '<circle cx="17" cy="6" r="4"/>',
    '<path d="M13 2h8v8h-8z"/>',
    '<path d="M17 1l4.5 9h-9z"/>',
    '<path d="M17 .5l5.5 5.5l-5.5 5.5l-5.5 -5.5z"/>',
    '<path class="stroked" d="M13 2l8 8M13 10l8 -8"/>',
)


@dataclass(frozen=True)
class Look:
    """How a system is drawn: no two systems of a group have the same dashes and marks, whatever their colours.

    Attributes:
        label: its name.
        light: its colour on light paper.
        dark: its colour on dark paper.
        dash: place in `DASHES`.
        mark: place in `MARKS`.
    """

    label: str
    light: str
    dark: str
    dash: int
    mark: int

    @property
    def key(self) -> str:
        """A piece of its line, for legends and tables."""
        return (
            f'<svg class="key" data-key="{self.light} {self.dash} {self.mark}" viewBox="0 0 34 12" aria-hidden="true" '
            f'style="--light:{self.light};--dark:{self.dark}">'
            f'<path class="stroked" d="M1 6H33" stroke-dasharray="{DASHES[self.dash]}"/>{MARKS[self.mark]}</svg>'
        )


def looks(group: Group) -> list[Look]:
    """One a series. Marks change first, then dashes: marks are easier to tell apart."""
    both = zip(group.series, colours(group.series, LIGHT), colours(group.series, DARK), strict=True)
    return [
        Look(one.label, light, dark, (place + place // len(MARKS)) % len(DASHES), place % len(MARKS))
        for place, (one, light, dark) in enumerate(both)
    ]


@dataclass(frozen=True)
class Chart:
    """One metric of one layer, as a panel shows it.

    Attributes:
        metric: its name.
        layer: of the network; "" is the whole.
        content: what the script reads.
        joined: how many recorded bins make a point; 1 where none were joined.
    """

    metric: str
    layer: str
    content: dict[str, Any]
    joined: int


def chart(group: Group, metric: str, layer: str, interval: Kind, bin_size: int | None = None) -> Chart:
    """Means over runs and their intervals, of all systems that recorded the metric.

    Raises:
        SettingError: the bin size is not a multiple of the recorded one.
    """
    curves = [one.curve(metric, layer, bin_size) for one in group.series]
    joined = [max(1, math.ceil(len(curve.steps) / MOST)) for curve in curves]
    curves = [rebin(curve, times * curve.bin_size, metric) for curve, times in zip(curves, joined, strict=True)]
    bands = [mean_interval(curve.values, kind=interval) for curve in curves]
    known = np.concatenate([band.mean[np.isfinite(band.mean)] for band in bands])
    lines = [
        {
            "system": place,
            "x": _steps(curve),
            **{key: _short(getattr(band, key)) for key in ("mean", "low", "high")},
            **_circles(group.series[place], metric, layer),
        }
        for place, (curve, band) in enumerate(zip(curves, bands, strict=True))
        if np.isfinite(band.mean).any()
    ]
    content = {
        "words": in_words(metric),
        "layer": layer,
        "share": is_share(metric),
        "returns": metric.endswith("return"),
        "floor": 0 if known.size and known.min() >= 0 else None,
        "lines": lines,
    }
    return Chart(metric, layer, content, max(joined, default=1))


def charts(group: Group, metrics: Sequence[str], interval: Kind, bin_size: int | None = None) -> list[Chart]:
    """Every layer of every metric, in the network's order."""
    return [chart(group, metric, layer, interval, bin_size) for metric in metrics for layer in layers_of(group, metric)]


def data(group: Group, shown: Sequence[Chart], reference: int, first: Sequence[int], alike: Sequence[int]) -> str:
    """The element that the script reads.

    Args:
        group: the systems.
        shown: the charts, which panels name by their place.
        reference: the system that is drawn behind each of the others.
        first: the systems that are chosen when the page opens.
        alike: the systems that met the same problem as the reference: they share a y axis.
    """
    content = {
        "systems": [vars(look) for look in looks(group)],
        "unit": group.unit,
        "reference": reference,
        "first": list(first),
        "alike": list(alike),
        "charts": [one.content for one in shown],
    }
    text = json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json">{text}</script>'


def panel(place: int, about: str, kind: str = "", only: int | None = None) -> str:
    """Where the script draws a chart.

    Args:
        place: of the chart in `data`.
        about: what it shows, for those who cannot see it.
        kind: "small" for one of many.
        only: the one system to draw, before the reference; without it, those chosen.
    """
    own = "" if only is None else f' data-only="{only}"'
    return f'<div class="panel {kind}" data-chart="{place}"{own} role="img" aria-label="{escape(about)}"></div>'


def _circles(series: Series, metric: str, layer: str) -> dict[str, Any]:
    """The means of fresh networks, where they were recorded."""
    if layer or not has_fresh(series, metric):
        return {}
    curve = series.curve(f"{FRESH}{metric}")
    return {"fresh": {"x": curve.steps.tolist(), "mean": _short(mean_interval(curve.values).mean)}}


def _steps(curve: Curve) -> Any:
    """Evenly spaced steps as three numbers."""
    steps = curve.steps.tolist()
    every = {after - before for before, after in pairwise(steps)}
    if len(every) == 1:
        return {"first": steps[0], "every": every.pop(), "count": len(steps)}
    return steps


def _short(values: NDArray[np.float64]) -> list[float | int | None]:
    """Numbers of five figures, each by itself: one run that diverges takes none from the others.

    >>> _short(np.array([0.123456789, 51.0, 8.25e7, np.nan]))
    [0.12346, 51, 82500000, None]
    """
    rounded = (float(f"{value:.5g}") if math.isfinite(value) else None for value in values)
    return [int(value) if value is not None and value.is_integer() else value for value in rounded]

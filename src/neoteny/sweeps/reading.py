"""From the run folder of a stack to a few numbers of each of its runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from neoteny.report.runs.curve import Curve
from neoteny.report.runs.folders import RunFrame, read_folder
from neoteny.report.runs.groups import Group
from neoteny.report.runs.metrics import direction
from neoteny.report.runs.series import Series

__all__ = ["MEASURES", "Numbers", "numbers_of", "read_numbers"]

MEASURES = ("dead_units", "srank_99", "weight_magnitude")
"""Measures of the network at the end of the run."""


@dataclass(frozen=True, eq=False)
class Numbers:
    """The numbers of each run of a stack.

    Attributes:
        frame: the stack as it was recorded.
        metric: what the runs were judged by.
        values: by quantity, [R]: `mean` over the stream, its `first` and `last` tenth, the `change` from one to the
            other, and the measures at the end. NaN for a run that ended early.
    """

    frame: RunFrame = field(repr=False)
    metric: str
    values: Mapping[str, NDArray[np.float64]] = field(repr=False)

    @property
    def points(self) -> list[dict[str, Any]]:
        """The points of the grid, in its order; a single empty one where there is no grid."""
        names = list(self.frame.varied)
        settings = list(zip(*self.frame.varied.values(), strict=True)) or [()]
        return [dict(zip(names, point, strict=True)) for point in dict.fromkeys(settings)]

    @property
    def point(self) -> NDArray[np.int64]:
        """The number of each run's point, [R]."""
        if not self.frame.varied:
            return np.zeros(self.frame.runs, dtype=np.int64)
        settings = list(zip(*self.frame.varied.values(), strict=True))
        return np.array([list(dict.fromkeys(settings)).index(one) for one in settings])

    @property
    def higher_is_better(self) -> bool:
        """True for accuracies and returns, false for losses."""
        return direction(self.metric) > 0

    @property
    def scores(self) -> NDArray[np.float64]:
        """Mean over the stream, [points, seeds]."""
        return np.stack([self.values["mean"][self.point == number] for number in range(len(self.points))])


def read_numbers(folder: Path) -> Numbers:
    """The numbers of a finished run folder.

    Raises:
        RunFolderError: it cannot be used.
    """
    return numbers_of(read_folder(folder))


def numbers_of(frame: RunFrame) -> Numbers:
    """The numbers of a stack as it was recorded."""
    series = Series(frame.system, frame.system, {}, frame.frame, frame.seeds, (frame,))
    metric = Group(frame.benchmark, frame.scale, (series,)).metric()
    curve = series.curve(metric)
    end = int(curve.steps[-1]) if len(curve.steps) else 0
    # no episode of an agent may have ended within a bin
    whole = ~_ended(series) & (np.isfinite(curve.values).all(axis=1) if series.unit == "examples" else True)
    values = {"mean": _over(curve, 0, end), "first": _over(curve, 0, _tenth(curve, end))}
    values["last"] = _over(curve, end - _tenth(curve, end), end)
    values["change"] = values["last"] - values["first"]
    values |= {name: _at_the_end(series, name) for name in MEASURES}
    return Numbers(frame, metric, {name: np.where(whole, value, np.nan) for name, value in values.items()})


def _ended(series: Series) -> NDArray[np.bool_]:
    """Which runs turned non-finite."""
    ended = series.frame.filter(pl.col("metric") == "non_finite")["run"].unique()
    return np.isin(np.arange(series.runs), ended.to_numpy())


def _tenth(curve: Curve, end: int) -> int:
    """A tenth of the stream in whole bins, and at least one."""
    return max(curve.bin_size, end // 10 // curve.bin_size * curve.bin_size) if curve.bin_size else 0


def _over(curve: Curve, start: int, stop: int) -> NDArray[np.float64]:
    """Mean of each run over the bins in (start, stop]."""
    inside = curve.values[:, curve.inside(start, stop)]
    there = np.isfinite(inside)
    sums = np.where(there, inside, 0.0).sum(axis=1)
    return np.divide(sums, there.sum(axis=1), out=np.full(len(inside), np.nan), where=there.any(axis=1))


def _at_the_end(series: Series, name: str) -> NDArray[np.float64]:
    """The last value of a measure of the whole network; if there is none, the mean over its layers."""
    layers = series.layers(name)
    last = [
        curve.values[:, -1] for layer in ([""] if "" in layers else layers) for curve in [series.curve(name, layer)]
    ]
    return np.mean(last, axis=0) if last else np.full(series.runs, np.nan)

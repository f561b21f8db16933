"""A series: runs that differ in nothing but the seed, one line of a figure and one row of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import polars as pl

from neoteny.lab.recorder import SORT, by_run
from neoteny.report.runs.curve import Curve, rebin, spacing
from neoteny.report.runs.folders import UNFINISHED, RunFrame, Unit
from neoteny.report.runs.metrics import layer_order
from neoteny.report.runs.settings import flatten

__all__ = ["Axis", "Series", "Unit", "curve_of", "pick_runs", "settings_of"]

Axis = Literal["examples", "steps", "tasks", "classes"]


@dataclass(frozen=True, eq=False)
class Series:
    """Runs that differ in nothing but the seed.

    Attributes:
        label: its name beside the other series of its group.
        system: name of the system.
        settings: the settings that a grid varied, with this series' values; empty where there was no grid.
        frame: the tidy metrics, runs counted from 0.
        seeds: one a run.
        sources: the folders that it comes from.
        apart: all settings in which it differs from the group's other series of the system.
    """

    label: str
    system: str
    settings: Mapping[str, Any]
    frame: pl.DataFrame
    seeds: tuple[int, ...]
    sources: tuple[RunFrame, ...] = field(repr=False)
    apart: Mapping[str, Any] = field(default_factory=dict)

    @property
    def runs(self) -> int:
        """How many runs were started."""
        return len(self.seeds)

    @property
    def unit(self) -> Unit:
        """What `step` counts."""
        return self.sources[0].unit

    @property
    def finished(self) -> bool:
        """Whether every folder that it comes from holds a whole run."""
        return not any(note.startswith(UNFINISHED) for source in self.sources for note in source.notes)

    @property
    def unstable(self) -> int:
        """How many episodes were ended because the simulation became unstable."""
        return len(self.frame.filter(pl.col("metric") == "episode_unstable"))

    @property
    def ended(self) -> list[tuple[int, int]]:
        """Seed and step of each run that became non-finite and was ended."""
        rows = self.frame.filter(pl.col("metric") == "non_finite").group_by("run").agg(pl.col("step").min()).sort("run")
        return [(self.seeds[run], step) for run, step in rows.iter_rows()]

    def layers(self, metric: str) -> list[str]:
        """Layers that a metric was recorded for, in the network's order; "" is the whole network."""
        names = self.frame.filter(pl.col("metric") == metric)["layer"].unique().to_list()
        return sorted(names, key=layer_order)

    def curve(self, metric: str, layer: str = "", bin_size: int | None = None) -> Curve:
        """One metric as runs by bins; joined to larger bins if asked.

        Raises:
            SettingError: a bin size that is not a whole number of recorded bins.
        """
        curve = self._table(self._rows(metric, layer))
        return curve if bin_size is None else rebin(curve, bin_size, metric)

    def by_task(self, metric: str, layer: str = "") -> Curve:
        """One metric as runs by tasks; its `steps` and `bin_size` are counted in tasks.

        Loss and accuracy of training are the mean over the task, everything else is the task's last value. A run has
        NaN for the task in which it ended.
        """
        value = pl.col("value").mean() if metric in ("loss", "accuracy") else pl.col("value").last()
        ended = self.frame.filter(pl.col("metric") == "non_finite").select("run", "task")
        rows = self._rows(metric, layer).join(ended, on=["run", "task"], how="anti")
        rows = rows.sort("step").group_by("run", "task").agg(value)
        return self._table(rows.with_columns(step=pl.col("task").cast(pl.Int64) + 1))

    def _rows(self, metric: str, layer: str) -> pl.DataFrame:
        return self.frame.filter((pl.col("metric") == metric) & (pl.col("layer") == layer))

    def _table(self, rows: pl.DataFrame) -> Curve:
        steps, values = by_run(rows, self.runs)
        return Curve(steps, values, spacing(steps))

    def only(self, seeds: Sequence[int]) -> Series:
        """The runs of these seeds alone, in this order; each must be there."""
        runs = [self.seeds.index(seed) for seed in seeds]
        return replace(self, frame=pick_runs(self.frame, runs), seeds=tuple(seeds))


def pick_runs(frame: pl.DataFrame, runs: Sequence[int]) -> pl.DataFrame:
    """The rows of these runs, which are counted from 0 in this order."""
    number = {run: place for place, run in enumerate(runs)}
    counted = pl.col("run").replace_strict(number, default=None, return_dtype=pl.Int32)
    return frame.filter(pl.col("run").is_in(list(number))).with_columns(counted).sort(SORT)


def settings_of(series: Series) -> dict[str, Any]:
    """Every setting under a dotted key, without seeds and numbers of runs; those of a grid as this series has them."""
    config = series.sources[0].config
    flat = dict(flatten({key: config.get(key) or {} for key in ("settings", "network", "optimizer")}))
    flat = {key.removeprefix("settings."): value for key, value in flat.items()}
    flat.update(flatten(config.get("methods") or {}))
    flat.update(series.settings)
    return flat


def curve_of(series: Series, metric: str, layer: str = "", axis: Axis = "examples") -> Curve:
    """One metric of a series over an axis, as it was recorded.

    Args:
        series: from `load` or `select`.
        metric: its name.
        layer: of the network; "last" for the last hidden one, "mean" for the mean over all, "" for the whole network.
            "actor.last" and "actor.mean" are those of the layers whose names begin with "actor.".
        axis: what is counted: examples, steps of an agent, tasks, or the classes learned so far
            (`classes_per_increment` a task).

    Returns:
        The curve; without any bins where nothing was recorded.
    """
    part, _, which = layer.rpartition(".")
    layers = [name for name in series.layers(metric) if name and name.startswith(f"{part}." if part else "")]
    if which == "mean" and layers:
        curves = [curve_of(series, metric, name, axis) for name in layers]
        return replace(curves[0], values=np.mean([curve.values for curve in curves], axis=0))
    if which in ("last", "mean"):
        hidden = set(layers) & set(series.layers("dormant_units"))  # weights are recorded for the output layer too
        layer = max(hidden or layers, key=layer_order, default="")
    if axis in ("examples", "steps"):
        return series.curve(metric, layer)
    curve = series.by_task(metric, layer)
    each = int(settings_of(series).get("classes_per_increment", 1)) if axis == "classes" else 1
    return Curve(curve.steps * each, curve.values, curve.bin_size * each)

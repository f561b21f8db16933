"""From run folders to what a figure shows: one group a benchmark, one series a line.

A folder is a stack of runs. A grid's folder falls apart into one series a setting ("cbp replacement_rate=1e-05");
folders that differ in nothing but their seeds come together into one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import polars as pl

from neoteny.errors import RunFolderError, UnknownNameError
from neoteny.lab.recorder import COLUMNS, SORT
from neoteny.report.binning import Curve, rebin, spacing
from neoteny.report.folders import UNFINISHED, RunFrame, find_folders, read_folder

__all__ = [
    "Group",
    "Runs",
    "Series",
    "Unit",
    "differing",
    "flatten",
    "format_number",
    "group_frames",
    "load",
    "load_any",
    "settings_of",
]

# The usual order of systems: references first, then the methods from the simplest on. Others follow by name.
ORDER = (
    "linear", "backprop", "tuned-adam", "l2", "l2-init", "shrink-and-perturb", "redo", "head-reset", "full-reset", "cbp"
)  # fmt: skip
RETURN = "episodic_return"
EVENTS = frozenset({"non_finite", "episode_reward", "episode_length", "episode_unstable"})
"""What is recorded when it happens, not at set steps: no curves."""
DIAGNOSTICS = ("loss", "policy_loss", "value_loss", "entropy", "kl", "clip_share", "weight_change")
Unit = Literal["examples", "steps"]


@dataclass(frozen=True, eq=False)
class Series:
    """Runs that differ in nothing but the seed: one line of a figure, one row of a table.

    Attributes:
        label: how it is called beside its siblings.
        system: name of the system.
        settings: the varied settings that set it apart within a grid; empty elsewhere.
        frame: the tidy metrics, runs counted from 0.
        seeds: one a run.
        sources: the folders it came from.
        apart: all settings that set it apart from the group's other series of the system.
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
        agents = "rollout_steps" in (self.sources[0].config.get("settings") or {})
        return "steps" if agents else "examples"

    @property
    def unstable(self) -> int:
        """Episodes that ended since the simulation did not hold."""
        return len(self.frame.filter(pl.col("metric") == "episode_unstable"))

    @property
    def ended(self) -> list[tuple[int, int]]:
        """Seed and step of each run that became non-finite and was ended."""
        rows = self.frame.filter(pl.col("metric") == "non_finite").group_by("run").agg(pl.col("step").min()).sort("run")
        return [(self.seeds[run], step) for run, step in rows.iter_rows()]

    def layers(self, metric: str) -> list[str]:
        """Layers a metric was recorded for, in the network's order; "" is the whole network."""
        names = self.frame.filter(pl.col("metric") == metric)["layer"].unique().to_list()
        return sorted(names, key=natural)

    def curve(self, metric: str, layer: str = "", bin_size: int | None = None) -> Curve:
        """One metric as runs by bins, binned anew if asked.

        Raises:
            SettingError: a bin size that is not a whole number of recorded bins.
        """
        rows = self.frame.filter((pl.col("metric") == metric) & (pl.col("layer") == layer))
        steps, column = np.unique(rows["step"].to_numpy(), return_inverse=True)
        values = np.full((self.runs, len(steps)), np.nan)
        values[rows["run"].to_numpy(), column] = rows["value"].to_numpy()
        values[~np.isfinite(values)] = np.nan
        curve = Curve(steps, values, spacing(steps))
        return curve if bin_size is None else rebin(curve, bin_size, metric)

    def by_task(self, metric: str, layer: str = "") -> Curve:
        """One metric as runs by tasks, its `steps` and `bin_size` counted in tasks.

        Loss and accuracy of training are the mean over the task, everything else is what was recorded last in it.
        """
        rows = self.frame.filter((pl.col("metric") == metric) & (pl.col("layer") == layer)).sort("step")
        value = pl.col("value").mean() if metric in ("loss", "accuracy") else pl.col("value").last()
        rows = rows.group_by("run", "task").agg(value)
        tasks, column = np.unique(rows["task"].to_numpy(), return_inverse=True)
        values = np.full((self.runs, len(tasks)), np.nan)
        values[rows["run"].to_numpy(), column] = rows["value"].to_numpy()
        values[~np.isfinite(values)] = np.nan
        numbers = tasks.astype(np.int64) + 1
        return Curve(numbers, values, spacing(numbers))

    def only(self, seeds: Sequence[int]) -> Series:
        """The runs of these seeds alone, in this order; each must be there."""
        number = {self.seeds.index(seed): run for run, seed in enumerate(seeds)}
        frame = self.frame.filter(pl.col("run").is_in(list(number))).with_columns(
            pl.col("run").replace_strict(number, default=None, return_dtype=pl.Int32)
        )
        return replace(self, frame=frame.sort(SORT), seeds=tuple(seeds))

    @property
    def finished(self) -> bool:
        """Whether every folder it comes from holds a whole run."""
        return not any(note.startswith(UNFINISHED) for source in self.sources for note in source.notes)


@dataclass(frozen=True, eq=False)
class Group:
    """Everything that ran on one benchmark at one scale.

    Attributes:
        benchmark: its id, with the version.
        scale: name of the preset's scale.
        series: in the order of the legend.
    """

    benchmark: str
    scale: str
    series: tuple[Series, ...]

    @property
    def title(self) -> str:
        """Benchmark and scale, as they are written on a figure."""
        return f"{self.benchmark}, {self.scale} scale" if self.scale else self.benchmark

    @property
    def unit(self) -> Unit:
        """What `step` counts."""
        return self.series[0].unit

    @property
    def metrics(self) -> tuple[str, ...]:
        """How well the systems did: what learning curves and tables are about.

        First what was tested on examples that were kept back, then accuracies. Of agents it is their return alone: the
        losses that they learn from do not say how well they do.
        """
        if self.unit == "steps":
            return (RETURN,) if RETURN in self._recorded else ()

        def order(name: str) -> tuple[bool, bool, str]:
            return not name.startswith("test_"), "accuracy" not in name, name

        return tuple(sorted(filter(is_performance, self._recorded), key=order))

    @property
    def measures(self) -> tuple[str, ...]:
        """What was measured on the networks: everything else."""
        names = self._recorded - {*self.metrics, *self.diagnostics, *EVENTS, "friction"}
        return tuple(sorted(names, key=lambda name: (name == "units_replaced", name)))

    @property
    def diagnostics(self) -> tuple[str, ...]:
        """How agents' learning went: losses, entropy, and what becomes of the policy in a phase of updates."""
        return tuple(name for name in DIAGNOSTICS if name in self._recorded) if self.unit == "steps" else ()

    @property
    def sources(self) -> tuple[RunFrame, ...]:
        """The folders it came from."""
        return tuple({id(source): source for series in self.series for source in series.sources}.values())

    @property
    def _recorded(self) -> set[str]:
        return {name for series in self.series for name in series.frame["metric"].unique()}

    def metric(self, name: str | None = None) -> str:
        """The metric of this name, or the first.

        Raises:
            UnknownNameError: it was not recorded.
            RunFolderError: none was.
        """
        known = (*self.metrics, *self.measures, *self.diagnostics, *({"friction"} & self._recorded))
        if not known:
            raise RunFolderError(f"{self.title}: no metric was recorded; train for at least one bin.")
        if name is None:
            return known[0]
        if name not in known:
            raise UnknownNameError(str(name), known, kind="recorded metric")
        return name


class Runs(Sequence[Group]):
    """All groups below a directory, by position or by benchmark id, and the folders that could not be used."""

    def __init__(self, groups: Sequence[Group], problems: Sequence[RunFolderError] = ()):
        self._groups, self.problems = tuple(groups), tuple(problems)

    def __len__(self) -> int:
        return len(self._groups)

    def __iter__(self) -> Iterator[Group]:
        return iter(self._groups)

    @overload
    def __getitem__(self, index: int | str) -> Group: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Group]: ...
    def __getitem__(self, index: int | str | slice) -> Group | Sequence[Group]:
        if not isinstance(index, str):
            return self._groups[index]
        for group in self:
            if index in (group.benchmark, group.benchmark.rpartition("-v")[0], group.title):
                return group
        raise UnknownNameError(index, [group.benchmark for group in self], kind="benchmark in these runs")

    def __repr__(self) -> str:
        return f"Runs({', '.join(f'{group.title}: {len(group.series)} series' for group in self)})"


def load(directory: str | Path) -> Runs:
    """Read all run folders at or below a directory and group them by benchmark and scale.

    A folder that cannot be used does not stand in the others' way: it is named in `Runs.problems`.

    Raises:
        RunFolderError: there is no folder at all that can be used.

    >>> load("no/such/place")
    Traceback (most recent call last):
    ...
    neoteny.errors.RunFolderError: no/such/place is not a directory: give the one that `neoteny run --out` wrote to.
    """
    frames, problems = [], []
    for path in find_folders(Path(directory)):
        try:
            frames.append(read_folder(path))
        except RunFolderError as error:
            problems.append(error)
    if not frames:
        raise RunFolderError("\n".join(map(str, problems)))
    return Runs(group_frames(frames), problems)


def load_any(directory: str | Path, absent: bool = False) -> Runs:
    """As `load`, but a directory in which nothing was run yet holds no groups.

    Args:
        directory: with run folders, or to be.
        absent: take a directory that does not exist for an empty one.

    Raises:
        RunFolderError: there is no such directory, or there are run folders and none can be used.
    """
    path = Path(directory)
    if (absent and not path.exists()) or (path.is_dir() and not any(path.rglob("config.yaml"))):
        return Runs(())
    return load(path)


def group_frames(frames: Sequence[RunFrame]) -> tuple[Group, ...]:
    """Group run folders by benchmark and scale, and give every series a label of its own."""
    found: dict[tuple[str, str], list[RunFrame]] = {}
    for frame in frames:
        found.setdefault((frame.benchmark, frame.scale), []).append(frame)
    return tuple(
        Group(*key, series=tuple(sorted(_label(_pool([s for f in members for s in _split(f)])), key=_rank)))
        for key, members in sorted(found.items())
    )


def is_performance(metric: str) -> bool:
    """Whether a metric says how well a system did, rather than what its network is like.

    >>> [is_performance(name) for name in ("loss", "test_accuracy", "episodic_return", "dead_units")]
    [True, True, True, False]
    """
    return metric == "loss" or metric.endswith(("_loss", "accuracy", "return"))


def format_number(value: Any) -> str:
    """A setting as a person would write it; YAML reads "1e-5" as text, which is mended here.

    >>> format_number(1e-5), format_number("1e-4"), format_number(100), format_number("adaptable")
    ('1e-05', '0.0001', '100', 'adaptable')
    """
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return value
    return f"{value:g}" if isinstance(value, float) else str(value)


def natural(name: str) -> list[str | int]:
    """Sort key under which "layer10" comes after "layer2".

    >>> sorted(["layer10", "layer2", ""], key=natural)
    ['', 'layer2', 'layer10']
    """
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"(\d+)", name))]


def settings_of(series: Series) -> dict[str, Any]:
    """Every setting under a dotted key, the varied ones as this series has them; without seeds and numbers of runs."""
    config = series.sources[0].config
    flat = dict(flatten({key: config.get(key) or {} for key in ("settings", "network", "optimizer")}))
    flat = {key.removeprefix("settings."): value for key, value in flat.items()}
    flat.update(flatten(config.get("methods") or {}))
    flat.update(series.settings)
    return flat


def differing(each: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys in which settings are not all equal, in their order.

    >>> differing([{"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 4}])
    ['b', 'c']
    """
    keys = dict.fromkeys(key for settings in each for key in settings)
    missing = object()
    return [key for key in keys if any(other.get(key, missing) != each[0].get(key, missing) for other in each)]


def _split(source: RunFrame) -> list[Series]:
    """One series a setting of a grid, in the grid's order; the folder itself if it is none."""
    settings = list(zip(*source.varied.values(), strict=True)) or [()] * source.runs
    series = []
    for setting in dict.fromkeys(settings):
        rows = [run for run, other in enumerate(settings) if other == setting]
        number = {row: run for run, row in enumerate(rows)}
        frame = source.frame.filter(pl.col("run").is_in(rows)).with_columns(
            pl.col("run").replace_strict(number, default=None, return_dtype=pl.Int32)
        )
        seeds = tuple(source.seeds[row] for row in rows)
        varied = dict(zip(source.varied, setting, strict=True))
        series.append(Series(source.system, source.system, varied, frame, seeds, (source,)))
    return series


def _pool(series: list[Series]) -> list[Series]:
    """Bring together series of several folders that differ in nothing but their seeds."""
    pooled: list[Series] = []
    for new in series:
        for index, old in enumerate(pooled):
            same = old.system == new.system and settings_of(old) == settings_of(new) and old.sources != new.sources
            if same and not set(old.seeds) & set(new.seeds):
                moved = new.frame.with_columns((pl.col("run") + old.runs).cast(COLUMNS["run"]))
                frame = pl.concat([old.frame, moved]).sort(SORT)
                pooled[index] = replace(
                    old, frame=frame, seeds=old.seeds + new.seeds, sources=(*old.sources, *new.sources)
                )
                break
        else:
            pooled.append(new)
    return pooled


def _label(series: list[Series]) -> list[Series]:
    """Name each series by its system and by whatever sets it apart from the others of that system."""
    labelled = []
    for one in series:
        mine = settings_of(one)
        keys = differing([mine, *(settings_of(other) for other in series if other.system == one.system)])
        keys = [key for key in keys if key in mine]
        # The network follows from the benchmark's settings, and another optimizer has other options: say a thing once.
        implied = ("network.", "optimizer.") if "optimizer" in keys else ("network.", "optimizer.step_size")
        own = [key for key in keys if not key.startswith(implied) or key in one.settings]
        keys = own or keys
        short = [_short(key, one.system) for key in keys]
        names = [key if short.count(name) > 1 else name for key, name in zip(keys, short, strict=True)]
        label = " ".join(
            [one.system, ", ".join(f"{n}={format_number(mine[k])}" for n, k in zip(names, keys, strict=True))]
        )
        labelled.append(replace(one, label=label.strip(), apart={key: mine[key] for key in keys}))
    labels = [one.label for one in labelled]
    return [
        replace(one, label=f"{one.label} ({one.sources[0].path.name})")
        if labels.count(one.label) > 1 and one.sources[0].path
        else one
        for one in labelled
    ]


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings, under dotted keys.

    >>> dict(flatten({"cbp": {"decay_rate": 0.99}, "tasks": 3}))
    {'cbp.decay_rate': 0.99, 'tasks': 3}
    """
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _short(key: str, system: str) -> str:
    return key.removeprefix(f"{system}.").rpartition(".")[2]


def _rank(series: Series) -> tuple[Any, ...]:
    place = ORDER.index(series.system) if series.system in ORDER else len(ORDER)
    values = []
    for value in series.apart.values():
        try:
            values.append((0, float(value), ""))
        except (TypeError, ValueError):
            values.append((1, 0.0, str(value)))
    return place, series.system, values, series.label

"""All series that ran on a benchmark at one scale, and all of these below a directory.

A folder is a stack of runs. The folder of a grid is split into one series a setting ("cbp replacement_rate=1e-05");
folders that differ in nothing but their seeds are joined to one series.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import polars as pl

from neoteny.errors import RunFolderError, UnknownNameError
from neoteny.lab.recorder import COLUMNS, SORT
from neoteny.progress import waiting
from neoteny.registry import base_and_version
from neoteny.report.runs.folders import RunFrame, find_folders, read_folder
from neoteny.report.runs.metrics import (
    DIAGNOSTICS,
    EVALUATION,
    EVENTS,
    OF_ALL_WEIGHTS,
    RETURN,
    is_beside,
    is_performance,
)
from neoteny.report.runs.series import Series, Unit, pick_runs, settings_of
from neoteny.report.runs.settings import differing, format_number
from neoteny.report.runs.tidy import as_pandas, tidy

if TYPE_CHECKING:
    import pandas

__all__ = ["Group", "Runs", "group_frames", "load", "load_any", "series_of"]

# The usual order of systems: references first, then the methods from the simplest on. Others follow by name.
ORDER = (
    "linear", "backprop", "tuned-adam", "l2", "l2-init", "shrink-and-perturb", "redo", "head-reset", "full-reset", "cbp"
)  # fmt: skip
RECORDING = ("bin_size", "measure_every", "fresh_tasks")
SCALES = ("paper", "small", "tiny")
"""The order of scales: the one that says most comes first."""


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

        First what was tested on examples that were kept back, then accuracies. For agents they are returns alone: the
        losses that they learn from do not say how well they do.
        """
        if self.unit == "steps":
            return tuple(name for name in (EVALUATION, RETURN) if name in self._recorded)

        def order(name: str) -> tuple[bool, bool, str]:
            return not name.startswith("test_"), "accuracy" not in name, name

        return tuple(
            sorted((name for name in filter(is_performance, self._recorded) if not is_beside(name)), key=order)
        )

    @property
    def measures(self) -> tuple[str, ...]:
        """What was measured on the networks: everything else."""
        names = self._recorded - {*self.metrics, *self.diagnostics, *self._others}
        return tuple(sorted(names, key=lambda name: (name == "units_replaced", name)))

    @property
    def diagnostics(self) -> tuple[str, ...]:
        """How the learning of agents went: losses, entropy, temperature, and all else that is recorded of no layer."""
        if self.unit != "steps":
            return ()
        layered = {name for one in self.series for name in one.frame.filter(pl.col("layer") != "")["metric"].unique()}
        others = self._recorded - {*DIAGNOSTICS, *self.metrics, *self._others, *layered, *OF_ALL_WEIGHTS}
        return tuple(name for name in (*DIAGNOSTICS, *sorted(others)) if name in self._recorded)

    @property
    def sources(self) -> tuple[RunFrame, ...]:
        """The folders it came from."""
        return tuple({id(source): source for series in self.series for source in series.sources}.values())

    @property
    def _others(self) -> set[str]:
        """What is neither a metric nor a measure."""
        return {name for name in self._recorded if name in EVENTS or name == "friction" or is_beside(name)}

    @property
    def _recorded(self) -> set[str]:
        return {name for series in self.series for name in series.frame["metric"].unique()}

    def metric(self, name: str | None = None) -> str:
        """The metric of this name, or the first.

        Raises:
            UnknownNameError: it was not recorded.
            RunFolderError: none was.
        """
        known = (*self.metrics, *self.measures, *self.diagnostics, *(self._others - EVENTS))
        if not known:
            raise RunFolderError(f"{self.title}: no metric was recorded; train for at least one bin.")
        if name is None:
            return known[0]
        if name not in known:
            raise UnknownNameError(str(name), known, kind="recorded metric")
        return name


class Runs(Sequence[Group]):
    """All groups below a directory, by position or by benchmark id.

    Args:
        groups: from `group_frames`.
        problems: why each folder that could not be used was left out.
    """

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
            if index in (group.benchmark, _name(group), group.title):
                return group
        raise UnknownNameError(index, [group.benchmark for group in self], kind="benchmark in these runs")

    def scales(self, benchmark: str) -> list[str]:
        """The scales at which a benchmark, named without version, was run; the one that says most comes first."""
        here = {group.scale for group in self if _name(group) == benchmark}
        return sorted(here, key=lambda scale: (SCALES.index(scale) if scale in SCALES else len(SCALES), scale))

    def newest(self, benchmark: str, scale: str) -> Group | None:
        """The runs of a benchmark's newest version at a scale; None if there are none."""
        return max(
            (group for group in self if _name(group) == benchmark and group.scale == scale),
            key=lambda group: base_and_version(group.benchmark)[1],
            default=None,
        )

    def to_frame(self) -> pl.DataFrame:
        """Everything that was recorded, in one table; see `tidy`."""
        return tidy(series for group in self for series in group.series)

    def to_pandas(self) -> pandas.DataFrame:
        """The same for pandas."""
        return as_pandas(self.to_frame())

    def __repr__(self) -> str:
        return f"Runs({', '.join(f'{group.title}: {len(group.series)} series' for group in self)})"


def load(*directories: str | Path) -> Runs:
    """Read all run folders at or below directories and group them by benchmark and scale.

    A folder that cannot be used is left out and named in `Runs.problems`.

    Raises:
        RunFolderError: there is no folder at all that can be used.

    >>> load("no/such/place")
    Traceback (most recent call last):
    ...
    neoteny.errors.RunFolderError: no/such/place is not a directory: give the one that `neoteny run --out` wrote to.
    """
    frames, problems = [], []
    folders = dict.fromkeys(path for directory in directories for path in find_folders(Path(directory)))
    with waiting() as say:
        for number, path in enumerate(folders, start=1):
            try:
                frames.append(read_folder(path))
            except RunFolderError as error:
                problems.append(error)
            say(f"reading run folders: {number:,} of {len(folders):,}")
    if not frames:
        raise RunFolderError("\n".join(map(str, problems)))
    return Runs(group_frames(frames), problems)


def load_any(directory: str | Path, absent: bool = False) -> Runs:
    """As `load`, but without an error where nothing was run yet: then there are no groups.

    Args:
        directory: with run folders, or to be.
        absent: whether a directory that does not exist counts as an empty one.

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


def series_of(folders: Iterable[Path]) -> Series:
    """The runs of one system, which lie in some folders: other seeds in each.

    Raises:
        RunFolderError: the folders are of several systems, or of none.
    """
    found = [series for group in group_frames([read_folder(folder) for folder in folders]) for series in group.series]
    if len(found) != 1:
        labels = ", ".join(series.label for series in found) or "none"
        raise RunFolderError(f"folders of one system were asked for, and they hold {labels}: give those of one.")
    return found[0]


def _name(group: Group) -> str:
    """The benchmark without its version."""
    return base_and_version(group.benchmark)[0]


def _split(source: RunFrame) -> list[Series]:
    """One series for each setting of a grid, in the grid's order; one for a folder without a grid."""
    settings = list(zip(*source.varied.values(), strict=True)) or [()] * source.runs
    series = []
    for setting in dict.fromkeys(settings):
        mine = [run for run, other in enumerate(settings) if other == setting]
        seeds = tuple(source.seeds[run] for run in mine)
        varied = dict(zip(source.varied, setting, strict=True))
        series.append(Series(source.system, source.system, varied, pick_runs(source.frame, mine), seeds, (source,)))
    return series


def _pool(series: list[Series]) -> list[Series]:
    """Join series of several folders that differ in nothing but their seeds."""
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
    """Name each series by its system and by the settings in which it differs from the others of that system.

    A value that most of the system's series have goes without saying, and so does how often something is recorded.
    """
    labelled = []
    for one in series:
        mine = settings_of(one)
        family = [settings_of(other) for other in series if other.system == one.system]
        keys = [key for key in differing(family) if key in mine]
        # The network follows from the benchmark's settings, and another optimizer has other options: do not name both.
        implied = ("network.", "optimizer.") if "optimizer" in keys else ("network.", "optimizer.step_size")
        own = [key for key in keys if not key.startswith(implied) or key in one.settings]
        keys = own or keys
        rare = [key for key in keys if 2 * sum(other.get(key) == mine[key] for other in family) <= len(family)]
        said = [key for key in rare if key not in RECORDING] or rare
        short = [key.removeprefix(f"{one.system}.").rpartition(".")[2] for key in said]
        names = [key if short.count(name) > 1 else name for key, name in zip(said, short, strict=True)]
        label = " ".join(
            [one.system, ", ".join(f"{n}={format_number(mine[k])}" for n, k in zip(names, said, strict=True))]
        )
        labelled.append(replace(one, label=label.strip(), apart={key: mine[key] for key in keys}))
    labels = [one.label for one in labelled]
    return [
        replace(one, label=f"{one.label} ({one.sources[0].path.name})")
        if labels.count(one.label) > 1 and one.sources[0].path
        else one
        for one in labelled
    ]


def _rank(series: Series) -> tuple[Any, ...]:
    place = ORDER.index(series.system) if series.system in ORDER else len(ORDER)
    values = []
    for value in series.apart.values():
        try:
            values.append((0, float(value), ""))
        except (TypeError, ValueError):
            values.append((1, 0.0, str(value)))
    return place, series.system, series.label != series.system, values, series.label

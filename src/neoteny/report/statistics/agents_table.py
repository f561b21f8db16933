"""The table of agents over tasks: each system's returns summed up, at last and over the whole run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neoteny.errors import SettingError
from neoteny.report.runs.groups import Group
from neoteny.report.runs.metrics import EVALUATION, RETURN
from neoteny.report.runs.series import Series, settings_of
from neoteny.report.runs.settings import format_number
from neoteny.report.statistics.aggregate import AGGREGATES, aggregate, area
from neoteny.report.statistics.cell import Cell, markdown_table
from neoteny.report.statistics.intervals import interval_name
from neoteny.report.statistics.sample import count

__all__ = ["AgentsRow", "AgentsTable", "agents_table"]


@dataclass(frozen=True)
class AgentsRow:
    """One system.

    Attributes:
        system: its name, with the settings in which it differs from other rows.
        last: the aggregates of the last evaluation, by name.
        whole: the IQM of the areas under the runs' curves.
        tasks: how many.
        runs: of the task with the fewest; those that ended early are left out of the aggregates, whose n says how many
            are left in one.
        published: what a paper has for it; NaN where it has nothing.
    """

    system: str
    last: Mapping[str, Cell]
    whole: Cell
    tasks: int
    runs: int
    published: float = float("nan")


@dataclass(frozen=True)
class AgentsTable:
    """The rows of a benchmark, which `markdown` writes.

    Attributes:
        title: benchmark and scale.
        metric: what was evaluated.
        rows: one a system.
        step: steps of an agent at the last evaluation.
        published: what the published values are; empty where there are none.
        target: a return with which one would be content.
        normalised: whether returns are normalised, task by task.
        lost: systems without a row, since every run of one of their tasks ended early.
    """

    title: str
    metric: str
    rows: tuple[AgentsRow, ...]
    step: int
    published: str = ""
    target: float = field(default=1000.0)
    normalised: bool = False
    lost: tuple[str, ...] = ()

    @property
    def note_on_lost(self) -> str:
        """What to say of them; empty where there are none."""
        return f" Without a row, since every run of a task ended early: {', '.join(self.lost)}." if self.lost else ""

    def markdown(self) -> str:
        """A Markdown table with the caption under it."""
        names = (*AGGREGATES, "IQM of the area", "tasks", "runs")
        paper = ("published IQM",) * bool(self.published)
        lines: list[tuple[str, ...]] = [("system", *names, *paper), ("---", *["---:"] * (len(names) + len(paper)))]
        for row in self.rows:
            cells = [str(row.last[name]) for name in AGGREGATES]
            value = ("-" if np.isnan(row.published) else f"{row.published:g}",) * bool(self.published)
            runs = count(row.last["IQM"].n, row.runs)
            lines.append((row.system, *cells, str(row.whole), str(row.tasks), runs, *value))
        metric = f"{self.metric}, normalised," if self.normalised else self.metric
        caption = (
            f"{self.title}: {metric} at the last evaluation, after {self.step:,} steps, and the mean height of the "
            f"whole curve (area); {interval_name('stratified')}; the optimality gap is what is missing to "
            f"{self.target:g}.{self.note_on_lost}"
        )
        return f"{markdown_table(lines)}\n\n{caption}{f' Published: {self.published}.' * bool(self.published)}\n"


def agents_table(
    group: Group,
    *,
    task: str = "task",
    target: float = 1000.0,
    between: Mapping[str, tuple[float, float]] | None = None,
    published: Mapping[str, float] | None = None,
    source: str = "",
    resamples: int = 9999,
) -> AgentsTable:
    """Sum up the agents of a benchmark over its tasks.

    Args:
        group: from `load`.
        task: the setting that names the task; series that differ in it alone are one row.
        target: see `neoteny.report.statistics.aggregate.aggregate`.
        between: of each task the returns that count as 0 and as 1, such as those of random play and of people; without
            it returns are summed up as they are.
        published: a paper's IQM by the name of a row; one that was not run has a row of its own.
        source: what these values are.
        resamples: bootstrap samples.

    Raises:
        SettingError: no return was recorded, or `between` does not have a task.
    """
    metric = EVALUATION if any(EVALUATION in one.frame["metric"].unique() for one in group.series) else RETURN
    rows: dict[str, list[Series]] = {}
    for one in group.series:
        # another task has other numbers of inputs and outputs
        settings = {
            k: v for k, v in {**one.settings, **one.apart}.items() if k != task and not k.startswith("network.")
        }
        apart = [f"{key} {format_number(value)}" for key, value in sorted(settings.items())]
        rows.setdefault(", ".join([one.system, *apart]), []).append(one)
    made, lost, last = [], [], 0
    for name, several in rows.items():
        by_task: dict[Any, list[tuple[NDArray[np.int64], NDArray[np.float64]]]] = {}
        for one in several:
            curve = one.curve(metric)
            if len(curve.steps):
                place = settings_of(one).get(task)
                low, high = (0.0, 1.0) if between is None else _bounds(between, place, task)
                by_task.setdefault(place, []).append((curve.steps, (curve.values - low) / (high - low)))
        if not by_task:
            continue
        ends = [np.concatenate([values[:, -1] for _, values in curves]) for curves in by_task.values()]
        areas = [np.concatenate([area(steps, values) for steps, values in curves]) for curves in by_task.values()]
        if not all(np.isfinite(task_).any() for task_ in (*ends, *areas)):
            lost.append(name)  # there is no last value to sum up
            continue
        cells = {k: Cell.of(v) for k, v in aggregate(ends, target, resamples=resamples).items()}
        whole = Cell.of(aggregate(areas, target, resamples=resamples)["IQM"])
        value = (published or {}).get(name, float("nan"))
        made.append(AgentsRow(name, cells, whole, len(ends), min(len(end) for end in ends), value))
        last = max(last, *(int(steps[-1]) for curves in by_task.values() for steps, _ in curves))
    if not made:
        raise SettingError(f"{group.title} has no finished evaluations of agents: there is nothing to sum up.")
    nothing = Cell(math.nan, math.nan, math.nan, 0)
    others = {name: value for name, value in (published or {}).items() if name not in [row.system for row in made]}
    made += [
        AgentsRow(name, dict.fromkeys(AGGREGATES, nothing), nothing, 0, 0, value) for name, value in others.items()
    ]
    return AgentsTable(group.title, metric, tuple(made), last, source, target, between is not None, tuple(lost))


def _bounds(between: Mapping[str, tuple[float, float]], place: Any, task: str) -> tuple[float, float]:
    if place not in between:
        raise SettingError(f"{task} = {place!r} has no returns that count as 0 and as 1: add them to `between`.")
    return between[place]

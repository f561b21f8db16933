"""From rows to stacks of runs: for each benchmark and row first the tuning, then the runs that are reported.

    OUT/SCALE/tuning/<benchmark>/<label>       every point of the first batch with every tuning seed
    OUT/SCALE/tuning-001/...                   the batches after it, of searches that have several
    OUT/SCALE/reporting/<benchmark>/<label>    the chosen point with the seeds that are reported

A batch is one stack, or several where points differ in what cannot differ within one, such as a width. These folders
hold everything: which stacks are finished, and so which settings are chosen. A finished stack is never run again, an
unfinished one goes on from its last checkpoint. So a sweep may be run in any pieces, in any order, and killed at any
time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from neoteny import registry
from neoteny.errors import RunFolderError, SettingError
from neoteny.lab.config import RunConfig
from neoteny.lab.resolving import resolve
from neoteny.sweeps.choosing import TUNING_SEED, best_point
from neoteny.sweeps.rows import Row
from neoteny.sweeps.searching import Batch, Point, Told

if TYPE_CHECKING:
    from neoteny.sweeps.reading import Numbers

__all__ = ["Phase", "Plan", "PlannedStack", "Tuning", "left_out"]

Phase = Literal["tuning", "reporting"]


@dataclass(frozen=True)
class PlannedStack:
    """One stack of runs of the sweep.

    Attributes:
        benchmark: its id.
        row: its row of the table.
        phase: tuning or reporting.
        config: what is run.
        folder: its run folder.
        points: what is tried, in the order of its runs; of a reported stack the one that was chosen.
    """

    benchmark: str
    row: Row
    phase: Phase
    config: RunConfig
    folder: Path
    points: tuple[Point, ...] = field(default=({},), hash=False)

    @property
    def finished(self) -> bool:
        """Whether it has been run.

        Raises:
            RunFolderError: the folder holds runs of other settings.
        """
        from neoteny.lab.folder import RunFolder

        folder = RunFolder(self.folder)
        if folder.status == "absent":
            return False
        if _what(folder.config()) != _what(self.config):
            raise RunFolderError(
                f"{self.folder} holds runs of other settings than this sweep's now (see its config.yaml): "
                "delete the folder, or give another --out."
            )
        return folder.status == "finished"

    def require_as_many(self) -> None:
        """Refuse a folder whose number of runs is not the one asked for.

        Raises:
            RunFolderError: there is one.
        """
        from neoteny.lab.folder import RunFolder

        folder = RunFolder(self.folder)
        there = folder.config().runs if folder.status != "absent" else self.config.runs
        if there != self.config.runs:
            raise RunFolderError(
                f"{self.folder} holds {there} runs where {self.config.runs} are asked for: ask for as many as before "
                "(--runs, --tuning-runs), delete the folder, or give another --out."
            )

    @property
    def work(self) -> int:
        """Examples that all of its runs see together; of agents, steps."""
        return self.config.runs * self.config.problem.total

    def numbers(self) -> Numbers:
        """What its runs came to, when it is finished."""
        from neoteny.sweeps.reading import read_numbers

        return read_numbers(self.folder)


@dataclass(frozen=True, eq=False)
class Tuning:
    """How far the search of a row is.

    Attributes:
        stacks: those of all batches so far, in order; those of the last one may be unfinished.
        told: the batches that are finished, with their scores.
    """

    stacks: Sequence[PlannedStack]
    told: Sequence[Told]

    @property
    def due(self) -> list[PlannedStack]:
        """What can be run now."""
        return [stack for stack in self.stacks if not stack.finished]

    @property
    def points(self) -> list[Point]:
        """Every point that was tried, in the order in which they first were."""
        known = {_key(point): point for told in self.told for point in told.batch.points}
        return list(known.values())

    def chosen(self) -> Point:
        """The best point; seeds that a point was not run with count as ended, as its search gave it up."""
        places = {_key(point): place for place, point in enumerate(self.points)}
        seeds = max(told.batch.first + told.batch.seeds for told in self.told)
        scores = np.full((len(places), seeds), np.nan)
        for told in self.told:
            for point, found in zip(told.batch.points, told.scores, strict=True):
                scores[places[_key(point)], told.batch.first :][: told.batch.seeds] = found
        return self.points[best_point(scores, self.told[0].higher_is_better)]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a sweep is made.

    Attributes:
        out: where run folders go.
        scale: scale of the benchmarks.
        runs: reported runs of each row, with the seeds 0, 1, ...
        tuning_runs: runs at each point that is tried, with the seeds `TUNING_SEED` + 0, 1, ...

    Raises:
        SettingError: so many runs that they would use the tuning seeds.
    """

    out: Path
    scale: str = "table"
    runs: int = 30
    tuning_runs: int = 5

    def __post_init__(self) -> None:
        for name in ("runs", "tuning_runs"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name} = {getattr(self, name)!r}: give a number >= 1.")
        if self.runs > TUNING_SEED:
            raise SettingError(
                f"runs = {self.runs!r}: seeds from {TUNING_SEED} on are for tuning; give at most {TUNING_SEED}."
            )

    def tuning(self, benchmark: str, row: Row) -> Tuning | None:
        """The search of a row as far as it is; None if there is nothing to choose."""
        search = row.search(benchmark, self.scale)
        if not search:
            return None
        stacks: list[PlannedStack] = []
        told: list[Told] = []
        while (batch := search.propose(told, self.tuning_runs)) is not None:
            here = self._stacks_of(benchmark, row, batch, len(told))
            stacks += here
            if not all(stack.finished for stack in here):
                break
            told.append(_told(batch, here))
        return Tuning(stacks, told)

    def chosen(self, benchmark: str, row: Row) -> Point | None:
        """The settings chosen, by full name; None while the tuning is not finished."""
        tuning = self.tuning(benchmark, row)
        if tuning is None:
            return {}
        return None if tuning.due else tuning.chosen()

    def reporting(self, benchmark: str, row: Row) -> PlannedStack | None:
        """The stack that is reported; None while its settings are not chosen."""
        chosen = self.chosen(benchmark, row)
        return None if chosen is None else self.stack("reporting", benchmark, row, [chosen])

    def due(self, benchmark: str, row: Row) -> list[PlannedStack]:
        """The stacks of a row that can be run now; empty when all are finished."""
        tuning = self.tuning(benchmark, row)
        if tuning is not None and (left := tuning.due):
            return left
        reporting = self.stack("reporting", benchmark, row, [{} if tuning is None else tuning.chosen()])
        return [] if reporting.finished else [reporting]

    def finished(self, benchmark: str, row: Row) -> list[PlannedStack]:
        """The stacks of a row that are finished."""
        tuning = self.tuning(benchmark, row)
        stacks = [] if tuning is None else list(tuning.stacks)
        if tuning is None or not tuning.due:
            stacks.append(self.stack("reporting", benchmark, row, [{} if tuning is None else tuning.chosen()]))
        return [stack for stack in stacks if stack.finished]

    def _stacks_of(self, benchmark: str, row: Row, batch: Batch, number: int) -> list[PlannedStack]:
        """The stacks of a batch: points that cannot be side by side are apart."""
        points = {_key(point): point for point in batch.points}.values()  # a sampler may draw one twice
        apart = [name for name, value in batch.points[0].items() if not _varies(benchmark, row, name, value)]
        groups: dict[Any, list[Point]] = {}
        for point in points:
            groups.setdefault(_key({name: point[name] for name in apart}), []).append(point)
        return [self.stack("tuning", benchmark, row, group, apart, batch, number) for group in groups.values()]

    def stack(
        self,
        phase: Phase,
        benchmark: str,
        row: Row,
        points: Sequence[Point],
        apart: Sequence[str] = (),
        batch: Batch | None = None,
        number: int = 0,
    ) -> PlannedStack:
        """A stack of a row: in tuning a batch's points, which share the settings `apart`; else the chosen one."""
        from neoteny.lab.running import folder_of

        same = points[0] if batch is None else {name: points[0][name] for name in apart}
        grid = [{name: value for name, value in point.items() if name not in same} for point in points]
        config = resolve(
            benchmark,
            **_settled(benchmark, row, same),
            runs=self.runs if batch is None else batch.seeds,
            scale=self.scale,
            seed=0 if batch is None else TUNING_SEED + batch.first,
            grid=grid if grid[0] else None,
        )
        folder = folder_of(config, self.where(phase, number))
        return PlannedStack(config.benchmark, row, phase, config, folder, tuple(points))

    def where(self, phase: Phase, number: int = 0) -> Path:
        """The directory of a phase's run folders; those of a later batch of the tuning have their own."""
        return self.out / self.scale / (f"{phase}-{number:03d}" if number else phase)

    @property
    def refusals(self) -> Path:
        """The file of what could not be run, and why."""
        return self.out / self.scale / "left-out.json"


def _settled(benchmark: str, row: Row, chosen: Point) -> dict[str, Any]:
    """Arguments of `resolve` for a row with settings that were chosen."""
    kind = registry.benchmark(benchmark).load()
    settings, methods = row.settings_on(kind), {name: dict(own) for name, own in row.methods.items()}
    for key, value in chosen.items():
        owner, dot, name = key.rpartition(".")
        if dot and owner != "optimizer":
            methods.setdefault(owner, {})[name] = value
        else:
            settings[key] = value
    return {"method": row.system_on(kind), "settings": settings, "methods": methods}


def _varies(benchmark: str, row: Row, name: str, value: Any) -> bool:
    """Whether a setting can differ within a stack."""
    try:
        resolve(benchmark, **_settled(benchmark, row, {}), grid={name: [value]})
    except SettingError:
        return False  # or the setting itself is wrong: then the stack's own configuration says so
    return True


def _told(batch: Batch, stacks: Iterable[PlannedStack]) -> Told:
    """The scores of a batch whose stacks are finished, in the order of its points."""
    scores: dict[Any, Any] = {}
    better = False
    for stack in stacks:
        numbers = stack.numbers()
        better = numbers.higher_is_better
        scores |= {_key(point): found for point, found in zip(stack.points, numbers.scores, strict=True)}
    table = np.stack([scores[_key(point)] for point in batch.points])
    return Told(replace(batch, seeds=table.shape[1]), table, better)  # another call may have asked for other seeds


def _key(point: Point) -> tuple[Any, ...]:
    """A point, so that equal ones are equal whatever their order and kinds."""
    alike = {name: float(value) if isinstance(value, int) else value for name, value in point.items()}  # 1 is 1.0
    return tuple(sorted((name.replace("-", "_"), json.dumps(value)) for name, value in alike.items()))


def left_out(plan: Plan) -> dict[tuple[str, str], str]:
    """Why rows could not be run when it was last tried, by benchmark and name."""
    if not plan.refusals.exists():
        return {}
    content = json.loads(plan.refusals.read_text(encoding="utf-8"))
    return {(benchmark, row): reason for benchmark, rows in content.items() for row, reason in rows.items()}


def _what(config: RunConfig) -> tuple[Any, ...]:
    """What is run, apart from the number of runs."""
    content = config.to_dict()
    points = list(zip(*content["varied"].values(), strict=True))
    return (
        *(content[name] for name in ("benchmark", "scale", "method", "settings", "methods")),
        list(content["varied"]),
        [list(point) for point in dict.fromkeys(points)],
        content["seeds"][0],
    )

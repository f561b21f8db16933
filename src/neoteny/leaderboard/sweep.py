"""The sweep: for each benchmark and row first the tuning, then the runs that are reported.

    OUT/SCALE/tuning/<benchmark>/<label>       every point of the grid with every tuning seed, in one stack
    OUT/SCALE/reporting/<benchmark>/<label>    the chosen point with the seeds that are reported

These folders hold everything: which stacks are finished, and so which settings are chosen. A finished stack is never
run again, an unfinished one goes on from its last checkpoint. So a sweep may be run in any pieces, in any order, and
killed at any time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from neoteny import registry
from neoteny.errors import NeotenyError, RunFolderError, SettingError
from neoteny.lab.config import RunConfig, resolve
from neoteny.leaderboard.choosing import TUNING_SEED, best_point
from neoteny.leaderboard.rows import BENCHMARKS, LeaderboardRow

if TYPE_CHECKING:
    from neoteny.lab.execution import Progress
    from neoteny.leaderboard.reading import Numbers

__all__ = ["Executor", "Phase", "Plan", "PlannedStack", "benchmarks", "here", "left_out", "run", "workers"]

Phase = Literal["tuning", "reporting"]
Executor = Callable[[Sequence[RunConfig], Path, "Callable[[Progress], None]"], Mapping[str, str]]
"""Trains stacks into a directory, reports the progress, and returns the errors by label."""


@dataclass(frozen=True)
class PlannedStack:
    """One stack of runs of the sweep.

    Attributes:
        benchmark: its id.
        row: its row of the table.
        phase: tuning or reporting.
        config: what is run.
        folder: its run folder.
    """

    benchmark: str
    row: LeaderboardRow
    phase: Phase
    config: RunConfig
    folder: Path

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
                f"{self.folder} holds runs of other settings than the leaderboard's now (see its config.yaml): "
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
        """Examples that all of its runs see together."""
        return self.config.runs * self.config.settings["steps"] * self.config.settings["batch_size"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How the table is made.

    Attributes:
        out: where run folders go.
        scale: scale of the benchmarks.
        runs: reported runs of each row, with the seeds 0, 1, ...
        tuning_runs: runs at each point of a grid, with the seeds `TUNING_SEED` + 0, 1, ...

    Raises:
        SettingError: so many runs that they would use the tuning seeds.
    """

    out: Path
    scale: str = "fast"
    runs: int = 30
    tuning_runs: int = 5

    def __post_init__(self) -> None:
        if self.runs > TUNING_SEED:
            raise SettingError(
                f"runs = {self.runs!r}: seeds from {TUNING_SEED} on are for tuning; give at most {TUNING_SEED}."
            )

    def tuning(self, benchmark: str, row: LeaderboardRow) -> PlannedStack | None:
        """The stack that tries the points of the row's grid; None if it has no grid."""
        return self.stack("tuning", benchmark, row, {}, row.grid) if row.grid else None

    def chosen(self, benchmark: str, row: LeaderboardRow) -> dict[str, Any] | None:
        """The settings chosen, by full name; None while the tuning is not finished."""
        stack = self.tuning(benchmark, row)
        if stack is None:
            return {}
        if not stack.finished:
            return None
        from neoteny.leaderboard.reading import read_numbers

        return choice(read_numbers(stack.folder))

    def reporting(self, benchmark: str, row: LeaderboardRow) -> PlannedStack | None:
        """The stack that is reported; None while its settings are not chosen."""
        chosen = self.chosen(benchmark, row)
        return None if chosen is None else self.stack("reporting", benchmark, row, chosen, {})

    def stack(
        self,
        phase: Phase,
        benchmark: str,
        row: LeaderboardRow,
        chosen: Mapping[str, Any],
        grid: Mapping[str, Sequence[Any]],
    ) -> PlannedStack:
        """A stack of a row, with settings that were chosen, or with a grid of them."""
        from neoteny.lab.running import folder_of

        settings, methods = dict(row.settings), {name: dict(own) for name, own in row.methods.items()}
        for key, value in chosen.items():
            owner, dot, name = key.rpartition(".")
            if dot and owner != "optimizer":
                methods.setdefault(owner, {})[name] = value
            else:
                settings[key] = value
        config = resolve(
            benchmark,
            method=row.system,
            runs=self.tuning_runs if phase == "tuning" else self.runs,
            scale=self.scale,
            seed=TUNING_SEED if phase == "tuning" else 0,
            settings=settings,
            methods=methods,
            grid=grid,
        )
        return PlannedStack(config.benchmark, row, phase, config, folder_of(config, self.where(phase)))

    def where(self, phase: Phase) -> Path:
        """The directory of a phase's run folders."""
        return self.out / self.scale / phase

    @property
    def refusals(self) -> Path:
        """The file of what could not be run, and why."""
        return self.out / self.scale / "left-out.json"


def choice(numbers: Numbers) -> dict[str, Any]:
    """The point of a tuning stack that is chosen."""
    return numbers.points[best_point(numbers.scores, numbers.metric.endswith("accuracy"))]


def benchmarks(names: Sequence[str] = ()) -> tuple[str, ...]:
    """Ids of the benchmarks of these names, in the table's order; without names, all its benchmarks.

    Raises:
        UnknownNameError: there is no such benchmark.

    >>> benchmarks(["slowly-changing-regression"])
    ('slowly-changing-regression-v1',)
    """
    found = [registry.benchmark(name).name for name in names or BENCHMARKS]

    def place(name: str) -> int:
        base = name.rpartition("-v")[0]
        return BENCHMARKS.index(base) if base in BENCHMARKS else len(BENCHMARKS)

    return tuple(sorted(dict.fromkeys(found), key=place))


def run(
    plan: Plan,
    chosen_benchmarks: Sequence[str],
    chosen_rows: Sequence[LeaderboardRow],
    execute: Executor,
    progress: bool = True,
) -> dict[tuple[str, str], str]:
    """Run what is not finished of these rows on these benchmarks.

    Args:
        plan: how it is run.
        chosen_benchmarks: ids of the benchmarks.
        chosen_rows: rows; those that a benchmark does not have are left out.
        execute: `workers` or `here`.
        progress: whether to show the progress.

    Returns:
        Why rows could not be run, by benchmark and name; the others are finished.

    Raises:
        RunFolderError: a folder holds other runs.
        KeyboardInterrupt: Ctrl-C was pressed; the same call goes on.
    """
    from neoteny.progress import live

    pairs = [
        (name, row) for name in chosen_benchmarks for row in chosen_rows if row.on(registry.benchmark(name).load())
    ]
    failures: dict[tuple[str, str], str] = {}
    with live(sweep=_work(plan, pairs, failures), show=progress) as show:
        for benchmark in chosen_benchmarks:
            for phase in get_args(Phase):
                stacks = [
                    stack
                    for name, row in pairs
                    if name == benchmark and (name, row.name) not in failures
                    for stack in [plan.tuning(name, row) if phase == "tuning" else plan.reporting(name, row)]
                    if stack is not None and not stack.finished
                ]
                # Two rows whose chosen settings are the same runs are one stack.
                by_label = {stack.config.label: stack for stack in stacks}
                names = {label: f"{benchmark} {stack.row.name} {phase}" for label, stack in by_label.items()}
                wrong = {}
                if stacks:
                    configs = [stack.config for stack in by_label.values()]
                    wrong = execute(configs, plan.where(phase), lambda at, names=names: show(at, names[at.label]))
                failures |= {(benchmark, by_label[label].row.name): reason for label, reason in wrong.items()}
    _remember(plan, pairs, failures)
    return failures


def workers(jobs: int | None = None, **execution: Any) -> Executor:
    """Stacks side by side, each in a process of its own."""

    def execute(configs: Sequence[RunConfig], out: Path, notify: Callable[[Progress], None]) -> Mapping[str, str]:
        from neoteny.lab.executor import CompareError, compare

        try:
            compare(configs, out=out, resume=True, jobs=jobs, progress=notify, **execution)
        except CompareError as error:
            return error.failures
        return {}

    return execute


def here(**execution: Any) -> Executor:
    """One stack after the other, in this process."""

    def execute(configs: Sequence[RunConfig], out: Path, notify: Callable[[Progress], None]) -> Mapping[str, str]:
        from neoteny.lab.running import run as train

        wrong = {}
        for config in configs:
            try:
                train(config, out=out, resume=True, progress=notify, **execution)
            except NeotenyError as error:
                wrong[config.label] = str(error)
            except Exception as error:  # the others go on, as they do in processes of their own
                wrong[config.label] = f"{type(error).__name__}: {error}"
        return wrong

    return execute


def left_out(plan: Plan) -> dict[tuple[str, str], str]:
    """Why rows could not be run when it was last tried, by benchmark and name."""
    if not plan.refusals.exists():
        return {}
    content = json.loads(plan.refusals.read_text(encoding="utf-8"))
    return {(benchmark, row): reason for benchmark, rows in content.items() for row, reason in rows.items()}


def _remember(plan: Plan, tried: Sequence[tuple[str, LeaderboardRow]], failures: Mapping[tuple[str, str], str]) -> None:
    """Write down what could not be run; rows that were not tried now keep their entries."""
    from neoteny.report.files import write

    now = {(name, row.name) for name, row in tried}
    known = {key: reason for key, reason in left_out(plan).items() if key not in now} | dict(failures)
    if not known and not plan.refusals.exists():
        return
    content: dict[str, dict[str, str]] = {}
    for (benchmark, row), reason in sorted(known.items()):
        # The last line of a failed worker's output says why.
        content.setdefault(benchmark, {})[row] = reason.strip().splitlines()[-1] if reason.strip() else "no message"
    write(plan.refusals, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def _work(
    plan: Plan, pairs: Sequence[tuple[str, LeaderboardRow]], failures: dict[tuple[str, str], str]
) -> dict[str, int]:
    """What is left to do for each stack, in examples; rows that cannot be set up are failures."""

    def found(name: str, row: LeaderboardRow) -> Iterator[tuple[Phase, int]]:
        tuning = plan.tuning(name, row)
        if tuning is not None:
            tuning.require_as_many()
            if not tuning.finished:
                yield "tuning", tuning.work
        stack = plan.reporting(name, row)
        if stack is not None:
            stack.require_as_many()
        if stack is None:
            yield "reporting", plan.stack("reporting", name, row, {}, {}).work
        elif not stack.finished:
            yield "reporting", stack.work

    work: dict[str, int] = {}
    for name, row in pairs:
        try:
            work |= {f"{name} {row.name} {phase}": examples for phase, examples in found(name, row)}
        except RunFolderError:
            raise
        except NeotenyError as error:
            failures[name, row.name] = str(error)
    return work


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

"""Has an executor train what is not finished of a sweep; a stack that is done lets the next ones of its row begin."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from neoteny.errors import NeotenyError, RunFolderError
from neoteny.lab.execution import Execution
from neoteny.lab.executors.protocol import Executor, Job, Outcome
from neoteny.lab.executors.training import RETRIES, train
from neoteny.lab.mirror import below, fetch_below
from neoteny.progress import live
from neoteny.report.files import write
from neoteny.sweeps.budget import Budget
from neoteny.sweeps.planning import Plan, PlannedStack, left_out
from neoteny.sweeps.rows import Pair, Row, pairs_of

__all__ = ["run"]


def run(
    plan: Plan,
    benchmarks: Sequence[str],
    rows: Sequence[Row],
    executor: Executor,
    execution: Execution,
    *,
    progress: bool = True,
    retries: int = RETRIES,
    budget: float | None = None,
    at_hand: Container[Pair] = frozenset(),
) -> dict[Pair, str]:
    """Run what is not finished of these rows on these benchmarks.

    Args:
        plan: how it is run.
        benchmarks: ids of the benchmarks.
        rows: those that a benchmark does not have are left out.
        executor: where the stacks are trained.
        execution: how.
        progress: whether to show the progress.
        retries: as for `neoteny.lab.compare`.
        budget: core-hours of everything that the plan's folders hold; a stack that would exceed it is not begun.
        at_hand: benchmarks and rows that are not run, since their numbers are at hand (`whole` of `collecting`).

    Returns:
        Why rows could not be run, by benchmark and name; the others are finished.

    Raises:
        RunFolderError: a folder holds other runs.
        KeyboardInterrupt: Ctrl-C was pressed; the same call goes on.
    """
    pairs = pairs_of(benchmarks, rows, at_hand)
    failures: dict[Pair, str] = {}
    fetch_below(execution.mirror, plan.out)
    work = dict(_work(plan, pairs, failures))
    sweep = _Sweep(plan, pairs, execution, failures, budget, executor.cores or execution.threads)
    with live(sweep=work, show=progress) as show:
        train(sweep.first(), executor, hear=show, retries=retries, admit=sweep.admit, then=sweep.then)
    _remember(plan, pairs, failures)
    return failures


class _Sweep:
    """Which jobs follow from which, and why rows were given up."""

    def __init__(
        self,
        plan: Plan,
        pairs: Mapping[Pair, Row],
        execution: Execution,
        failures: dict[Pair, str],
        budget: float | None,
        cores: int,
    ):
        self._plan, self._pairs, self._execution, self._failures = plan, pairs, execution, failures
        self._budget = None if budget is None else Budget(plan, budget, cores)
        self._owners: dict[Path, set[Pair]] = {}  # rows that come to the same runs share a stack
        self._stacks: dict[str, PlannedStack] = {}
        self._held: dict[str, list[Pair]] = {}  # of benchmarks of which no cost is known yet
        if self._budget is not None:
            for pair in pairs.keys() - failures.keys():
                for stack in plan.finished(pair[0], pairs[pair]):
                    self._budget.spent(stack)

    def first(self) -> Iterator[Job]:
        """The jobs that wait for nothing."""
        return self._begun(self._pairs)

    def _begun(self, pairs: Iterable[Pair]) -> Iterator[Job]:
        """The jobs of rows; of a benchmark of which no cost is known only the first row's, and the others are held."""
        for pair in pairs:
            benchmark = pair[0]
            if benchmark in self._held:
                self._held[benchmark].append(pair)
                continue
            for job in self._jobs(pair):
                if self._budget is not None and not self._budget.knows(benchmark):
                    self._held.setdefault(benchmark, [])  # this one shows what the others may cost
                yield job

    def _jobs(self, pair: Pair) -> Iterator[Job]:
        """What can be begun now of a row, and was not."""
        if pair in self._failures:
            return
        try:
            due = self._plan.due(pair[0], self._pairs[pair])
        except RunFolderError:
            raise
        except NeotenyError as error:
            self._failures[pair] = str(error)
            return
        for stack in due:
            begun = stack.folder in self._owners
            self._owners.setdefault(stack.folder, set()).add(pair)
            if not begun:
                label = " ".join((*pair, stack.phase))
                label += f" {sum(known.startswith(label) for known in self._stacks) + 1}" * (label in self._stacks)
                self._stacks[label] = stack
                mirror = below(self._execution.mirror, stack.folder, self._plan.out)
                how = replace(self._execution, mirror=mirror)
                yield Job(label, stack.config, stack.folder, how, resume=True)

    def admit(self, job: Job) -> bool:
        """Whether a job may be begun."""
        stack = self._stacks[job.label]
        if self._budget is None or self._budget.allows(stack):
            return True
        for pair in [*self._owners[stack.folder], *self._held.pop(stack.benchmark, [])]:
            self._failures[pair] = f"it would exceed the budget of {self._budget.hours:g} core-hours"
        return False

    def then(self, job: Job, outcome: Outcome) -> Iterable[Job]:
        """What follows when a job has ended."""
        stack = self._stacks[job.label]
        owners = self._owners[stack.folder]
        freed: list[Pair] = []
        if self._budget is not None:
            self._budget.spent(stack)
            freed = self._held.pop(stack.benchmark, [])
        if outcome.kind != "done":
            for pair in owners:
                self._failures.setdefault(pair, outcome.said)
            owners = set()
        return [*self._begun(pair for pair in self._pairs if pair in owners or pair in freed)]


def _remember(plan: Plan, tried: Iterable[Pair], failures: Mapping[Pair, str]) -> None:
    """Write down what could not be run; rows that were not tried now keep their entries."""
    now = set(tried)
    known = {key: reason for key, reason in left_out(plan).items() if key not in now} | dict(failures)
    if not known and not plan.refusals.exists():
        return
    content: dict[str, dict[str, str]] = {}
    for (benchmark, row), reason in sorted(known.items()):
        # The last line of a failed worker's output says why.
        content.setdefault(benchmark, {})[row] = reason.strip().splitlines()[-1] if reason.strip() else "no message"
    write(plan.refusals, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def _work(plan: Plan, pairs: Mapping[Pair, Row], failures: dict[Pair, str]) -> Iterator[tuple[str, int]]:
    """What is left to do for each stack that is known, in examples; rows that cannot be set up are failures."""
    for (name, row_name), row in pairs.items():
        try:
            tuning = plan.tuning(name, row)
            stacks = [] if tuning is None else list(tuning.stacks)
            left = [] if tuning is None else tuning.due
            # before it is chosen, any point says how long the reported runs are
            point = {} if tuning is None else stacks[0].points[0] if left else tuning.chosen()
            reporting = plan.stack("reporting", name, row, [point])
            for stack in stacks if left else [*stacks, reporting]:
                stack.require_as_many()
        except RunFolderError:
            raise
        except NeotenyError as error:
            failures[name, row_name] = str(error)
            continue
        if left:
            yield f"{name} {row_name} tuning", sum(stack.work for stack in left)
        if left or not reporting.finished:
            yield f"{name} {row_name} reporting", reporting.work

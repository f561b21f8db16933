"""What is left of a sweep, in core-hours, before it is run.

What a run takes of a core is known from the row's finished stacks on the benchmark. Otherwise it is estimated from
benchmarks where the row and others have run that have run here as well: the median of the ratios. If there are none, a
few segments of its first stack are trained, once: what was measured is kept in `OUT/SCALE/costs.json`.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import median

from neoteny.errors import DataError, NeotenyError, RunFolderError
from neoteny.lab.execution import Execution, threads
from neoteny.lab.folder import RunFolder
from neoteny.lab.training import core_seconds
from neoteny.report.leaderboard.costs import Cost, read_run_costs, write_run_costs
from neoteny.sweeps.planning import Plan, PlannedStack
from neoteny.sweeps.rows import Pair, Row, pairs_of

__all__ = ["Estimates", "compared", "measured", "recorded"]

HOUR = 3600.0


class Estimates:
    """What runs cost, by benchmark and row.

    Args:
        plan: its finished stacks are known.
        benchmarks: their ids.
        rows: those of the table.
        execution: how stacks are trained.
        seconds: how long a stack is trained of which nothing is known.
        at_hand: benchmarks and rows that are not run, as for `neoteny.sweeps.running.run`.
        known: what is known from elsewhere.
    """

    def __init__(
        self,
        plan: Plan,
        benchmarks: Sequence[str],
        rows: Sequence[Row],
        execution: Execution,
        seconds: float = 2.0,
        at_hand: Container[Pair] = frozenset(),
        known: Sequence[Cost] = (),
    ):
        self._plan, self._execution, self._seconds = plan, execution, seconds
        self._pairs = [(name, row) for (name, _), row in pairs_of(benchmarks, rows, at_hand).items()]
        self._file = plan.out / plan.scale / "costs.json"
        self.known = {
            (cost.benchmark, cost.row): replace(cost, runs=0, hours=0.0)
            for cost in [*known, *read_run_costs(self._file)]
            if cost.known != "compared"
        }
        """What was measured or recorded."""
        for name, row in self._pairs:
            if (found := recorded(plan, name, row)) is not None:
                self.known[name, row.name] = found

    def done(self) -> list[Cost]:
        """What the finished runs took."""
        return [cost for cost in self.known.values() if cost.known == "recorded"]

    def left(self) -> Iterator[Cost]:
        """What is left of each row that can be set up; of those that are finished, with nothing left, what is known."""
        for name, row in self._pairs:
            try:
                runs, stacks, first = _left(self._plan, name, row)
                if not runs and (name, row.name) not in self.known:  # finished before costs were recorded
                    continue
                cost = self._cost(name, row, first)
            except (RunFolderError, DataError):
                raise
            except NeotenyError:  # it is refused when it is run as well, and listed with the reason
                continue
            hours = (runs * cost.seconds + stacks * cost.begin) / HOUR
            yield replace(cost, runs=runs, hours=hours)

    def _cost(self, benchmark: str, row: Row, first: PlannedStack) -> Cost:
        cost = self.known.get((benchmark, row.name)) or compared(self.known, benchmark, row.name)
        if cost is None:
            cost = self.known[benchmark, row.name] = measured(first, self._execution, self._seconds)
            write_run_costs((one for one in self.known.values() if one.known == "measured"), self._file)
        return cost


def recorded(plan: Plan, benchmark: str, row: Row) -> Cost | None:
    """What the row's finished runs took: the reported ones, or else those of the tuning."""
    try:
        stacks = plan.finished(benchmark, row)
    except RunFolderError:
        raise
    except NeotenyError:
        return None
    for stack in reversed(stacks):
        said = RunFolder(stack.folder).read_provenance().get("training", {})
        if (seconds := said.get("core_seconds_a_run")) is not None:
            begin, memory = said.get("compile_seconds", 0.0), said.get("bytes_a_run")
            return Cost(benchmark=benchmark, row=row.name, seconds=seconds, begin=begin, memory=memory)
    return None


def compared(known: Mapping[tuple[str, str], Cost], benchmark: str, row: str) -> Cost | None:
    """What a row would cost here, by what it costs elsewhere beside rows whose cost is known here; None if none is.

    >>> def of(benchmark, row, seconds): return Cost(benchmark=benchmark, row=row, seconds=seconds)
    >>> known = [of("a", "backprop", 1.0), of("a", "cbp", 1.5), of("b", "backprop", 20.0)]
    >>> compared({(one.benchmark, one.row): one for one in known}, "b", "cbp").seconds
    30.0
    """
    here = [cost for (name, _), cost in known.items() if name == benchmark]
    elsewhere = [cost for (_, other), cost in known.items() if other == row]
    pairs = [
        (mine, there, base)
        for mine in elsewhere
        for base in here
        if (there := known.get((mine.benchmark, base.row))) is not None
    ]
    if not pairs:
        return None
    return Cost(
        benchmark=benchmark,
        row=row,
        seconds=median(base.seconds * mine.seconds / there.seconds for mine, there, base in pairs),
        begin=median(base.begin for base in here),
        known="compared",
    )


def measured(stack: PlannedStack, execution: Execution, seconds: float) -> Cost:
    """What a few segments of a stack take; nothing of it is kept.

    Args:
        stack: it is trained from its beginning.
        execution: how.
        seconds: how long, when everything has been compiled.
    """
    began = core_seconds()
    with threads(execution.threads):
        training = stack.config.resolved.entry.load_trainer()(stack.config, execution)
        made = core_seconds() - began
        begin, each = training.try_out(seconds)
        memory = training.learner.describe()["bytes_a_run"]
    return Cost(
        benchmark=stack.benchmark,
        row=stack.row.name,
        seconds=each,
        begin=made + begin,
        known="measured",
        memory=memory,
    )


def _left(plan: Plan, benchmark: str, row: Row) -> tuple[int, int, PlannedStack]:
    """How many runs and stacks are left of a row at most, and one of its stacks."""
    tuning = plan.tuning(benchmark, row)
    if tuning is not None and (due := tuning.due):
        begun = sum(len(stack.points) for stack in tuning.stacks)
        more = row.search(benchmark, plan.scale).most - begun
        runs = sum(stack.config.runs for stack in due) + max(more, 0) * plan.tuning_runs + plan.runs
        return runs, len(due) + (more > 0) + 1, due[0]
    stack = plan.stack("reporting", benchmark, row, [{} if tuning is None else tuning.chosen()])
    return (0, 0, stack) if stack.finished else (plan.runs, 1, stack)

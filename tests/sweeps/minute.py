"""A scale of the smallest benchmark that takes moments, rows that are quick, and sweeps that are killed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from neoteny.benchmarks.slowly_changing_regression import SlowlyChangingRegressionBenchmark
from neoteny.lab.execution import Execution
from neoteny.lab.executors import Executor, Here, Job, Worker
from neoteny.sweeps.planning import Plan
from neoteny.sweeps.rows import Row, SweepRow
from neoteny.sweeps.running import run as run_sweep
from neoteny.sweeps.searching import Grid

NAME = "slowly-changing-regression-v1"
SCALE = "moment"
ROWS = (
    SweepRow("backprop", "backprop", "reference"),
    SweepRow("adam", "backprop", "optimizer", {"optimizer": "adam"}, tried=Grid({"step_size": (1e-3, 1e-2)})),
    SweepRow("l2", "l2", "regulariser", tried=Grid({"l2.strength": (1e-3, 1e-1)})),
)


def add_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    """20 bins of 4 examples in two tasks."""
    lengths = {"tasks": 2, "task_length": 40, "bin_size": 4, "measure_every": 40, "probe_size": 10}
    monkeypatch.setitem(SlowlyChangingRegressionBenchmark.SCALES, SCALE, lengths)  # type: ignore[arg-type]


def plan(out: Path, **changes: Any) -> Plan:
    return Plan(**{"out": out, "scale": SCALE, "runs": 3, "tuning_runs": 2, **changes})


class Interrupted(Here):
    """Trains in this process; after some segments it is killed on the spot.

    Args:
        stop_after: so many.
        trained: what was begun is added to it.
    """

    def __init__(self, stop_after: int | None = None, trained: list[str] | None = None):
        super().__init__()
        self._left, self._trained, self._seen = stop_after, trained, None

    def start(self, job: Job, hear: Callable[[Any], None]) -> Worker:
        if self._trained is not None:
            self._trained.append(f"{job.folder.parents[1].name} {job.config.label}")

        def count(progress: Any) -> None:
            before, self._seen = self._seen, (progress.label, progress.examples)  # others tell what it waits for
            if self._left is not None and self._seen != before:
                self._left -= 1
                if self._left < 0:
                    raise SystemExit  # no checkpoint is written, as if the process were gone
            hear(progress)

        return super().start(job, count)


def run(
    plan: Plan,
    rows: Sequence[Row] = ROWS,
    executor: Executor | None = None,
    budget: float | None = None,
    mirror: str = "",
    **options: Any,
):
    execution = Execution(compile=False, checkpoint_every=0.0, mirror=mirror)
    return run_sweep(plan, (NAME,), rows, executor or Interrupted(**options), execution, progress=False, budget=budget)

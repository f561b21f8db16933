"""A scale of the smallest benchmark that takes moments, rows that are quick, and sweeps that are killed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from neoteny.benchmarks.slowly_changing_regression import SlowlyChangingRegressionBenchmark
from neoteny.leaderboard import sweep
from neoteny.leaderboard.rows import LeaderboardRow

NAME = "slowly-changing-regression-v1"
SCALE = "moment"
ROWS = (
    LeaderboardRow("backprop", "backprop", "reference", axes={}),
    LeaderboardRow("adam", "backprop", "optimizer", {"optimizer": "adam"}, axes={"step_size": (1e-3, 1e-2)}),
    LeaderboardRow("l2", "l2", "regulariser", axes={"l2.strength": (1e-3, 1e-1)}),
)


def add_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    """20 bins of 4 examples in two tasks."""
    lengths = {"tasks": 2, "task_length": 40, "bin_size": 4, "measure_every": 40, "probe_size": 10}
    monkeypatch.setitem(SlowlyChangingRegressionBenchmark.SCALES, SCALE, lengths)  # type: ignore[arg-type]


def plan(out: Path, **changes: Any) -> sweep.Plan:
    return sweep.Plan(**{"out": out, "scale": SCALE, "runs": 3, "tuning_runs": 2, **changes})


def executor(stop_after: int | None = None, trained: list[str] | None = None) -> sweep.Executor:
    """Trains in this process; after `stop_after` segments it is killed on the spot."""
    train, left = sweep.here(compile=False, checkpoint_every=0.0), [stop_after]
    seen = None

    def execute(configs: Sequence[Any], out: Path, notify: Callable[..., None]):
        if trained is not None:
            trained.extend(f"{out.name} {config.label}" for config in configs)

        def count(progress: Any) -> None:
            nonlocal seen
            before, seen = seen, (progress.label, progress.examples)  # others tell what it waits for
            if left[0] is not None and seen != before:
                left[0] -= 1
                if left[0] < 0:
                    raise SystemExit  # no checkpoint is written, as if the process were gone
            notify(progress)

        return train(configs, out, count)

    return execute


def run(plan: sweep.Plan, rows: Sequence[LeaderboardRow] = ROWS, **options: Any):
    return sweep.run(plan, (NAME,), rows, executor(**options), progress=False)

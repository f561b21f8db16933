"""Searches of several batches, points that no stack can hold side by side, and budgets."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from neoteny.errors import SettingError
from neoteny.lab.executors import Executor, Outcome, Worker
from neoteny.sweeps.budget import Budget
from neoteny.sweeps.collecting import collect, joined, write_table
from neoteny.sweeps.rows import SweepRow
from neoteny.sweeps.searching import Grid, Range
from neoteny.sweeps.showing import as_text
from sweeps import minute


@pytest.fixture(autouse=True)
def _scale(monkeypatch: pytest.MonkeyPatch):
    minute.add_scale(monkeypatch)


def tables(out: Path, rows) -> tuple[bytes, str]:
    frame = collect(minute.plan(out), rows)
    return write_table(frame, out / "it.parquet").read_bytes(), as_text(frame)


def test_a_search_of_several_batches_killed_and_resumed_elsewhere(tmp_path):
    pytest.importorskip("optuna")
    from neoteny.sweeps.optuna import Optuna

    tried = Optuna({"step_size": Range(1e-3, 1e-1, log=True)}, trials=4, at_once=2, pruner="median")
    rows = [SweepRow("sgd", "backprop", tried=tried)]
    assert minute.run(minute.plan(tmp_path / "whole"), rows) == {}
    for killed in range(100):  # each time on another machine, which has only the store
        here = tmp_path / str(killed)
        try:
            minute.run(minute.plan(here), rows, stop_after=4, mirror=f"file://{tmp_path}/store")
            break
        except SystemExit:
            shutil.rmtree(here)
    assert killed >= 2
    assert tables(here, rows) == tables(tmp_path / "whole", rows)
    frame = collect(minute.plan(tmp_path / "whole"), rows)
    tuning = frame.filter(phase="tuning", quantity="mean")
    assert tuning["point"].unique().sort().to_list() == [0, 1, 2, 3]
    best = tuning.filter(seed=1001).sort("value")  # of those that were run with all seeds
    means = tuning.group_by("settings").agg(pl.col("value").mean(), pl.len()).filter(pl.col("len") == 2)
    assert best.height >= 2
    assert tuning.filter(chosen=True)["settings"].unique().to_list() == [means.sort("value")["settings"][0]]


def test_widths_are_apart_and_their_points_compared(tmp_path):
    rows = [SweepRow("wide", "backprop", tried=Grid({"hidden": [2, 4], "step_size": [0.01, 0.03]}))]
    plan = minute.plan(tmp_path)
    assert minute.run(plan, rows) == {}
    tuning = plan.tuning(minute.NAME, rows[0])
    assert tuning is not None
    assert [stack.config.runs for stack in tuning.stacks] == [4, 4]  # two step sizes with two seeds
    frame = collect(plan, rows).filter(quantity="mean")
    means = frame.filter(phase="tuning").group_by("settings").agg(pl.col("value").mean()).sort("value")
    reported = plan.reporting(minute.NAME, rows[0])
    assert reported is not None
    best = f"hidden={reported.config.settings['hidden']}, step_size={reported.config.settings['step_size']:g}"
    assert means["settings"][0] == best
    assert frame.filter(phase="reporting")["settings"].unique().to_list() == [best]


def test_a_point_given_twice_is_one_however_it_is_written(tmp_path):
    row = SweepRow("sgd", "backprop", tried=Grid({"step_size": [1, 0.1, 1.0]}))
    tuning = minute.plan(tmp_path).tuning(minute.NAME, row)
    assert tuning is not None
    assert [tuple(stack.points) for stack in tuning.stacks] == [({"step_size": 1.0}, {"step_size": 0.1})]


class Costing(Executor):
    """Ends every job at once and writes down what it cost: a core-second for each run."""

    name, every = "costing", 0.0

    def __init__(self, **settings):
        super().__init__(**settings)
        self.begun = []

    def start(self, job, hear):
        self.begun.append((job.config.method, job.config.runs))
        job.folder.mkdir(parents=True)
        (job.folder / "config.yaml").write_text(job.config.to_yaml())
        (job.folder / "provenance.json").write_text(json.dumps({"seconds": float(job.config.runs)}))
        (job.folder / "metrics.parquet").touch()
        return Done()


class Done(Worker):
    def outcome(self):
        return Outcome("done")

    def stop(self): ...

    def kill(self): ...


ROWS = [SweepRow(name, name) for name in ("backprop", "cbp", "l2", "redo")]


def test_what_would_exceed_the_budget_is_not_begun(tmp_path):
    def spent(seconds: float, out: str, rows=ROWS, cores: int = 1):
        executor = Costing(cores=cores)
        failures = minute.run(minute.plan(tmp_path / out), rows, executor, budget=seconds / 3600)
        return [method for method, _ in executor.begun], sorted(row for _, row in failures)

    assert spent(12.5, "all") == (["backprop", "cbp", "l2", "redo"], [])
    assert spent(10, "some") == (["backprop", "cbp", "l2"], ["redo"])
    assert spent(10, "some") == ([], ["redo"])  # what was spent before counts
    assert spent(12.5, "some") == (["redo"], [])
    assert spent(10, "cores", cores=2) == (["backprop"], ["cbp", "l2", "redo"])
    assert spent(0.5, "little") == (["backprop"], ["cbp", "l2", "redo"])  # of the first nothing was known
    frame = collect(minute.plan(tmp_path / "little"), ROWS[1:])
    assert frame["settings"].unique().to_list() == ["it would exceed the budget of 0.000138889 core-hours"]
    assert "not run: redo on" in as_text(frame)
    with pytest.raises(SettingError, match="budget = 0"):
        Budget(minute.plan(tmp_path), 0, 1)


def test_where_the_first_stack_fails_the_next_one_shows_the_cost(tmp_path):
    class Failing(Costing):
        def start(self, job, hear):
            if not self.begun:
                self.begun.append((job.config.method, 0))
                worker = Done()
                worker.outcome = lambda: Outcome("failed", "its node broke")  # type: ignore[method-assign]
                return worker
            return super().start(job, hear)

    executor = Failing()
    failures = minute.run(minute.plan(tmp_path), ROWS, executor, budget=1 / 3600)
    assert [method for method, _ in executor.begun] == ["backprop", "cbp"]
    assert sorted(row for _, row in failures) == ["backprop", "l2", "redo"]


def test_a_row_that_begins_nothing_keeps_no_others_waiting(tmp_path):
    class Failing(Costing):
        def start(self, job, hear):
            if self.begun:
                return super().start(job, hear)
            self.begun.append((job.config.method, 0))
            worker = Done()
            worker.outcome = lambda: Outcome("failed", "its node broke")  # type: ignore[method-assign]
            return worker

    rows, executor = [ROWS[0], ROWS[0], *ROWS[1:]], Failing()
    rows[1] = SweepRow("again", "backprop")  # it shares the first one's stack, which has failed
    failures = minute.run(minute.plan(tmp_path), rows, executor, budget=1.0)
    assert [method for method, _ in executor.begun] == ["backprop", "cbp", "l2", "redo"]
    assert "cbp" not in {row for _, row in failures}


def test_a_refusal_counts_until_the_row_has_been_run(tmp_path):
    plan, row = minute.plan(tmp_path), ROWS[:1]
    assert minute.run(plan, row) == {}
    refused = json.dumps({minute.NAME: {"backprop": "it would exceed the budget"}})  # by a run that was killed later
    plan.refusals.write_text(refused)
    assert collect(plan, row)["phase"].unique().to_list() == ["reporting"]


def test_a_refusal_takes_no_reported_runs_away(tmp_path):
    plan = minute.plan(tmp_path / "known")
    assert minute.run(plan, ROWS[:1]) == {}
    known, more = collect(plan, ROWS[:1]), minute.plan(tmp_path / "more", runs=5)
    more.refusals.parent.mkdir(parents=True)
    more.refusals.write_text(json.dumps({minute.NAME: {"backprop": "its worker was lost"}}))
    assert joined(collect(more, ROWS[:1]), known, more).equals(known)


def test_what_runs_now_is_set_aside(tmp_path):
    plan = minute.plan(tmp_path)
    budget = Budget(plan, 7 / 3600, cores=1)
    stacks = [plan.stack("reporting", minute.NAME, row, [{}]) for row in ROWS]
    assert budget.allows(stacks[0])
    Costing().start(type("J", (), {"config": stacks[0].config, "folder": stacks[0].folder}), print)
    budget.spent(stacks[0])
    assert budget.estimate(stacks[1]) == pytest.approx(3 / 3600)
    assert [budget.allows(stack) for stack in stacks[1:]] == [True, False, False]

"""What is left of a sweep: runs counted by hand, costs from made-up records, and what is not measured twice."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from neoteny.errors import DataError
from neoteny.lab.execution import Execution
from neoteny.report.leaderboard.costs import Cost, read_run_costs
from neoteny.sweeps import estimating
from neoteny.sweeps.estimating import Estimates, compared, recorded
from sweeps import minute

EXECUTION = Execution(compile=False, strategy="stack")


@pytest.fixture(autouse=True)
def _scale(monkeypatch: pytest.MonkeyPatch):
    minute.add_scale(monkeypatch)


def made_up(benchmark: str, row: str, seconds: float, **more) -> Cost:
    return Cost(benchmark=benchmark, row=row, seconds=seconds, **more)


@pytest.fixture
def priced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Nothing is trained: a run takes 3 seconds and a stack 10 before it; gives the rows that were tried out."""
    seen: list[str] = []

    def measured(stack, execution, seconds):
        seen.append(stack.row.name)
        return made_up(stack.benchmark, stack.row.name, 3.0, begin=10.0, known="measured")

    monkeypatch.setattr(estimating, "measured", measured)
    return seen


def left(plan, rows=minute.ROWS) -> dict[str, Cost]:
    return {cost.row: cost for cost in Estimates(plan, (minute.NAME,), rows, EXECUTION).left()}


def test_what_is_left_shrinks_as_stacks_are_finished(tmp_path, priced):
    plan = minute.plan(tmp_path)  # 2 tuning seeds, 3 reported runs
    before = left(plan)
    assert {row: cost.runs for row, cost in before.items()} == {"backprop": 3, "adam": 2 * 2 + 3, "l2": 2 * 2 + 3}
    assert before["backprop"].hours == pytest.approx((3 * 3 + 10) / 3600)
    assert before["adam"].hours == pytest.approx((7 * 3 + 2 * 10) / 3600)
    assert priced == ["backprop", "adam", "l2"]
    minute.run(plan, minute.ROWS[:2])
    after = left(plan)
    assert {row: (cost.runs, cost.known) for row, cost in after.items()} == {
        "backprop": (0, "recorded"),
        "adam": (0, "recorded"),
        "l2": (7, "measured"),
    }
    assert after["adam"].hours == 0.0
    assert priced == ["backprop", "adam", "l2"]  # what was measured is kept


def test_points_beyond_the_ends_of_ranges_are_counted(tmp_path, priced):
    from neoteny.leaderboard.rows import find

    plan = minute.plan(tmp_path, runs=10, tuning_runs=3)
    (cost,) = left(plan, find(["l2"])).values()
    assert cost.runs == (12 + 6) * 3 + 10
    assert cost.hours == pytest.approx((cost.runs * 3 + 3 * 10) / 3600)


def test_finished_runs_say_what_they_took(tmp_path):
    plan, row = minute.plan(tmp_path), minute.ROWS[1]
    assert recorded(plan, minute.NAME, row) is None
    minute.run(plan, [row])
    for stack in plan.finished(minute.NAME, row):
        path = stack.folder / "provenance.json"
        said = json.loads(path.read_text())
        assert 0 < said["training"]["core_seconds_a_run"] * stack.config.runs < 60
        assert said["training"]["bytes_a_run"] >= 4 * 111  # weights at least, in single precision
        said["training"] |= {"core_seconds_a_run": 1.0 + (stack.phase == "reporting"), "compile_seconds": 7.0}
        path.write_text(json.dumps(said))
    found = recorded(plan, minute.NAME, row)
    assert found is not None and (found.seconds, found.begin, found.known) == (2.0, 7.0, "recorded")


def test_what_is_unknown_is_compared_with_other_rows_on_other_benchmarks():
    rng = np.random.default_rng(0)
    rows, names = ("backprop", "adam", "cbp"), ("a", "b", "c")
    seconds = rng.uniform(1, 9, (3, 3))
    known = {
        (name, row): made_up(name, row, seconds[i, j], begin=float(i))
        for i, name in enumerate(names)
        for j, row in enumerate(rows)
        if (name, row) != ("c", "cbp")
    }
    ratios = [seconds[2, j] * seconds[i, 2] / seconds[i, j] for i in range(2) for j in range(2)]
    found = compared(known, "c", "cbp")
    assert found is not None and found.known == "compared"
    assert (found.seconds, found.begin) == (pytest.approx(np.median(ratios)), 2.0)
    assert compared(known, "c", "l2") is None  # it ran nowhere
    assert compared({key: cost for key, cost in known.items() if key[0] != "c"}, "c", "cbp") is None


def test_a_stack_is_tried_out_without_a_folder(tmp_path):
    plan = minute.plan(tmp_path)
    found = Estimates(plan, (minute.NAME,), minute.ROWS[:2], EXECUTION, seconds=0.01)
    costs = {cost.row: cost for cost in found.left()}
    assert costs["backprop"].known == costs["adam"].known == "measured"
    assert all(0 < cost.seconds < 1 for cost in costs.values())
    memory = {row: cost.memory or 0 for row, cost in costs.items()}
    assert memory["adam"] - memory["backprop"] >= 2 * 4 * 111  # both of its averages
    assert [path.name for path in (tmp_path / minute.SCALE).iterdir()] == ["costs.json"]
    kept = read_run_costs(tmp_path / minute.SCALE / "costs.json")
    assert [replace(cost, runs=one.runs, hours=one.hours) for cost, one in zip(kept, costs.values(), strict=True)] == [
        *costs.values()
    ]


def test_what_is_known_from_elsewhere_is_not_tried_out(tmp_path, priced):
    costs = [
        made_up(minute.NAME, "backprop", 4.0, known="measured", runs=9, hours=1.0),
        made_up("elsewhere-v1", "backprop", 2.0),
        made_up("elsewhere-v1", "adam", 3.0),
        made_up(minute.NAME, "l2", 5.0, known="compared"),
    ]
    given = Estimates(minute.plan(tmp_path), (minute.NAME,), minute.ROWS, EXECUTION, known=costs)
    found = {cost.row: cost for cost in given.left()}
    assert priced == ["l2"]  # what was compared before is not known
    assert (found["backprop"].seconds, found["backprop"].runs) == (4.0, 3)
    assert (found["adam"].seconds, found["adam"].known) == (6.0, "compared")


def test_rows_that_cannot_be_set_up_are_left_to_the_run_and_missing_data_are_told(tmp_path, monkeypatch, priced):
    impossible = replace(minute.ROWS[0], name="impossible", settings={"hidden": 0})
    assert set(left(minute.plan(tmp_path), [impossible, minute.ROWS[0]])) == {"backprop"}

    def missing(*given):
        raise DataError("there are no data")

    monkeypatch.setattr(estimating, "measured", missing)
    with pytest.raises(DataError):
        left(minute.plan(tmp_path / "other"))

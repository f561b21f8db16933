"""The rows: every method is one, all have equal budgets in one stack, and every row is planned without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from neoteny import registry
from neoteny.errors import NeotenyError, SettingError, UnknownNameError
from neoteny.lab.resolving import resolve
from neoteny.leaderboard.rows import BENCHMARKS, POINTS, REACH, LeaderboardRow, benchmarks, find, rows, step_sizes
from neoteny.optim import Muon
from neoteny.sweeps.planning import Plan
from neoteny.sweeps.searching import Range

PLAN = Plan(out=Path("nowhere"))
REFUSED = {
    ("continual-imagenet-v1", "head-reset"): "in every system",
    ("continual-imagenet-v1", "plasticity-injection"): "cannot act together",
    ("slippery-half-cheetah-v1", "momentum"): "no setting",  # its optimizer is Adam
    ("slippery-half-cheetah-v1", "muon"): "two networks at once",
}


def test_every_method_has_a_row_and_every_row_one_name():
    names = [row.name for row in rows()]
    assert len(set(names)) == len(names)
    assert set(registry.METHODS) < set(names)
    assert {"backprop", "linear", "adam", "tuned-adam", "muon"} < set(names)
    kinds = {row.name: row.kind for row in rows()}
    assert all(kinds[name] == entry.kind for name, entry in registry.METHODS.items())


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
def test_every_row_can_be_set_up_on_every_benchmark_that_has_it(row: LeaderboardRow):
    for name in benchmarks():
        if not row.on(registry.benchmark(name).load()):
            assert row.name == "linear"  # everything else is everywhere
            continue
        if (name, row.name) in REFUSED:
            with pytest.raises(NeotenyError, match=REFUSED[name, row.name]):
                PLAN.tuning(name, row)
            continue
        tuning = PLAN.tuning(name, row)
        assert tuning is not None
        (stack,) = tuning.stacks
        points = stack.points
        assert stack.config.runs == POINTS * PLAN.tuning_runs
        assert set(stack.config.varied) == set(row.space(name, PLAN.scale))
        labels = {PLAN.stack("reporting", name, row, [point]).config.label for point in points}
        assert len(labels) == len(points)  # each choice has a folder of its own


def test_no_two_rows_share_a_folder_unless_they_are_the_same_runs():
    for name in benchmarks():
        there = [row for row in rows() if row.on(registry.benchmark(name).load()) and (name, row.name) not in REFUSED]
        reporting = [PLAN.stack("reporting", name, row, [{}]) for row in there]
        tuning = [stack for row in there if (found := PLAN.tuning(name, row)) for stack in found.stacks]
        for stacks in (reporting, tuning):
            different = {stack.config.to_yaml() for stack in stacks}
            assert len({stack.folder for stack in stacks}) == len(different)


def test_names_choose_rows_in_the_order_of_the_table():
    assert [row.name for row in find(["cbp", "backprop", "l2"])] == ["backprop", "l2", "cbp"]
    assert find([]) == rows()
    with pytest.raises(UnknownNameError, match="shrink-and-perturb"):
        find(["shrink-and-perturbed"])


@pytest.mark.parametrize("benchmark", benchmarks())
def test_rows_of_an_optimizer_try_the_same_step_sizes(benchmark: str):
    tried: dict[str, set[tuple[float, ...]]] = {}
    for row in rows():
        batch = row.search(benchmark, "table").propose([], 3)
        optimizer = row.settings.get("optimizer", "")
        tried.setdefault(optimizer, set()).add(tuple(point["step_size"] for point in batch.points))
    assert set(tried) == {"", "adam", "adamw", "muon"}
    assert all(len(found) == 1 for found in tried.values())


@pytest.mark.parametrize("benchmark", benchmarks())
def test_step_sizes_lie_around_the_usual_one(benchmark: str):
    """The benchmark's own for its own optimizer, Adam's default for Adam."""
    own = resolve(benchmark, scale="table").resolved.problem.optimizer
    for optimizer, usual in (("", own.step_size), (own.name, own.step_size), ("muon", Muon().step_size)):
        found = step_sizes(benchmark, "table", optimizer)
        assert (found.low, found.high) == pytest.approx((usual / REACH, usual * REACH), rel=1e-4)
        assert found.log
    if own.name != "adam":
        assert step_sizes(benchmark, "table", "adam").low == pytest.approx(1e-3 / REACH)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
def test_ranges_can_be_made_longer_as_far_as_methods_allow(row: LeaderboardRow):
    space = row.space("trainability", "table")
    for full, (low, high) in row.bounds(space).items():
        owner, _, name = full.rpartition(".")
        own = space[full]
        assert isinstance(own, Range) and low <= own.low < own.high <= high
        for value in (low, high):
            registry.METHODS[owner].load()(**{**row.methods.get(owner, {}), name: value})
    fire = LeaderboardRow("fire", "fire")
    assert fire.bounds(fire.space("trainability", "table"))["fire.strength"][1] == 1.0  # no more than all
    with pytest.raises(SettingError):
        registry.METHODS["fire"].load()(strength=1.1)


def test_benchmarks_are_in_the_order_of_the_table():
    assert benchmarks(BENCHMARKS[::-1]) == tuple(f"{name}-v1" for name in BENCHMARKS)
    assert benchmarks() == tuple(f"{name}-v1" for name in BENCHMARKS if name != "shuffled-labels")
    assert {"trainability-v1", "shuffled-labels-v1"} <= set(benchmarks(scale="fast"))  # a smoke test
    with pytest.raises(UnknownNameError, match="no scale of the table called 'tabel'"):
        benchmarks(scale="tabel")


def test_planning_needs_no_torch():
    code = (
        "import sys; from pathlib import Path\n"
        "from neoteny.leaderboard import rows; from neoteny.sweeps import planning\n"
        "plan = planning.Plan(out=Path('nowhere'))\n"
        "found = [plan.tuning('online-permuted-mnist', row) for row in rows.find(['adam', 'l2-init', 'cbp'])]\n"
        "print([tuning.stacks[0].config.runs for tuning in found], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip().endswith("False"), done.stderr

"""Killed, resumed, in pieces: the table is the same to the byte, and nothing finished is run again."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from neoteny.errors import RunFolderError
from neoteny.lab.folder import RunFolder
from neoteny.sweeps.collecting import collect, write_table
from neoteny.sweeps.reading import read_numbers
from neoteny.sweeps.rows import SweepRow
from neoteny.sweeps.searching import Grid
from sweeps import minute


@pytest.fixture(autouse=True)
def _scale(monkeypatch: pytest.MonkeyPatch):
    minute.add_scale(monkeypatch)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep that was never interrupted."""
    out = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        minute.add_scale(patch)
        assert minute.run(minute.plan(out)) == {}
    return out


def table(out: Path, rows=minute.ROWS) -> bytes:
    return write_table(collect(minute.plan(out), rows), out / "it.parquet").read_bytes()


def test_killed_and_resumed_equals_never_killed(whole, tmp_path):
    chance, killed = random.Random(0), 0
    while True:
        try:
            minute.run(minute.plan(tmp_path), stop_after=chance.randint(1, 4))
            break
        except SystemExit:
            killed += 1
    assert killed >= 3
    assert table(tmp_path) == table(whole)


def test_any_pieces_in_any_order_make_the_same_table(whole, tmp_path):
    plan = minute.plan(tmp_path)
    for row in reversed(minute.ROWS):
        minute.run(plan, [row])
    assert table(tmp_path) == table(whole)
    assert table(whole, rows=minute.ROWS[::-1]) == table(whole)


def test_what_is_finished_is_never_run_again(whole):
    trained: list[str] = []
    minute.run(minute.plan(whole), trained=trained)
    assert trained == []


def test_what_is_reported_has_the_settings_that_were_best(whole):
    plan = minute.plan(whole)
    for row, setting in ((minute.ROWS[1], "step_size"), (minute.ROWS[2], "l2.strength")):
        tuning = plan.tuning(minute.NAME, row)
        assert tuning is not None
        frame = RunFolder(tuning.stacks[0].folder).metrics().filter(metric="loss")
        means = frame.group_by("run").agg(pl.col("value").mean()).sort("run")["value"].to_numpy()
        best = row.tried.axes[setting][int(np.argmin(means.reshape(2, 2).mean(axis=1)))]  # points, seeds
        assert plan.chosen(minute.NAME, row) == {setting: best}
        reported = plan.reporting(minute.NAME, row)
        assert reported is not None
        assert reported.config.varied == {}
        assert reported.config.seeds == (0, 1, 2)
        method = reported.config.methods.get("l2", {"strength": None})
        assert best == (method["strength"] if "." in setting else reported.config.optimizer["step_size"])


def test_the_table_holds_the_numbers_of_the_folders(whole):
    frame = collect(minute.plan(whole), minute.ROWS)
    reported = frame.filter(phase="reporting", row="l2", quantity="last").sort("seed")["value"]
    stack = minute.plan(whole).reporting(minute.NAME, minute.ROWS[2])
    assert stack is not None
    losses = RunFolder(stack.folder).metrics().filter(metric="loss").sort("run", "step")["value"].to_numpy()
    np.testing.assert_array_equal(reported, losses.reshape(3, 20)[:, -2:].mean(axis=1))
    assert frame.filter(phase="tuning", row="adam", quantity="mean").height == 4
    assert frame.filter(phase="tuning")["seed"].unique().sort().to_list() == [1000, 1001]
    assert frame.filter(phase="tuning", chosen=True)["settings"].n_unique() == 2
    assert frame.filter(row="backprop")["phase"].unique().to_list() == ["reporting"]


def test_a_row_that_cannot_be_run_is_named_and_the_others_are_run(whole, tmp_path):
    bad = SweepRow("impossible", "l2", "regulariser", {"step_size": -1.0})
    failures = minute.run(minute.plan(tmp_path), [bad, minute.ROWS[0]])
    assert "step_size" in failures[minute.NAME, "impossible"]
    frame = collect(minute.plan(tmp_path), [bad, minute.ROWS[0]])
    assert frame.filter(phase="left out")["row"].to_list() == ["impossible"]
    assert "step_size" in frame.filter(phase="left out")["settings"][0]
    assert frame.filter(phase="reporting")["row"].unique().to_list() == ["backprop"]

    put_right = SweepRow("impossible", "l2", "regulariser")
    assert minute.run(minute.plan(tmp_path), [put_right]) == {}
    frame = collect(minute.plan(tmp_path), [put_right, minute.ROWS[0]])
    assert frame.filter(phase="left out").is_empty()
    assert frame["row"].unique().sort().to_list() == ["backprop", "impossible"]


def test_folders_of_another_grid_are_not_taken_for_this_one(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "copy")
    other = SweepRow("l2", "l2", "regulariser", tried=Grid({"l2.strength": (1e-3, 1e-2)}))
    with pytest.raises(RunFolderError, match="other settings"):
        minute.run(minute.plan(tmp_path / "copy"), [other])


def test_fewer_runs_than_asked_for_are_not_taken_for_all(whole):
    for changes in ({"runs": 4}, {"tuning_runs": 3}):
        trained: list[str] = []
        with pytest.raises(RunFolderError, match="are asked for"):
            minute.run(minute.plan(whole, **changes), trained=trained)
        assert trained == []


def test_a_stack_that_breaks_off_does_not_stop_the_others(tmp_path, monkeypatch):
    from neoteny.lab import running

    start = running.start

    def break_off(config, *arguments, **options):
        if config.method == "l2":
            raise ValueError("one\nof a kind")
        return start(config, *arguments, **options)

    monkeypatch.setattr(running, "start", break_off)
    plain = SweepRow("l2", "l2", "regulariser")
    failures = minute.run(minute.plan(tmp_path), [plain, minute.ROWS[0]])
    assert list(failures) == [(minute.NAME, "l2")]
    frame = collect(minute.plan(tmp_path), [plain, minute.ROWS[0]])
    assert frame.filter(phase="left out")["settings"].to_list() == ["of a kind"]
    assert frame.filter(phase="reporting")["row"].unique().to_list() == ["backprop"]


def test_a_run_that_ended_has_no_numbers_and_is_never_chosen(tmp_path):
    wild = SweepRow("adam", "backprop", "optimizer", {}, tried=Grid({"step_size": (1e3, 1e-2)}))
    plan = minute.plan(tmp_path)
    assert minute.run(plan, [wild]) == {}
    tuning = plan.tuning(minute.NAME, wild)
    assert tuning is not None
    numbers = read_numbers(tuning.stacks[0].folder)
    np.testing.assert_array_equal(np.isnan(numbers.scores), [[True, True], [False, False]])
    assert np.isnan(numbers.values["weight_magnitude"][:2]).all()
    assert plan.chosen(minute.NAME, wild) == {"step_size": 1e-2}


def test_rows_that_come_to_the_same_runs_share_them(tmp_path):
    trained: list[str] = []
    rows = [minute.ROWS[0], SweepRow("tuned", "backprop", "optimizer", tried=Grid({"step_size": (0.01,)}))]
    assert minute.run(minute.plan(tmp_path), rows, trained=trained) == {}
    assert trained.count("reporting backprop") == 1
    found = collect(minute.plan(tmp_path), rows).filter(phase="reporting", quantity="last").sort("row", "seed")
    assert found["row"].to_list() == ["backprop"] * 3 + ["tuned"] * 3
    assert found["value"].to_list()[:3] == found["value"].to_list()[3:]

from __future__ import annotations

import os

import numpy as np
import polars as pl
import pytest

from neoteny.errors import RunFolderError
from neoteny.lab import recorder as module
from neoteny.lab.recorder import COLUMNS, SORT, Recorder, atomically, by_run, read_parts
from neoteny.report.files import write


def record(folder, flush_at=()):
    """The same rows in the same order, parts cut where asked."""
    recorder = Recorder(folder, runs=3)
    rng = np.random.default_rng(0)
    for step in range(100, 2100, 100):
        recorder.add("loss", rng.random(3), step=step, task=step // 500)
        recorder.add("weight_magnitude", rng.random(3), step=step, task=step // 500, layer="layers.0")
        recorder.add("dead_units", [0.5, np.nan, 0.25], step=step, task=0, only=[True, True, step < 1000])
        if step in flush_at:
            recorder.flush()
    return recorder


def test_bytes_do_not_depend_on_where_parts_were_cut(tmp_path):
    contents = []
    for name, cuts in (("whole", ()), ("two", (700,)), ("many", range(100, 2100, 100))):
        folder = tmp_path / name
        folder.mkdir()
        frame = record(folder, cuts).finish()
        assert frame.schema == pl.Schema(COLUMNS)
        assert frame.equals(frame.sort(SORT))
        contents.append((folder / "metrics.parquet").read_bytes())
        assert [path.name for path in folder.iterdir()] == ["metrics.parquet"]
    assert contents[0] == contents[1] == contents[2]


def test_only_the_runs_asked_for_are_recorded(tmp_path):
    frame = record(tmp_path).finish()
    dead = frame.filter(pl.col("metric") == "dead_units")
    assert dead.filter(pl.col("run") == 2)["step"].max() == 900
    assert dead.filter(pl.col("run") == 1)["value"].is_nan().all()


def test_memory_is_bounded_by_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_PART_ROWS", 10)
    recorder = record(tmp_path)
    assert recorder._buffered < 10
    assert len(list((tmp_path / "metrics").glob("part-*.parquet"))) > 5
    assert recorder.finish().height == 20 * 9 - 11


def test_parts_newer_than_the_state_are_dropped(tmp_path):
    recorder = record(tmp_path, (500,))
    state = {"parts": 1}
    recorder.flush()
    (tmp_path / "metrics" / ".part-00003.parquet.tmp").write_bytes(b"half")
    again = Recorder(tmp_path, runs=3)
    again.load_state_dict(state)
    assert read_parts(tmp_path)["step"].max() == 500
    assert [path.name for path in (tmp_path / "metrics").iterdir()] == ["part-00001.parquet"]
    again.add("loss", [1, 2, 3], step=600, task=1)
    assert again.state_dict()["parts"] == 2


def test_a_missing_or_damaged_part_is_said(tmp_path):
    recorder = record(tmp_path, (500,))
    state = recorder.state_dict()
    part = tmp_path / "metrics" / "part-00002.parquet"
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(RunFolderError, match=r"part-00002.*truncated.*run it again"):
        read_parts(tmp_path)
    part.unlink()
    with pytest.raises(RunFolderError, match=r"part-00002.*missing.*run it again"):
        Recorder(tmp_path, runs=3).load_state_dict(state)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def fail(temporary):
        temporary.write_text("ha")
        raise OSError("disk full")

    with pytest.raises(RunFolderError, match="disk full"):
        atomically(path, fail)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_two_processes_may_write_a_file_at_a_time(tmp_path, monkeypatch):
    path = tmp_path / "table"

    def slowly(temporary):
        temporary.write_bytes(b"ha")
        with monkeypatch.context() as other:
            other.setattr(os, "getpid", lambda: 1)
            write(path, b"theirs")
        temporary.write_bytes(b"mine, whole")

    atomically(path, slowly, shared=True)
    assert path.read_bytes() == b"mine, whole" and [*tmp_path.iterdir()] == [path]


def test_all_episodes_that_end_at_a_step_are_in_the_array():
    rows = pl.DataFrame({"run": [0, 1, 1, 0], "step": [5, 5, 5, 9], "value": [1.0, 2.0, 3.0, 4.0]})
    steps, values = by_run(rows, 2)
    assert steps.tolist() == [5, 5, 9]
    np.testing.assert_equal(values, [[1, np.nan, 4], [2, 3, np.nan]])
    steps, values = by_run(rows.clear(), 2)
    assert steps.tolist() == [] and values.shape == (2, 0)

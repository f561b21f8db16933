from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from neoteny.errors import RunFolderError, SettingError, UnknownNameError
from neoteny.report import load
from neoteny.report.runs.folders import RunFrame, read_folder
from neoteny.report.runs.groups import group_frames, series_of
from report import made_up


def test_folders_of_one_benchmark_make_one_group(tmp_path):
    made_up.demo(tmp_path, runs=3, bins=10)
    other = made_up.config("cbp", 3, benchmark="online-permuted-mnist-v1", scale="small")
    made_up.write(tmp_path / "mnist" / "cbp", other, made_up.metrics("cbp", 3, 5, metric="accuracy"))
    runs = load(tmp_path)
    assert [group.title for group in runs] == [
        "online-permuted-mnist-v1, small scale",
        "slowly-changing-regression-v1, paper scale",
    ]
    group = runs["slowly-changing-regression"]
    assert [one.label for one in group.series] == ["linear", "backprop", "l2", "shrink-and-perturb", "cbp"]
    assert (group.metrics, group.metric()) == (("loss",), "loss")
    assert group.measures == ("dead_units", "srank_99", "weight_magnitude", "units_replaced")
    assert not runs.problems
    with pytest.raises(UnknownNameError, match="online-permuted-mnist-v1"):
        runs["online-permuted-mnst"]
    with pytest.raises(UnknownNameError, match="loss"):
        group.metric("los")


def test_episodes_that_end_at_the_same_step_are_all_there(tmp_path):
    frame = made_up.metrics(runs=2, bins=4)
    row = frame.head(1).with_columns(metric=pl.lit("episode_reward"))
    three = pl.concat([row.with_columns(value=pl.lit(value)) for value in (3.0, 1.0, 2.0)])
    made_up.write(tmp_path, made_up.config(runs=2), pl.concat([frame, three.cast(frame.schema)]))
    found = read_folder(tmp_path).frame.filter(pl.col("metric") == "episode_reward")
    assert found["value"].to_list() == [3.0, 1.0, 2.0]


def test_a_run_folder_itself_and_another_scale(tmp_path):
    frame = made_up.metrics(runs=2, bins=4)
    made_up.write(tmp_path / "a", made_up.config(runs=2), frame)
    made_up.write(tmp_path / "b", made_up.config(runs=2, scale="tiny"), frame)
    assert len(load(tmp_path / "a")) == 1
    assert [group.scale for group in load(tmp_path)] == ["paper", "tiny"]


def test_a_grid_falls_apart_into_readable_series(tmp_path):
    varied = {"cbp.replacement_rate": [1e-5, 1e-4, "1e-3"] * 2}
    settings = made_up.config("cbp", 6, varied=varied, seeds=[7, 7, 7, 8, 8, 8])
    made_up.write(tmp_path, settings, made_up.metrics("cbp", 6, 5))
    (group,) = load(tmp_path)
    assert [one.label for one in group.series] == [
        "cbp replacement_rate=1e-05",
        "cbp replacement_rate=0.0001",
        "cbp replacement_rate=0.001",
    ]
    whole = pl.read_parquet(tmp_path / "metrics.parquet")
    for place, one in enumerate(group.series):
        assert one.seeds == (7, 8)
        values = one.curve("loss").values
        for run, row in enumerate((place, place + 3)):
            mine = whole.filter((pl.col("run") == row) & (pl.col("metric") == "loss"))["value"]
            np.testing.assert_array_equal(values[run], mine.to_numpy())


def test_two_varied_settings_and_names_that_clash():
    varied = {"optimizer.learning_rate": [0.1, 0.1, 0.2, 0.2], "schedule.learning_rate": [1, 2, 1, 2]}
    (group,) = group_frames([RunFrame(made_up.config(runs=4, varied=varied), made_up.metrics(runs=4, bins=2))])
    assert group.series[0].label == "backprop optimizer.learning_rate=0.1, schedule.learning_rate=1"
    assert len(group.series) == 4


def test_folders_that_differ_in_a_setting_say_so_and_seeds_are_pooled(tmp_path):
    for name, rate, seed in (("a", 0.01, 0), ("b", 0.01, 2), ("c", 0.001, 0)):
        settings = made_up.config(runs=2, seed=seed, optimizer={"name": "sgd", "learning_rate": rate})
        made_up.write(tmp_path / name, settings, made_up.metrics(runs=2, bins=4, seed=seed))
    (group,) = load(tmp_path)
    assert [(one.label, one.seeds) for one in group.series] == [
        ("backprop learning_rate=0.001", (0, 1)),
        ("backprop learning_rate=0.01", (0, 1, 2, 3)),
    ]
    assert len(group.series[1].sources) == 2
    assert np.isfinite(group.series[1].curve("loss").values).all()


def test_the_same_run_twice_is_told_apart_by_its_folder(tmp_path):
    for name in ("monday", "tuesday"):
        made_up.write(tmp_path / name, made_up.config(), made_up.metrics(bins=3))
    (group,) = load(tmp_path)
    assert [one.label for one in group.series] == ["backprop (monday)", "backprop (tuesday)"]


def test_runs_that_ended_early_leave_gaps():
    frame = made_up.metrics(runs=3, bins=6, ended={1: 4})
    (group,) = group_frames([RunFrame(made_up.config(seed=10), frame)])
    (one,) = group.series
    assert one.ended == [(11, 100_000)]
    assert np.isnan(one.curve("loss").values).sum(axis=1).tolist() == [0, 2, 0]


def test_binned_anew():
    frame = made_up.metrics(runs=3, bins=7, ended={1: 3})
    (group,) = group_frames([RunFrame(made_up.config(), frame)])
    fine = group.series[0].curve("loss")
    coarse = group.series[0].curve("loss", bin_size=40_000)
    assert coarse.steps.tolist() == [40_000, 80_000, 120_000]  # the seventh bin is no pair
    assert coarse.bin_size == 40_000
    np.testing.assert_allclose(coarse.values[0], fine.values[0, :6].reshape(3, 2).mean(axis=1))
    assert np.isnan(coarse.values[1]).tolist() == [False, True, True]  # no half bins
    with pytest.raises(SettingError, match=r"30000.*multiple, such as 40000"):
        group.series[0].curve("loss", bin_size=30_000)


def test_a_run_still_going_is_read_from_its_parts(tmp_path):
    frame = made_up.metrics(bins=10)
    made_up.write(tmp_path, made_up.config(), None, provenance=False)
    (tmp_path / "metrics").mkdir()
    frame.filter(pl.col("step") <= 100_000).write_parquet(tmp_path / "metrics" / "part-00000.parquet")
    # After a resume the next part repeats a bin: it counts once, as it was recorded last.
    again = frame.filter(pl.col("step") >= 100_000).with_columns(pl.col("value") + 1)
    again.write_parquet(tmp_path / "metrics" / "part-00001.parquet")
    (tmp_path / "metrics" / "part-00002.parquet").write_bytes(b"PAR1 and then the power failed")
    read = read_folder(tmp_path)
    assert read.frame.height == frame.height
    last = read.frame.filter(pl.col("step") == 100_000)["value"].to_numpy()
    np.testing.assert_allclose(last, frame.filter(pl.col("step") == 100_000)["value"].to_numpy() + 1)
    said = "\n".join(read.notes)
    assert "part-00002.parquet" in said and "not finished: 2 parts, up to example 200,000" in said
    assert "provenance" in said


def test_how_far_agents_are_is_said_in_steps(tmp_path):
    made = made_up.agents(bins=2)
    made_up.write(tmp_path, made.config, None)
    (tmp_path / "metrics").mkdir()
    made.frame.write_parquet(tmp_path / "metrics" / "part-00000.parquet")
    assert read_folder(tmp_path).notes[0] == "not finished: 1 part, up to step 40,960"


def test_parts_stand_in_for_a_truncated_file(tmp_path):
    frame = made_up.metrics(bins=4)
    made_up.write(tmp_path, made_up.config(), frame)
    whole = (tmp_path / "metrics.parquet").read_bytes()
    (tmp_path / "metrics.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunFolderError, match=r"metrics\.parquet.*truncated.*neoteny resume"):
        read_folder(tmp_path)
    (tmp_path / "metrics").mkdir()
    frame.write_parquet(tmp_path / "metrics" / "part-0.parquet")
    read = read_folder(tmp_path)
    assert read.frame.equals(frame)
    assert "truncated" in read.notes[0]


@pytest.mark.parametrize(
    ("config", "cause"),
    [
        ("{", "cannot be read"),
        ("- a list", "not a mapping"),
        ("benchmark: b", "lacks method, runs"),
        ("", "not a mapping"),
        ("{benchmark: b, method: m, runs: 2, schema: 9}", "schema 9"),
        ("{benchmark: b, method: m, runs: 0}", "runs: 0"),
        ("{benchmark: b, method: m, runs: 2, seeds: [1]}", "seeds for each of its 2 runs"),
        ("{benchmark: b, method: m, runs: 2, varied: {l2.strength: 3}}", r"l2\.strength for each"),
    ],
)
def test_configurations_that_cannot_be_used(tmp_path, config, cause):
    made_up.write(tmp_path, made_up.config(), made_up.metrics(bins=2))
    (tmp_path / "config.yaml").write_text(config)
    with pytest.raises(RunFolderError, match=cause) as caught:
        read_folder(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_metrics_that_cannot_be_used(tmp_path):
    made_up.write(tmp_path, made_up.config(), None)
    with pytest.raises(RunFolderError, match="not recorded anything yet"):
        read_folder(tmp_path)
    made_up.metrics(bins=2).drop("layer").write_parquet(tmp_path / "metrics.parquet")
    with pytest.raises(RunFolderError, match="lacks the column layer"):
        read_folder(tmp_path)
    made_up.metrics(bins=0).write_parquet(tmp_path / "metrics.parquet")
    with pytest.raises(RunFolderError, match="no rows"):
        read_folder(tmp_path)


def test_a_bad_folder_does_not_stand_in_the_way_of_the_others(tmp_path):
    made_up.demo(tmp_path, runs=2, bins=3)
    made_up.write(tmp_path / "half", made_up.config(), None)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "config.yaml").write_text("nonsense")
    runs = load(tmp_path)
    assert len(runs[0].series) == 5
    assert [str(tmp_path / "half") in str(problem) for problem in runs.problems] == [True]


def test_nothing_to_read(tmp_path):
    with pytest.raises(RunFolderError, match="holds no run folder"):
        load(tmp_path)
    with pytest.raises(RunFolderError, match="not a directory"):
        load(tmp_path / "nowhere")
    made_up.write(tmp_path / "half", made_up.config(), None)
    with pytest.raises(RunFolderError, match="not recorded anything yet"):
        load(tmp_path)


def test_provenance_that_cannot_be_read_is_said(tmp_path):
    made_up.write(tmp_path, made_up.config(), made_up.metrics(bins=2))
    assert read_folder(tmp_path).provenance["seconds"] == 83.4
    (tmp_path / "provenance.json").write_text(json.dumps({"a": 1})[:-2])
    assert "provenance.json cannot be read" in read_folder(tmp_path).notes[0]


def test_what_follows_from_the_settings_is_not_said_twice():
    frames = [
        RunFrame(
            made_up.config(settings={"step_size": rate}, optimizer={"step_size": rate}), made_up.metrics(bins=2, seed=i)
        )
        for i, rate in enumerate((0.01, 0.001))
    ]
    (group,) = group_frames(frames)
    assert [one.label for one in group.series] == ["backprop step_size=0.001", "backprop step_size=0.01"]


def test_folders_of_one_system_are_one_series(tmp_path):
    for name, system, seed in (("a", "cbp", 0), ("b", "cbp", 3), ("c", "l2", 0)):
        made_up.write(tmp_path / name, made_up.config(system, seed=seed), made_up.metrics(system))
    joined = series_of([tmp_path / "a", tmp_path / "b"])
    assert (joined.seeds, joined.curve("loss").values.shape[0]) == ((0, 1, 2, 3, 4, 5), 6)
    with pytest.raises(RunFolderError, match="they hold l2, cbp"):
        series_of([tmp_path / "a", tmp_path / "c"])


def test_labels_name_only_what_most_of_a_system_do_not_have(tmp_path):
    own = made_up.config()["settings"]
    for place, changes in enumerate(({}, {"width": 30}, {"bin_size": 10_000, "task_length": 50})):
        settings = own | {"width": 100} | changes
        made_up.write(tmp_path / str(place), made_up.config(settings=settings), made_up.metrics(bins=2))
    made_up.write(tmp_path / "cbp", made_up.config("cbp"), made_up.metrics("cbp", bins=2))
    labels = [one.label for one in load(tmp_path)[0].series]
    assert labels == ["backprop", "backprop task_length=50", "backprop width=30", "cbp"]

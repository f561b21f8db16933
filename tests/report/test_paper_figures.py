from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from neoteny.cli.options import parse
from neoteny.errors import RunFolderError, SettingError, UnknownNameError
from neoteny.lab.resolving import resolve_all
from neoteny.report import load
from neoteny.report.figures.curves import AXES, last_step
from neoteny.report.figures.paper import _bin, _curve, _drawn, draw
from neoteny.report.papers import figure, figures
from neoteny.report.papers.commands import commands
from neoteny.report.papers.condition import Condition, vary
from neoteny.report.papers.selection import select
from neoteny.report.runs.folders import RunFrame
from neoteny.report.runs.groups import Runs, group_frames
from neoteny.report.runs.series import curve_of
from neoteny.report.statistics.intervals import mean_interval
from report import made_up
from report.test_figures import check_text, words


def said(drawn) -> str:
    return " ".join(text.get_text() for text in words(drawn))


AT_PAPER_SCALE = ("nature-1b", "nature-2b", "nature-2d", "mnist-width", "regression-activations")


ALL = [*((name, "small") for name in figures()), *((name, "paper") for name in AT_PAPER_SCALE)]


@pytest.mark.parametrize(("name", "scale"), ALL)
def test_every_figure_draws_from_runs_of_its_lines(tmp_path: Path, name: str, scale: str):
    wanted = figures()[name]
    made_up.paper_runs(tmp_path, wanted, scale, runs=3, tasks=20)
    drawn = draw(wanted, load(tmp_path))
    check_text(drawn)
    text = said(drawn)
    for line in wanted.conditions_at(scale):
        assert line.label in text
    assert f"{scale} scale" in text
    assert "n = 3" in text
    assert {"se": "±1 standard error", "bca": "95% BCa bootstrap interval"}[wanted.interval] in text
    assert ("Not in the paper." in text) == (not wanted.source)
    assert "Not run yet" not in text
    if not wanted.panels:
        assert any(words in text for words in ("bins of", "a point every", "measured every"))
        assert drawn.axes[0].get_xlabel() == AXES[wanted.axis]
    assert ("at its own scale" in text) <= (scale == "small")


def test_values_from_beyond_the_figures_length_are_told_where_they_have_no_place(tmp_path: Path):
    wanted = replace(figure("nature-1b"), published={"linear": {1_000: 0.7, 3_000: 0.69}})
    made_up.paper_runs(tmp_path, wanted, "small", runs=3, tasks=20)
    drawn = draw(wanted, load(tmp_path))
    diamonds = [line.get_xdata()[0] for line in drawn.axes[0].lines if line.get_marker() == "D"]
    assert diamonds == [10.0]
    assert "outside these axes: linear 69% after 3 k tasks" in said(drawn)


def test_bins_are_of_50_tasks_and_bands_are_standard_errors(tmp_path: Path):
    wanted = figure("nature-1b")
    made_up.paper_runs(tmp_path, wanted, "paper", runs=5, tasks=2_000)
    runs = load(tmp_path)
    drawn = draw(wanted, runs)
    (group,) = runs
    one = next(one for one in group.series if one.system == "linear")
    rows = one.frame.filter(metric="test_accuracy").sort("run", "task")
    table = rows["value"].to_numpy().reshape(5, 2_000).reshape(5, 40, 50).mean(axis=2)
    line = next(line for line in drawn.axes[0].lines if np.allclose(line.get_ydata(), table.mean(axis=0)[:40].tolist()
                if len(line.get_ydata()) == 40 else np.nan))  # fmt: skip
    assert line.get_xdata().tolist() == list(range(50, 2_001, 50))
    error = table.std(axis=0, ddof=1) / np.sqrt(5)
    band = mean_interval(table, kind="se")
    np.testing.assert_allclose(band.high - band.mean, error)
    edges = [collection.get_paths()[0].vertices for collection in drawn.axes[0].collections]
    assert any(np.isclose(edge[:, 1], table.mean(axis=0)[7] + error[7]).any() for edge in edges)
    assert "bins of 50 tasks" in said(drawn)
    assert "read off its figure." in said(drawn)


@pytest.mark.parametrize(("tasks", "size"), [(5_000, 50), (1_000, 50), (300, 10), (60, 2), (10, 1)])
def test_shorter_runs_have_smaller_bins(tmp_path: Path, tasks: int, size: int):
    wanted = figure("nature-1b")
    made_up.paper_runs(tmp_path, wanted, "small", wanted.conditions_at("small")[-1:], runs=2, tasks=tasks)
    series, selection = _drawn(wanted, load(tmp_path), "small")
    curves = [_curve(wanted, one, selection) for one in series]
    assert last_step(curves) == tasks
    assert _bin(wanted, curves) == size


def test_a_difference_is_taken_between_runs_of_one_seed(tmp_path: Path):
    wanted = figure("nature-2b")
    base, retrained = Condition("backprop", "backprop"), Condition("retrained", "retrained")
    made_up.paper_runs(tmp_path, wanted, "small", [base, retrained], runs=4, tasks=5, classes_per_increment=5)
    (group,) = load(tmp_path)
    # the reference has the seeds in another order, and one of them not at all
    reference = next(one for one in group.series if one.system == "retrained")
    for source in reference.sources:
        made_up.write(source.path, {**source.config, "seeds": [3, 1, 9, 0]}, source.frame)
    runs = load(tmp_path)
    series, selection = _drawn(wanted, runs, "small")
    assert [one.seeds for one in series] == [(0, 1, 3)]
    curve = _curve(wanted, series[0], selection)
    (group,) = runs
    table = {
        one.system: one.frame.filter(metric="test_accuracy").sort("run", "task")["value"].to_numpy().reshape(4, 5)
        for one in group.series
    }
    expected = 100 * (table["backprop"][[0, 1, 3]] - table["retrained"][[3, 1, 0]])
    np.testing.assert_allclose(curve.values, expected)
    assert curve.steps.tolist() == [5, 10, 15, 20, 25]
    text = said(draw(wanted, runs))
    assert "n = 3" in text
    assert "that of retrained" in text
    assert "Not run yet: head-reset, shrink-and-perturb, cbp." in text


def test_without_the_reference_there_is_no_difference(tmp_path: Path):
    wanted = figure("nature-2b")
    made_up.paper_runs(tmp_path, wanted, "small", [Condition("backprop", "backprop")], runs=2, tasks=5)
    with pytest.raises(RunFolderError, match=r"nature-2b.*\n  neoteny run incremental-cifar100 .*retrained"):
        draw(wanted, load(tmp_path))


def test_missing_lines_are_named_and_nothing_at_all_is_an_error_with_the_commands(tmp_path: Path):
    wanted = figure("nature-1c")
    with pytest.raises(RunFolderError) as told:
        draw(wanted, Runs(()), out=Path("there"))
    assert str(told.value).splitlines()[1:] == [
        "  neoteny run continual-imagenet --scale small --runs 5 --method backprop,linear,l2,shrink-and-perturb,cbp "
        "--out there --resume"
    ]
    made_up.paper_runs(
        tmp_path, wanted, "small", [Condition("cbp", "cbp"), Condition("linear", "linear")], runs=2, tasks=10
    )
    text = said(draw(wanted, load(tmp_path)))
    assert "Not run yet: backprop, l2, shrink-and-perturb." in text
    with pytest.raises(UnknownNameError, match="small"):
        draw(wanted, load(tmp_path), "smal")
    with pytest.raises(UnknownNameError, match="nature-1c"):
        figure("nature-1d")


def test_of_several_scales_one_is_drawn(tmp_path: Path):
    wanted = figure("nature-1c")
    made_up.paper_runs(tmp_path, wanted, "small", runs=2, tasks=10)
    made_up.paper_runs(tmp_path, wanted, "paper", [Condition("cbp", "cbp")], runs=2, tasks=10)
    runs = load(tmp_path)
    assert "small scale" in said(draw(wanted, runs))
    assert "paper scale" in said(draw(wanted, runs, "paper"))
    assert runs.newest("continual-imagenet", "tiny") is None


def frames(*systems: str, **settings) -> list[RunFrame]:
    configs = resolve_all("slowly-changing-regression", systems, runs=2, scale="small", **settings)
    return [RunFrame(config.to_dict(), made_up.metrics(config.method, config.runs, 4)) for config in configs]


def test_a_run_with_other_settings_is_not_a_lines():
    plain, relu, cbp = (
        Condition("backprop", "backprop"),
        Condition("tanh", "backprop", {"activation": "tanh"}),
        Condition("cbp", "cbp"),
    )
    (group,) = group_frames([*frames("backprop"), *frames("backprop", settings={"activation": "tanh"})])
    chosen = select(group, [plain, relu, cbp])
    assert [chosen.found[line].label for line in (plain, relu)] == ["backprop", "tanh"]
    assert chosen.missing == (cbp,)
    assert chosen.found[plain].sources[0].config["settings"]["activation"] == "relu"
    (group,) = group_frames([*frames("backprop", settings={"hidden": 9}), *frames("cbp")])
    assert select(group, [plain, cbp]).missing == (plain,)


def test_what_a_whole_comparison_has_changed_is_its_common_ground():
    lines = [Condition("backprop", "backprop"), Condition("cbp", "cbp")]
    (group,) = group_frames(frames("backprop", "cbp", settings={"hidden": 9, "tasks": 4}))
    chosen = select(group, lines)
    assert (len(chosen.found), chosen.changed) == (2, {"hidden": 9})  # a length is no difference


def test_a_grid_falls_apart_into_lines():
    lines = vary("cbp", "cbp.replacement_rate", (1e-4, 1e-5, 1e-6), "cbp {}")
    (group,) = group_frames(frames("cbp", grid={"cbp.replacement_rate": [1e-5, 1e-4, 1e-3]}))
    chosen = select(group, lines)
    assert [chosen.found[line].settings["cbp.replacement_rate"] for line in lines[:2]] == [1e-4, 1e-5]
    assert chosen.missing == lines[2:]
    # the grid's folder is there: what it lacks is run by itself
    (command,) = commands("slowly-changing-regression", "small", 2, chosen.missing, lines)
    assert command.endswith("--method cbp --cbp.replacement-rate 1e-06 --resume")
    (command,) = commands("slowly-changing-regression", "small", 2, lines, lines)
    assert "--grid cbp.replacement_rate=0.0001,1e-05,1e-06" in command


def test_the_last_and_the_mean_layer(tmp_path: Path):
    wanted = figure("nature-2d")
    made_up.paper_runs(tmp_path, wanted, "small", runs=2, tasks=3, classes_per_increment=5)
    one = load(tmp_path)[0].series[0]
    last = curve_of(one, "srank_99", "last", "classes")
    np.testing.assert_array_equal(last.values, one.by_task("srank_99", "layer10").values)
    assert last.steps.tolist() == [5, 10, 15]
    layers = [one.curve("srank_99", layer).values for layer in one.layers("srank_99")]
    np.testing.assert_allclose(curve_of(one, "srank_99", "mean").values, np.mean(layers, axis=0))
    assert not len(curve_of(one, "loss").steps)


def test_by_task_has_no_value_for_the_task_in_which_a_run_ended():
    frame = made_up.metrics(runs=2, bins=6, bin_size=10, task_length=30, ended={1: 4})
    one = group_frames([RunFrame(made_up.config(runs=2), frame)])[0].series[0]
    for metric, layer in (("loss", ""), ("dead_units", "layer1")):
        values = one.by_task(metric, layer).values
        assert np.isfinite(values).tolist() == [[True, True], [True, False]]


def test_by_task_takes_means_of_training_and_the_last_of_all_else():
    config = made_up.config(runs=1)
    frame = made_up.metrics(runs=1, bins=6, bin_size=5_000, metric="accuracy")
    (group,) = group_frames([RunFrame(config, frame)])
    one = group.series[0]
    values = one.curve("accuracy").values[0]
    np.testing.assert_allclose(one.by_task("accuracy").values[0], values.reshape(3, 2).mean(axis=1))
    dead = one.curve("dead_units", "layer1").values[0]
    np.testing.assert_allclose(one.by_task("dead_units", "layer1").values[0], dead[1::2])


@pytest.mark.parametrize(("name", "scale"), ALL)
def test_the_commands_make_the_runs_of_the_figure(name: str, scale: str):
    wanted = figures()[name]
    frames = []
    for command in wanted.commands(scale):
        _, _, benchmark, *options = shlex.split(command)
        request = parse(benchmark, options)
        frames += [
            RunFrame(config.to_dict(), made_up.metrics(config.method, config.runs, 2))
            for config in resolve_all(
                request.benchmark, request.systems, runs=request.running.runs, scale=request.running.scale,
                settings=request.settings, methods=request.methods, grid=request.grid,
            )
        ]  # fmt: skip
    chosen = wanted.select(group_frames(frames)[0], scale)
    assert (chosen.missing, dict(chosen.changed)) == ((), {})
    runs = wanted.runs if scale == "paper" else wanted.fewer
    assert {one.runs for one in chosen.found.values()} == {runs}


def test_bad_suffix(tmp_path: Path):
    from neoteny.cli.figure import main

    with pytest.raises(SettingError, match=r"\.pdf"):
        main(["nature-1b", "--out", "figure.gif"])

"""Runs beside fresh networks: their difference by NumPy, the comparison that claims take, circles and sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import ttest_1samp

from neoteny.errors import RunFolderError
from neoteny.lab.recorder import COLUMNS, SORT
from neoteny.report import build, learning_curves, load
from neoteny.report.claims.criteria import Claim, Falls, FallsMore, Keeps, Loses
from neoteny.report.claims.look import Look
from neoteny.report.claims.page import markdown
from neoteny.report.figures.paper import draw
from neoteny.report.page.sentences import against_fresh
from neoteny.report.papers import figure, find
from neoteny.report.papers.judging import judge
from neoteny.report.papers.records import PaperFigure
from neoteny.report.runs.folders import RunFrame
from neoteny.report.runs.groups import Group, group_frames
from neoteny.report.runs.series import Series
from neoteny.report.statistics.plasticity import has_fresh, loss_of_plasticity
from report import made_up
from report.test_figures import check_text, words
from report.test_html import boards, read

TASKS = 40
RUNS = 4


def beside(
    own: np.ndarray, fresh: np.ndarray, metric: str = "accuracy", tasks: Sequence[int] | None = None
) -> pl.DataFrame:
    """Rows of `[runs, tasks]` values of runs and of fresh networks, a task of 1,000 examples."""
    places = np.linspace(0, TASKS - 1, own.shape[1]).round().astype(int) if tasks is None else tasks
    rows = [
        (run, 1000 * (int(task) + 1), int(task), f"{whose}_{metric}", "", float(values[run, place]))
        for whose, values in (("task", own), ("fresh", fresh))
        for place, task in enumerate(places)
        for run in range(len(own))
    ]
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")


def series(
    rise: float, own: np.ndarray | None = None, fresh: np.ndarray | None = None, metric: str = "accuracy"
) -> Series:
    """Runs whose metric changes by `rise` from first to last; with fresh networks where these are given."""
    rows = [
        (run, 1000 * (task + 1), task, metric, "", 0.7 + rise * task / TASKS + 0.001 * run)
        for run in range(RUNS)
        for task in range(TASKS)
    ]
    frame = pl.DataFrame(rows, schema=COLUMNS, orient="row")
    if own is not None and fresh is not None:
        frame = pl.concat([frame, beside(own, fresh, metric)])
    config = made_up.config("backprop", RUNS, settings={"task_length": 1000})
    return group_frames([RunFrame(config, frame.sort(SORT))])[0].series[0]


RNG = np.random.default_rng(0)
FRESH = 0.9 + 0.01 * RNG.normal(size=(RUNS, 21))
BEHIND = FRESH - 0.1 - 0.005 * RNG.normal(size=FRESH.shape)
LEVEL = FRESH + 0.001 * RNG.normal(size=FRESH.shape)


@pytest.mark.parametrize(("metric", "sign"), [("accuracy", 1), ("test_accuracy", 1), ("loss", -1)])
def test_it_is_the_mean_difference_at_late_tasks_run_by_run(metric: str, sign: int):
    one = series(0.0, BEHIND, FRESH, metric)
    assert has_fresh(one, metric)
    found = loss_of_plasticity(one, metric)
    expected = sign * (FRESH - BEHIND)[:, -2:].mean(axis=1)  # beyond step 36,000
    assert sorted(set(one.frame.filter(pl.col("metric") == f"fresh_{metric}")["step"]))[-3:] == [36_000, 38_000, 40_000]
    np.testing.assert_allclose(found.values, expected)
    low, high = ttest_1samp(expected, 0).confidence_interval()
    np.testing.assert_allclose((found.interval().low, found.interval().high), (low, high))
    for axis in ("examples", "tasks"):
        late = loss_of_plasticity(one, metric, (0.5, 1.0), axis)
        np.testing.assert_allclose(late.values, sign * (FRESH - BEHIND)[:, -11:].mean(axis=1))


def test_of_few_tasks_the_nearest_one_is_late():
    rows = beside(BEHIND[:, :2], FRESH[:, :2], tasks=(0, 30))
    frame = pl.concat([series(0.0).frame, rows]).sort(SORT)
    one = group_frames([RunFrame(made_up.config("backprop", RUNS), frame)])[0].series[0]
    np.testing.assert_allclose(loss_of_plasticity(one, "accuracy").values, (FRESH - BEHIND)[:, 1])


def test_what_was_not_recorded_or_is_not_finite():
    with pytest.raises(RunFolderError, match="no fresh networks were recorded.*--fresh-tasks 10"):
        loss_of_plasticity(series(0.0), "accuracy")
    broken = FRESH.copy()
    broken[2, -1] = np.inf  # a fresh network that diverged
    found = loss_of_plasticity(series(0.0, BEHIND, broken), "accuracy")
    assert np.isnan(found.values).tolist() == [False, False, True, False]
    assert found.mean()[1] == "3 of 4"


GAINS = 0.2  # from first to last
LOST, KEPT, BARE = series(GAINS, BEHIND, FRESH), series(GAINS, LEVEL, FRESH), series(-GAINS)


def test_claims_take_fresh_networks_where_all_their_curves_have_them():
    """Runs that gain from first to last, as they learn from scratch at first, and still lose plasticity, or keep it."""
    look = Look({"lost": LOST, "kept": KEPT, "bare": BARE}, "accuracy")
    for criterion, verdict, told in (
        (Falls("lost"), "holds", "loss of lost, last, beside fresh networks, > 0"),
        (Falls("bare"), "holds", "loss of bare, first to last, > 0"),
        (Keeps("lost", 0.01), "does not hold", "loss of lost, last, beside fresh networks, < 1 points"),
        (Keeps("kept", 0.01), "holds", "loss of kept, last, beside fresh networks, < 1 points"),
        (Loses("lost", 0.05), "holds", "loss of lost, last, beside fresh networks, > 5 points"),
        (FallsMore("lost", "kept"), "holds", "loss of lost - loss of kept, last, beside fresh networks, > 0"),
        # one curve without fresh networks: both are counted from the first tenth
        (FallsMore("lost", "bare"), "does not hold", "loss of lost - loss of bare, first to last, > 0"),
    ):
        assert criterion.judge(look).verdict == verdict, told
        assert Claim("it is so", criterion).describe(look) == told
    assert not Look({"lost": LOST}, "accuracy", layer="layer1").has_fresh(["lost"])
    assert not Look({"lost": LOST}, "loss").has_fresh(["lost"])


def test_windows_are_those_of_the_figure():
    look = Look({"lost": LOST}, "accuracy", first=(0.1, 0.4), last=(0.8, 1.0))
    told = Claim("it falls", Falls("lost")).describe(look)
    assert told == "loss of lost, last, beside fresh networks, > 0 (last: 80% to 100% of the run)"
    np.testing.assert_allclose(Falls("lost").quantity(look, "lost").values, (FRESH - BEHIND)[:, -4:].mean(axis=1))


def paper_runs(directory: Path, which: PaperFigure) -> Path:
    """The runs of a figure, which all gain; all have fresh networks, `backprop` far ahead of it."""
    made_up.paper_runs(directory, which, "small", runs=RUNS, tasks=TASKS, changes={"backprop": 0.1, "cbp": 0.1})
    for path in directory.rglob("metrics.parquet"):
        own = BEHIND if path.parent.name.endswith("backprop") else LEVEL
        frame = pl.concat([pl.read_parquet(path), beside(own, FRESH, which.metric)]).sort(SORT)
        frame.write_parquet(path)
    return directory


def test_the_ledger_says_which_comparison_it_is(tmp_path: Path):
    which = figure("nature-1c")
    entries = judge(load(paper_runs(tmp_path, which)), find("nature"))
    kept = next(one for one in entries if one.claim == "Continual backpropagation does not fall")
    assert kept.criterion == "test_accuracy: loss of cbp, last, beside fresh networks, < 1 points"
    assert kept.outcome.verdict == "holds"
    page = markdown(entries)
    assert "*Last, beside fresh networks*" in page and "*First to last*" in page
    assert "loss of cbp, last, beside fresh networks, < 1 points" in page


def test_figures_have_a_circle_at_each_task(tmp_path: Path):
    which = figure("nature-1c")
    runs = load(paper_runs(tmp_path, which))
    for drawn in (draw(which, runs), learning_curves(runs[0])):
        check_text(drawn)
        (axes,) = drawn.axes
        circles = [line for line in axes.lines if line.get_marker() == "o" and line.get_linestyle() == "None"]
        assert len(circles) == len(runs[0].series)
        for line in circles:
            shown = np.asarray(line.get_ydata())
            np.testing.assert_allclose(shown, FRESH.mean(axis=0))
            assert axes.get_ylim()[0] <= shown.min() and shown.max() <= axes.get_ylim()[1]
        assert "Circles: networks that begin anew" in " ".join(one.get_text() for one in words(drawn))
    steps = np.asarray(circles[0].get_xdata())
    assert (steps[0], steps[-1]) == (1_000, 40_000)
    assert "test_accuracy" in runs[0].metrics
    assert not any(name.startswith(("fresh_", "task_")) for name in (*runs[0].metrics, *runs[0].measures))
    assert learning_curves(runs[0], "fresh_test_accuracy")  # they can be drawn by name


def test_curves_without_fresh_networks_are_drawn_as_before(tmp_path: Path):
    made_up.demo(tmp_path, runs=2, bins=5)
    drawn = learning_curves(load(tmp_path)[0])
    assert not any(line.get_marker() == "o" for line in drawn.axes[0].lines)
    assert "Circles" not in " ".join(one.get_text() for one in words(drawn))
    assert against_fresh(load(tmp_path)[0], "loss") == []


def test_the_page_says_who_lost_and_draws_circles(tmp_path: Path):
    which = figure("nature-1c")
    path = build(paper_runs(tmp_path, which))
    group = load(tmp_path)[0]
    said = {one.partition(":")[0]: one for one in against_fresh(group, "test_accuracy")}
    low, high = ttest_1samp(100 * (FRESH - BEHIND)[:, -2:].mean(axis=1), 0).confidence_interval()
    assert "behind that of networks that begin anew there; its past costs it" in said["backprop"]
    assert f"{low:+.2f} to {high:+.2f}" in said["backprop"] or f"{low:+.1f} to {high:+.1f}" in said["backprop"]
    assert "which is better cannot be told" in said["cbp"]
    page = read(path).text
    assert said["backprop"] in page and "Circles: networks that begin anew" in page
    (board,) = boards(path)
    (shown,) = [one for one in board["charts"] if one["words"] == "test accuracy"]
    for line in shown["lines"]:
        assert line["fresh"]["x"][-1] == 40_000
        np.testing.assert_allclose(line["fresh"]["mean"], FRESH.mean(axis=0), rtol=1e-4)


def test_of_many_systems_those_are_named_that_lose_most_and_the_one_that_loses_least():
    losses = {"a": 0.1, "b": 0.3, "c": -0.2, "d": 0.2, "e": 0.0, "f": 0.05}
    noise = np.array([-0.01, 0.01, 0.01, -0.01])[:, None]  # of the runs: sums to 0, so that "e" is level
    systems = [replace(series(0.0, FRESH - lost + noise, FRESH), label=name) for name, lost in losses.items()]
    said = against_fresh(Group("b-v1", "small", tuple(systems)), "accuracy")
    assert said[0].startswith(
        "Of 6 systems 4 are behind networks that begin anew at their last tasks, 1 ahead of them, and of 1 neither"
    )
    assert [one.partition(":")[0] for one in said[1:]] == ["b", "d", "a", "c"]

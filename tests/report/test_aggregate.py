"""Agents over several tasks: the four ways to sum up, areas, the table, marks of resets, the papers' claims."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from neoteny.errors import SettingError
from neoteny.lab.recorder import COLUMNS
from neoteny.report import learning_curves, load
from neoteny.report.figures.paper import draw
from neoteny.report.papers.judging import judge
from neoteny.report.papers.offline_to_online import OFFLINE_TO_ONLINE
from neoteny.report.papers.primacy_bias import (
    CURED,
    PRIMACY_BIAS,
    PRIMED,
    PUBLISHED_IQM,
    PUBLISHED_RETURNS,
    PUBLISHED_ROWS,
    SAC,
)
from neoteny.report.runs.folders import RunFrame
from neoteny.report.runs.groups import group_frames
from neoteny.report.statistics.agents_table import agents_table
from neoteny.report.statistics.aggregate import aggregate, area
from report import made_up
from report.test_agents import said
from report.test_figures import check_text


def test_the_ways_to_sum_up_are_their_definitions():
    rng = np.random.default_rng(0)
    tasks = [rng.gamma(2.0, 0.4, size) for size in (7, 5, 6)]
    made = aggregate(tasks, target=1.0, resamples=500)
    everything = sorted(score for task in tasks for score in task)
    cut = len(everything) // 4
    expected = {
        "IQM": sum(everything[cut:-cut]) / (len(everything) - 2 * cut),
        "median": sorted(sum(task) / len(task) for task in tasks)[1],
        "mean": sum(sum(task) / len(task) for task in tasks) / 3,
        "optimality gap": sum(sum(max(1 - x, 0) for x in task) / len(task) for task in tasks) / 3,
    }
    for name, interval in made.items():
        assert float(interval.mean) == pytest.approx(expected[name], abs=1e-12), name
        assert float(interval.low) < expected[name] < float(interval.high)
        assert int(interval.n) == 5 and interval.kind == "stratified"


def test_intervals_draw_runs_anew_within_each_task():
    # Without stratification runs of one task would take the other's place, and the mean would vary.
    made = aggregate([[1.0, 1.0, 1.0], [3.0, 3.0, 3.0, 3.0]], resamples=200)
    assert float(made["mean"].low) == float(made["mean"].high) == 2.0
    tasks = [np.array([0.0, 1.0, 2.0, 5.0]), np.array([1.0, 1.5, 4.0])]
    rng = np.random.default_rng(1)
    means = [np.mean([rng.choice(task, len(task)).mean() for task in tasks]) for _ in range(20_000)]
    made = aggregate(tasks, resamples=20_000)["mean"]
    np.testing.assert_allclose([made.low, made.high], np.quantile(means, [0.025, 0.975]), atol=0.06)


def test_runs_without_a_score_are_left_out_and_empty_tasks_are_refused():
    whole, holed = aggregate([[1.0, 2.0], [3.0]]), aggregate([[1.0, 2.0, math.nan], [3.0]])
    assert float(whole["IQM"].mean) == float(holed["IQM"].mean)
    for scores in ([], [[1.0], [math.nan]]):
        with pytest.raises(SettingError, match="each needs at least one"):
            aggregate(scores)


def test_the_area_is_the_mean_height():
    steps = np.array([10, 20, 40, 50])
    np.testing.assert_allclose(area(steps, 3.0 * steps), 3.0 * 30.0)
    tooth = np.array([[0.0, 10.0, 0.0, 10.0], [5.0, 5.0, np.nan, 5.0]])
    made = area(steps, tooth)
    assert made[0] == pytest.approx((5 * 10 + 5 * 20 + 5 * 10) / 40) and np.isnan(made[1])
    assert area([7], [[2.0]]).tolist() == [2.0]
    with pytest.raises(SettingError, match="rising steps"):
        area([1, 1], [0.0, 0.0])


def evaluated(system, task, returns, methods=None, **settings):
    """Runs that were evaluated after 1,000, 2,000, ... steps; returns are [runs, evaluations]."""
    rows = [
        (run, 1000 * (place + 1), 0, "evaluation_return", "", float(value))
        for run, curve in enumerate(returns)
        for place, value in enumerate(curve)
    ]
    config = made_up.config(
        system,
        len(returns),
        benchmark="slippery-ant-v1",
        scale="small",
        settings={"task": task, **settings},
        methods=methods or {},
    )
    return RunFrame(config, pl.DataFrame(rows, schema=COLUMNS, orient="row"))


def test_the_table_has_a_row_for_each_system_over_all_tasks():
    frames = [
        evaluated("backprop", "cheetah-run", [[100, 300], [200, 500]]),
        evaluated("backprop", "hopper-hop", [[0, 20], [0, 40]]),
        evaluated("full-reset", "cheetah-run", [[100, 700], [100, 900]]),
        evaluated("full-reset", "hopper-hop", [[0, 60], [0, 80]]),
    ]
    (group,) = group_frames(frames)
    published = {"backprop": 501.0, "another": 7.0}
    table = agents_table(group, published=published, source="a paper", resamples=200)
    assert [row.system for row in table.rows] == ["backprop", "full-reset", "another"]
    plain, reset, _ = table.rows
    assert (plain.tasks, plain.runs, table.step, table.metric) == (2, 2, 2000, "evaluation_return")
    assert plain.last["mean"].mean == (400 + 30) / 2 and plain.last["IQM"].mean == (40 + 300) / 2
    assert plain.last["optimality gap"].mean == 1000 - (400 + 30) / 2
    assert plain.whole.mean == pytest.approx((20 + 200) / 2)  # areas: 200, 350, 10, 20
    assert reset.last["median"].mean == (800 + 70) / 2
    text = table.markdown()
    assert "| published IQM |" in text and "| 501 |" in text and "Published: a paper." in text
    assert text.splitlines()[3].rstrip().endswith("| - |")
    assert text.splitlines()[4].startswith("| another | - |") and "| 7 |" in text
    frames[0] = evaluated("backprop", "cheetah-run", [[100, 300], [200, math.nan]])
    plain = agents_table(group_frames(frames)[0], resamples=200).markdown().splitlines()[2]
    assert plain.endswith("| 2 | 1 of 2 |")  # a run that ended early is not in the numbers
    frames[0] = evaluated("backprop", "cheetah-run", [[100, math.nan], [200, math.nan]])
    table = agents_table(group_frames(frames)[0], resamples=200)
    assert [row.system for row in table.rows] == ["full-reset"]
    assert "Without a row, since every run of a task ended early: backprop." in table.markdown()
    frames = [evaluated("backprop", "hopper-hop", [[0, 20], [0, 40]], replay_ratio=ratio) for ratio in (1.0, 32.0)]
    names = [row.system for row in agents_table(group_frames(frames)[0], resamples=200).rows]
    assert names == ["backprop, replay_ratio 1", "backprop, replay_ratio 32"]
    assert {f"{name.replace('backprop', 'full-reset')}" for name in names} <= set(PUBLISHED_ROWS)


def test_resets_and_priming_are_marked():
    curve = np.tile(np.linspace(0, 500, 40), (3, 1))
    frames = [
        evaluated("backprop", "cheetah-run", curve, reset_every=8_000),
        evaluated(
            "full-reset",
            "cheetah-run",
            curve,
            {"full-reset": {"period": None}},
            reset_every=8_000,
            priming_steps=100,
            priming_updates=5_000,
        ),
    ]
    (group,) = group_frames(frames)
    assert group.metrics == ("evaluation_return",)
    drawn = learning_curves(group)
    check_text(drawn)
    text = said(drawn)
    assert "At the vertical lines, every 8,000 steps, resets are due: full-reset" in text
    assert "Primed after 100 steps, by 5,000 updates: full-reset" in text
    places = [line.get_xdata()[0] for line in drawn.axes[0].lines if len(set(line.get_xdata())) == 1]
    assert places[:4] == [8_000, 16_000, 24_000, 32_000]


def test_the_claims_of_priming_are_judged_at_the_end_and_over_the_whole_run(tmp_path: Path):
    figure = PRIMACY_BIAS.figures[0]
    made_up.paper_runs(tmp_path, figure, "small", runs=5, tasks=30, changes={SAC: 0.5, PRIMED: 0.0, CURED: 0.4})
    runs = load(tmp_path)
    verdicts = {one.claim: one.outcome.verdict for one in judge(runs, [PRIMACY_BIAS]) if one.figure == figure.name}
    assert len(verdicts) == 5 and set(verdicts.values()) == {"holds"}
    assert "Resets cure a primed SAC, over the whole run" in verdicts
    text = said(draw(figure, runs))
    assert all(label in text for label in (SAC, PRIMED, CURED))


def test_published_values_are_the_tables():
    columns = np.array(list(PUBLISHED_RETURNS.values()), dtype=float)
    assert columns.shape == (10, 4) and list(PUBLISHED_IQM.values())[3] == (652, 662)
    for figure in PRIMACY_BIAS.figures[1:]:
        assert {condition.label for condition in figure.conditions} == set(figure.published)
    claims = [
        claim.text for paper in (PRIMACY_BIAS, OFFLINE_TO_ONLINE) for one in paper.figures for claim in one.claims
    ]
    assert len(set(claims)) == len(claims)

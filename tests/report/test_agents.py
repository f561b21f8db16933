"""Runs of agents: steps instead of examples, returns as what counts, episodes that are no curves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from neoteny.errors import UnknownNameError
from neoteny.report import build, final_table, learning_curves, load, measures
from neoteny.report.claims.criteria import Claim, Falls
from neoteny.report.claims.look import Look
from neoteny.report.claims.page import markdown
from neoteny.report.figures.curves import _limits
from neoteny.report.figures.paper import draw
from neoteny.report.papers import figure, find
from neoteny.report.papers.judging import judge
from neoteny.report.runs.curve import Curve, rebin
from neoteny.report.runs.folders import RunFrame
from neoteny.report.runs.groups import Group, group_frames
from neoteny.report.runs.series import Series, curve_of
from neoteny.report.statistics.intervals import mean_interval
from report import made_up
from report.test_figures import check_text, words

STANDARD = "standard PPO"


@pytest.fixture(scope="module")
def group() -> Group:
    (made,) = group_frames([made_up.agents(name, end=end) for name, end in (("backprop", -50.0), ("cbp", 2_000.0))])
    return made


def said(drawn) -> str:
    return " ".join(text.get_text() for text in words(drawn))


def test_what_is_recorded_is_told_apart(group):
    assert group.unit == "steps"
    assert group.metrics == ("episodic_return",)
    assert group.measures == ("dormant_units", "srank_99", "weight_magnitude")
    assert group.diagnostics == (
        "loss", "policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction", "weight_change"
    )  # fmt: skip
    assert group.metric() == "episodic_return"
    assert group.metric("friction") == "friction"
    with pytest.raises(UnknownNameError, match="episodic_return"):
        group.metric("episode_reward")
    assert [one.unstable for one in group.series] == [1, 1]
    (plain,) = group_frames([RunFrame(made_up.config(), made_up.metrics())])
    assert (plain.unit, plain.metrics, plain.diagnostics) == ("examples", ("loss",), ())


def test_what_other_agents_record_of_no_layer_is_how_they_learned():
    made = made_up.agents()
    names = {"loss": "critic_loss", "policy_loss": "temperature", "value_loss": "distance_from_init"}
    (group,) = group_frames([replace(made, frame=made.frame.with_columns(pl.col("metric").replace(names)))])
    assert group.diagnostics[-2:] == ("critic_loss", "temperature")
    assert group.measures == ("distance_from_init", "dormant_units", "srank_99", "weight_magnitude")


def test_tables_count_steps(group):
    table = final_table(group)
    assert (table.metric, table.window, table.unit) == ("episodic_return", 40_960, "steps")
    assert "higher is better" in table.caption
    assert "the last 40,960 steps" in table.caption
    assert "examples" not in table.caption + table.markdown()
    assert table.frame()["steps"].unique().to_list() == [40_960]
    values = group.series[0].curve("episodic_return").values
    assert table.rows[0].last.mean == pytest.approx(values[:, -2:].mean())


def test_curves_are_over_steps_with_a_line_at_each_change(group):
    drawn = learning_curves(group)
    check_text(drawn)
    (axes,) = drawn.axes
    assert axes.get_xlabel() == "steps in the environment"
    upright = [line.get_xdata()[0] for line in axes.lines if len(set(line.get_xdata())) == 1]
    assert upright == [100_000, 200_000, 300_000, 400_000]
    assert "every 100,000 steps" in said(drawn)
    assert "bins of 20,480 steps" in said(drawn)
    assert "examples" not in said(drawn)
    panels = measures(group, group.measures)
    assert "steps in the environment" in said(panels)
    assert "measured every 102,400 steps" in said(panels)
    # hundreds of changes would be a grey area, and ground that stays as it is has none
    (often,) = group_frames([made_up.agents(task_length=2_048)])
    assert "Friction changes" not in said(learning_curves(often))
    one = made_up.agents()
    frame = one.frame.with_columns(task=pl.lit(0, one.frame["task"].dtype))
    (still,) = group_frames([replace(one, frame=frame)])  # its last iteration ends after the task
    assert "Friction changes" not in said(learning_curves(still))


def test_returns_that_fall_to_the_depths_do_not_flatten_the_others():
    level = np.linspace(0, 1_000, 20)
    bands = [mean_interval(np.stack([line, line + 5])) for line in (level, level + 50, 900.0 - level * 900)]
    low, high, lost = _limits(bands, "episodic_return")
    assert lost == [2]
    assert -2_000 < low < 0 < 1_050 < high < 2_000
    # upwards they are welcome
    bands = [mean_interval(np.stack([line, line + 5])) for line in (level / 100, level / 100, level)]
    assert _limits(bands, "episodic_return")[1:] == (pytest.approx(1_045, rel=0.1), [])


def test_a_single_fall_of_returns_does_not_squeeze_the_others():
    """One agent of five falls to -13,000 for a moment: the axis shows the rest, and the note names the line."""
    rise = np.tile(np.linspace(0, 1_000, 60), (5, 1))
    fallen = rise.copy()
    fallen[0, 50] = -13_000.0
    low, high, lost = _limits([mean_interval(rise), mean_interval(fallen)], "episodic_return")
    assert lost == [1] and -500 < low < 0 and high > 1_000


def test_losses_and_shares_have_no_axis_below_0():
    bands = [mean_interval(np.abs(np.random.default_rng(0).normal(0.01, 0.02, (4, 30))))]
    for metric in ("loss", "dead_units", "weight_magnitude"):
        assert _limits(bands, metric)[0] >= 0


def test_layers_of_the_actor(group):
    one: Series = group.series[0]
    for metric in ("dormant_units", "srank_99", "weight_magnitude"):  # of weights, those into the last hidden layer
        last = curve_of(one, metric, "actor.last", "steps")
        np.testing.assert_array_equal(last.values, one.curve(metric, "actor.layers.2").values)
    mean = curve_of(one, "dormant_units", "actor.mean", "steps")
    np.testing.assert_allclose(mean.values[0], 0.05 + 0.05 * np.array([0.25, 0.5, 0.75, 1.0]))
    np.testing.assert_array_equal(
        curve_of(one, "srank_99", "last").values, one.curve("srank_99", "critic.layers.2").values
    )


def test_a_first_look_between_two_bins_takes_none_away():
    """Agents are looked at after their first batch too."""
    curve = Curve(np.array([1, 10, 20, 30, 40, 45]), np.arange(6.0)[None], 10)
    joined = rebin(curve, 20, "x")
    assert joined.steps.tolist() == [20, 40]
    assert joined.values.tolist() == [[1.0, 3.5]]


def test_a_curve_that_may_be_missing(tmp_path: Path):
    wanted = figure("nature-3c")
    made_up.paper_runs(tmp_path, wanted, "small", runs=2)
    drawn = said(draw(wanted, load(tmp_path)))
    assert "redo" not in drawn
    redo = wanted.optional[0]
    made_up.paper_runs(tmp_path / "more", wanted, "small", [redo], runs=2)
    assert redo.label in said(draw(wanted, load(tmp_path)))
    (command,) = wanted.commands("small")
    assert command.endswith("--runs 5 --method backprop,tuned-adam,l2,cbp --resume")


def test_what_first_and_last_mean_is_the_figures_to_say(group):
    falling = group.series[0]
    claim = Claim("it falls", Falls(STANDARD))
    usual = Look({STANDARD: falling}, "episodic_return", "", "steps")
    told = replace(usual, first=(0.1, 0.4), last=(0.8, 1.0))
    # from nothing to 1,000 at three tenths, then down to -50: against the first tenth it lost little
    values = falling.curve("episodic_return").values
    (mine, _), (early, _) = (claim.criterion.effect(look) for look in (usual, told))
    assert float(mine.mean) == pytest.approx((values[:, :2].mean(1) - values[:, -2:].mean(1)).mean())
    assert float(early.mean) == pytest.approx((values[:, 2:8].mean(1) - values[:, -4:].mean(1)).mean())
    assert claim.judge(told).verdict == "holds"
    assert (
        claim.describe(told)
        == "loss of standard PPO, first to last, > 0 (first: 10% to 40%, last: 80% to 100% of the run)"
    )
    assert claim.describe(usual) == "loss of standard PPO, first to last, > 0"


def test_the_claims_about_agents(tmp_path: Path):
    for place, (system, end) in enumerate(
        (("backprop", -50.0), ("tuned-adam", 500.0), ("l2", 1_500.0), ("cbp", 2_000.0))
    ):
        made = made_up.agents(system, runs=5, end=end)
        made_up.write(tmp_path / f"{place}", made.config, made.frame)
    found = {(e.benchmark, e.claim): e for e in judge(load(tmp_path), find())}
    verdicts = {text: e.outcome.verdict for (benchmark, text), e in found.items() if benchmark == "slippery-ant"}
    for text in (
        "Standard PPO loses what it had learned",
        "With tuned Adam less is lost",
        "L2 regularisation goes on improving",
        "Continual backpropagation goes on improving",
        "Continual backpropagation ends above standard PPO",
        "Units of standard PPO become dormant",
    ):
        assert verdicts.pop(text) == "holds", text
    assert verdicts["The weights of standard PPO grow"] == "undecided"  # they are as they were
    assert found["ant", "Continual backpropagation ends above L2"].outcome.verdict == "not yet run"
    other = found["slippery-half-cheetah", "Standard PPO loses what it had learned"]
    assert other.commands == ("neoteny run slippery-half-cheetah --scale small --runs 5 --method backprop --resume",)
    page = markdown([*found.values()])
    assert "Not the paper's" in page.partition("- slippery-half-cheetah")[2]
    assert "Not the paper's" not in page.partition("- slippery-half-cheetah")[0]


def test_the_page_of_agents(tmp_path: Path):
    made = made_up.agents()
    made_up.write(tmp_path / "one", made.config, made.frame)
    page = build(tmp_path).read_text(encoding="utf-8")
    for text in (
        "409,600 steps a run", "First and last steps: episodic return", "How the agents learned",
        "1 episode ended because the simulation became unstable",
    ):  # fmt: skip
        assert text in page
    assert "episode_reward" not in page
    assert {path.name for path in (tmp_path / "figures").glob("*.csv")} == {"slippery-ant-v1-small-episodic_return.csv"}

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import nct, ttest_ind, ttest_rel
from scipy.stats import t as student

from neoteny.lab.recorder import COLUMNS, SORT
from neoteny.report import load
from neoteny.report.claims.criteria import (
    Ahead,
    Beats,
    Claim,
    Criterion,
    EndsAbove,
    EndsBelow,
    Falls,
    FallsMore,
    Grows,
    Keeps,
    Level,
    Outcome,
    Shrinks,
)
from neoteny.report.claims.look import Look
from neoteny.report.claims.page import markdown
from neoteny.report.claims.several import All
from neoteny.report.papers import figure, figures, find
from neoteny.report.papers.condition import Condition
from neoteny.report.papers.judging import judge
from neoteny.report.runs.curve import Curve
from neoteny.report.runs.folders import RunFrame
from neoteny.report.runs.groups import Runs, group_frames
from neoteny.report.runs.series import Series
from neoteny.report.statistics.intervals import mean_interval, runs_to_decide, welch_interval
from report import made_up

A, B, C = "a", "b", "c"


def series(
    first: Sequence[float], last: Sequence[float], metric: str = "accuracy", seeds: Sequence[int] | None = None
) -> Series:
    """Runs that go straight from one level to another over ten points: these are the first and the last tenth."""
    runs = len(first)
    rows = [
        (run, 100 * (point + 1), point, metric, "", first[run] + (last[run] - first[run]) * point / 9)
        for run in range(runs)
        for point in range(10)
    ]
    chosen = list(range(runs) if seeds is None else seeds)
    config = made_up.config("a", runs, seeds=chosen)
    frame = pl.DataFrame(rows, schema=COLUMNS, orient="row").sort(SORT)
    return group_frames([RunFrame(config, frame)])[0].series[0]


def judged(criterion: Criterion, metric: str = "accuracy", **found: Series) -> Outcome:
    return Claim("it is so", criterion).judge(Look(found, metric))


DOWN = series([0.90, 0.91, 0.92], [0.80, 0.82, 0.81])
UP = series([0.90, 0.91, 0.92], [0.95, 0.97, 0.96])
WILD = series([0.90, 0.91, 0.92], [0.80, 0.99, 0.92])
LEVEL = series([0.90, 0.91, 0.92], [0.901, 0.909, 0.92])
ENDED = series([0.90, 0.91, 0.92, 0.91], [0.901, 0.909, 0.92, float("nan")])


@pytest.mark.parametrize(
    ("criterion", "runs", "verdict"),
    [
        (Falls(A), {"a": DOWN}, "holds"),
        (Falls(A), {"a": UP}, "does not hold"),
        (Falls(A), {"a": WILD}, "undecided"),
        (Falls(A), {"a": series([0.9], [0.1])}, "undecided"),  # one run has no interval
        (Falls(A), {"b": UP}, "not yet run"),
        (Keeps(A, 0.01), {"a": LEVEL}, "holds"),
        (Keeps(A, 0.01), {"a": UP}, "holds"),
        (Keeps(A, 0.01), {"a": DOWN}, "does not hold"),
        (Keeps(A, 0.01), {"a": WILD}, "undecided"),
        (FallsMore(A, B), {"a": DOWN, "b": LEVEL}, "holds"),
        (FallsMore(B, A), {"a": DOWN, "b": LEVEL}, "does not hold"),
        (FallsMore(A, B), {"a": WILD, "b": LEVEL}, "undecided"),
        (FallsMore(A, B), {"a": DOWN}, "not yet run"),
        (Beats(A, B), {"a": UP, "b": DOWN}, "holds"),
        (Beats(A, B), {"a": DOWN, "b": UP}, "does not hold"),
        (Beats(A, B), {"a": LEVEL, "b": LEVEL}, "undecided"),
        (Beats(A, B, by=-0.02), {"a": LEVEL, "b": LEVEL}, "holds"),
        (Beats(A, B, window=(0.0, 0.1)), {"a": UP, "b": DOWN}, "undecided"),
        (Beats(A, B, margin=0.02), {"a": LEVEL, "b": LEVEL}, "level"),
        (Beats(A, B, margin=0.02), {"a": WILD, "b": LEVEL}, "undecided"),
        (Beats(A, B, margin=0.9), {"a": UP, "b": DOWN}, "holds"),  # a difference that is there is told
        (Beats(A, B, margin=0.9), {"a": ENDED, "b": LEVEL}, "undecided"),
        (Ahead(A, B), {"a": UP, "b": DOWN}, "holds"),
        (Ahead(A, B), {"a": LEVEL, "b": LEVEL}, "undecided"),
        (Grows(A), {"a": UP}, "holds"),
        (Grows(A), {"a": DOWN}, "does not hold"),
        (Shrinks(A), {"a": DOWN}, "holds"),
        (Shrinks(A), {"a": UP}, "does not hold"),
        (EndsAbove(A, 0.5), {"a": DOWN}, "holds"),
        (EndsAbove(A, 0.81), {"a": DOWN}, "undecided"),
        (EndsBelow(A, 0.5), {"a": DOWN}, "does not hold"),
        (EndsBelow(A, 0.9), {"a": DOWN}, "holds"),
        (Level(A, B, 0.02), {"a": LEVEL, "b": LEVEL}, "holds"),
        (Level(A, B, 0.02), {"a": UP, "b": DOWN}, "does not hold"),
        (Level(A, B, 0.02), {"a": DOWN, "b": UP}, "does not hold"),
        (Level(A, B, 0.02), {"a": WILD, "b": LEVEL}, "undecided"),
        (Level(A, B, 0.02), {"a": series([0.9], [0.9]), "b": DOWN}, "undecided"),
        (Keeps(A, 0.01), {"a": ENDED}, "undecided"),  # the others kept it
        (Beats(A, B), {"a": ENDED, "b": DOWN}, "undecided"),
        (Beats(A, B), {"a": DOWN, "b": ENDED}, "undecided"),
        (Level(A, B, 0.02), {"a": ENDED, "b": LEVEL}, "undecided"),
        (All((Falls(A), Falls(B))), {"a": DOWN, "b": DOWN}, "holds"),
        (All((Falls(A), Falls(B))), {"a": DOWN, "b": WILD}, "undecided"),
        (All((Falls(A), Falls(B), Falls(C))), {"a": UP, "b": WILD, "c": DOWN}, "does not hold"),
        (All((Falls(A), Falls(B))), {"a": DOWN}, "not yet run"),
    ],
)
def test_verdicts(criterion: Criterion, runs: dict[str, Series], verdict: str):
    assert judged(criterion, **runs).verdict == verdict
    assert criterion.describe(Look({}, "accuracy"))


def test_a_margin_in_points_is_none_for_a_loss():
    claim, level = Beats(A, B, margin=0.02), series([1.0, 1.1, 1.2], [1.0, 1.1, 1.2], "loss")
    assert judged(claim, "loss", a=level, b=level).verdict == "undecided"
    assert claim.describe(Look({}, "loss")) == "b - a, last, > 0"


def test_a_part_of_several_refuses_their_claim_only_beyond_doubt():
    """A part that fails at 95 % does not refuse a claim of twenty parts, of which one in twenty fails by chance."""
    barely = series([0.9] * 6, [0.9036, 0.9164] * 3)  # t = 3.5 with 5 degrees of freedom
    assert judged(Falls(A), a=barely).verdict == "does not hold"
    parts = All(tuple(Falls(A) for _ in range(20)))
    assert judged(parts, a=barely).verdict == "undecided"


def test_runs_of_the_scale_tiny_give_no_verdict(tmp_path: Path):
    made_up.paper_runs(tmp_path, figure("nature-1c"), "tiny", runs=5, tasks=30, changes={"cbp": 0.1})
    judgements = [one for one in judge(load(tmp_path), find()) if one.scale == "tiny"]
    assert judgements
    assert {one.outcome.verdict for one in judgements} == {"not yet run"}


def test_runs_that_would_decide_are_told():
    """With so many runs the t test has a power of 80 %, by the noncentral distribution; half of them do not do."""
    values = np.array([0.0, 1.0, 2.0, 3.0, 1.5, -0.5])
    for threshold in (0.3, 0.8, 1.0):
        n = runs_to_decide(mean_interval(values), threshold)
        apart = abs(values.mean() - threshold) / values.std(ddof=1)
        power, with_half = (
            nct.sf(student.ppf(0.975, runs - 1), runs - 1, apart * runs**0.5) for runs in (n, (n + 1) // 2)
        )
        assert 0.795 < power < 0.88
        assert with_half < 0.55
    two = welch_interval(values, values[::-1] - 0.8)  # independent runs: n on each side
    n = runs_to_decide(two, 0.0)
    noncentral = 0.8 / (values.std(ddof=1) * (2 / n) ** 0.5)
    assert 0.795 < nct.sf(student.ppf(0.975, 2 * n - 2), 2 * n - 2, noncentral) < 0.82
    outcome = judged(Falls(A), a=WILD)
    assert outcome.verdict == "undecided"
    assert outcome.enough > 3
    assert judged(Falls(A), a=DOWN).enough == 0


def test_of_a_loss_less_is_better():
    rising = series([1.0, 1.1, 1.2], [2.0, 2.2, 2.1], "loss")
    falling = series([1.0, 1.1, 1.2], [0.5, 0.6, 0.7], "loss")
    assert judged(Falls(A), "loss", a=rising).verdict == "holds"
    assert judged(Keeps(A, 0.1), "loss", a=falling).verdict == "holds"
    assert judged(Beats(A, B), "loss", a=falling, b=rising).verdict == "holds"
    assert judged(FallsMore(A, B), "loss", a=rising, b=falling).verdict == "holds"
    assert Beats(A, B).describe(Look({}, "loss")) == "b - a, last, > 0"


def test_a_longer_run_is_judged_where_the_shorter_one_ends():
    long = series([0.9, 0.91, 0.92], [0.1, 0.1, 0.1])
    half = int(long.frame["step"].max()) // 2
    short = replace(long, frame=long.frame.filter(pl.col("step") <= half).with_columns(pl.col("value") - 0.05))
    assert judged(Ahead(A, B), a=long, b=short).verdict == "holds"
    assert judged(Beats(A, B), a=long, b=short).verdict == "does not hold"


def test_a_window_has_the_bins_at_its_ends_whatever_is_rounded():
    for length in range(10, 400, 10):
        curve = Curve(np.arange(1, length + 1), np.arange(1.0, length + 1)[None], 1)
        for stop in range(10, length, 10):
            share = stop / length  # as `Ahead` has it
            assert curve.over((0.9 * share, share)) == np.arange(0.9 * stop + 1, stop + 1).mean(), (stop, length)


def test_effects_are_paired_by_seed_where_seeds_match():
    rng = np.random.default_rng(0)
    level = rng.normal(0.8, 0.05, 6)
    a = series([0.9] * 6, (level + 0.01 + rng.normal(0, 0.001, 6)).tolist())
    b = series([0.9] * 6, level.tolist())
    outcome = judged(Beats(A, B), a=a, b=b)
    assert (outcome.verdict, outcome.n) == ("holds", "6 pairs")
    mine, theirs = (Look({A: a, B: b}, "accuracy").sample(line, (0.9, 1.0)) for line in (A, B))
    bounds = ttest_rel(mine.values, theirs.values).confidence_interval()
    interval = (mine - theirs).interval()
    np.testing.assert_allclose((interval.low, interval.high), bounds)
    # the same numbers under other seeds are independent runs
    other = series([0.9] * 6, level.tolist(), seeds=range(10, 16))
    outcome = judged(Beats(A, B), a=a, b=other)
    assert (outcome.verdict, outcome.n) == ("undecided", "6 and 6")
    # seeds in another order, and one that only one of them has
    turned = series([0.9] * 6, level[::-1].tolist(), seeds=[5, 4, 3, 2, 1, 77])
    assert judged(Beats(A, B), a=a, b=turned).n == "5 pairs"


def test_welch_is_scipys():
    a, b = [4.0, 5.0, 6.0, 9.0], [1.0, 2.0, 6.0, 3.0, np.nan, 2.5]
    result = welch_interval(a, b)
    known = ttest_ind(a, b, equal_var=False, nan_policy="omit").confidence_interval()
    np.testing.assert_allclose((result.low, result.high), known)
    assert result.n == 4
    assert np.isnan(welch_interval([1.0], a).low)
    assert welch_interval([2.0, 2.0], [1.0, 1.0]).low == 1.0


def test_a_run_that_ended_early_does_not_count():
    one = series([0.9] * 4, [0.8, 0.81, 0.82, 0.8])
    cut = one.frame.filter((pl.col("run") != 2) | (pl.col("step") < 800))
    ended = group_frames([RunFrame(one.sources[0].config, cut)])[0].series[0]
    assert judged(Falls(A), a=ended).n == "3 of 4"


def test_unfinished_and_unmeasured_runs_are_not_yet_run(tmp_path: Path):
    config = made_up.config("a", 3)
    for part, frame in enumerate(made_up.metrics("a", 3, 10).partition_by("task", maintain_order=True)):
        (tmp_path / "a" / "metrics").mkdir(parents=True, exist_ok=True)
        frame.write_parquet(tmp_path / "a" / "metrics" / f"part-{part:05}.parquet")
    made_up.write(tmp_path / "a", config, None)
    one = load(tmp_path)[0].series[0]
    assert judged(Falls(A), "loss", a=one) == Outcome("not yet run", "not finished: a")
    assert judged(Falls(A), "loss", a=DOWN) == Outcome("not yet run", "loss was not recorded for a")


@pytest.mark.parametrize("scale", ["paper", "small", "tiny"])
def test_claims_are_about_curves_that_their_figure_knows_how_to_run(scale: str):
    claims = [(one, claim) for one in figures().values() for claim in one.claims]
    assert len({(one.benchmark, claim.text) for one, claim in claims}) == len(claims)
    for one, claim in claims:
        look = one.look(claim, scale, {})
        assert claim.describe(look)
        assert set(claim.criterion.labels(look)) <= {condition.label for condition in one.needs(scale)}


def test_a_curve_is_named_by_its_place_where_labels_differ():
    sizes = figure("nature-1b")
    larger = next(claim for claim in sizes.claims if claim.text == "A larger step size loses more")
    told = {scale: larger.describe(sizes.look(larger, scale, {})) for scale in ("paper", "small")}
    assert told["paper"] == "loss of step size 0.01 - loss of step size 0.0001, first to last, > 0"
    assert told["small"] == "loss of step size 0.02 - loss of step size 0.001, first to last, > 0"


def test_judgements_from_runs(tmp_path: Path):
    changes = {"backprop": -0.1, "cbp": 0.1, "l2": 0.05, "shrink-and-perturb": 0.05, "linear": -0.05}
    made_up.paper_runs(tmp_path, figure("nature-1c"), "small", runs=5, tasks=30, changes=changes)
    made_up.paper_runs(tmp_path, figure("nature-1c"), "paper", [Condition("cbp", "cbp")], runs=5, tasks=30)
    runs = load(tmp_path)
    entries = {(e.claim, e.scale): e for e in judge(runs, find()) if e.benchmark == "continual-imagenet"}
    kept = entries["Continual backpropagation does not fall", "small"]
    assert (kept.outcome.verdict, kept.outcome.n) == ("holds", "5")
    assert kept.commands == ("neoteny run continual-imagenet-v1 --method cbp --runs 5",)  # what its provenance says
    ahead = entries["Continual backpropagation ends ahead of backpropagation", "small"]
    assert ahead.outcome.verdict == "holds"
    missing = entries["Continual backpropagation ends above L2", "paper"]
    assert missing.outcome == Outcome("not yet run", "missing: l2")
    assert "--scale paper --runs 5 --method l2 --resume" in missing.commands[-1]
    # a benchmark that was never run has its rows too
    cifar = [e for e in judge(runs, find()) if e.benchmark == "incremental-cifar100"]
    assert {(e.scale, e.outcome.verdict) for e in cifar} == {("small", "not yet run")}

    page = markdown(judge(runs, find()), "By hand.")
    row = next(
        line for line in page.splitlines() if line.startswith("| Continual backpropagation does not fall | small")
    )
    assert "**holds**" in row
    assert "loss of cbp, first to last, < 1 points" in row
    number = row.split("|")[-2].strip()
    assert f"{number}. `{kept.commands[0]}`" in page
    assert page.partition("\n\n[^")[0].endswith("## Remarks\n\nBy hand.")
    assert "Remarks" not in markdown(judge(runs, find()))
    tables = [line for line in page.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in tables} == {9}


def test_runs_are_counted_as_the_effect_was_found_from_them(tmp_path: Path):
    """By the pairs, where seeds are shared in part: further runs are planned from that number."""
    wanted = figure("nature-1c")
    (paper,) = (replace(one, figures=(wanted,)) for one in find() if wanted in one.figures)
    group = load(made_up.paper_runs(tmp_path, wanted, "small", runs=5, tasks=30))[0]
    for first, runs in ((0, 5), (3, 2), (4, 5)):
        moved = [
            replace(one, seeds=tuple(range(first, first + 5))) if one.system == "cbp" else one for one in group.series
        ]
        found = judge(Runs([replace(group, series=tuple(moved))]), [paper])
        (one,) = (one for one in found if one.claim == "Continual backpropagation ends ahead of backpropagation")
        assert one.runs == runs


def test_without_any_runs_nothing_has_been_run():
    entries = judge(Runs(()), find())
    assert {entry.outcome.verdict for entry in entries} == {"not yet run"}
    assert all(entry.commands for entry in entries)

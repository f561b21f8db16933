"""The rule of choice, against the rule said otherwise; and seeds that are apart."""

from __future__ import annotations

import math

import numpy as np
import pytest

from neoteny.errors import SettingError
from neoteny.leaderboard.rows import LeaderboardRow
from neoteny.sweeps.choosing import TUNING_SEED, best_point
from neoteny.sweeps.planning import Plan

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("scores", "higher", "chosen"),
    [
        ([[0.3, 0.5], [0.4, 0.41], [0.1, 0.2]], True, 1),
        ([[0.3, 0.5], [0.4, 0.41], [0.1, 0.2]], False, 2),
        ([[0.5, 0.5], [0.25, 0.75], [0.75, 0.25]], True, 0),  # a tie goes to the weaker
        ([[0.1, 0.1], [0.25, 0.75], [0.75, 0.25]], True, 1),
        ([[9.0, 9.0], [0.1, NAN]], False, 0),  # a run that ended is worse than any
        ([[0.0, 0.0], [0.9, INF]], True, 0),
        ([[NAN, NAN], [9.0, NAN], [NAN, 8.0]], False, 2),  # fewest ended, then the better rest
        ([[NAN], [NAN]], True, 0),
    ],
)
def test_the_best_point(scores, higher, chosen):
    assert best_point(scores, higher) == chosen


def test_the_rule_is_that_of_means_with_a_huge_number_for_what_ended():
    rng = np.random.default_rng(0)
    for _ in range(300):
        scores = rng.integers(0, 4, (4, 3)) / 4  # ties are common, and sums exact
        scores[rng.random(scores.shape) < 0.2] = NAN
        for higher in (True, False):
            losses = -scores if higher else scores
            means = np.where(np.isnan(losses), 2.0**30, losses).mean(axis=1)
            assert best_point(scores, higher) == int(np.argmin(means))  # argmin: the first of equals


def test_nothing_to_choose_from():
    with pytest.raises(SettingError, match="run the tuning first"):
        best_point(np.empty((0, 3)), True)


def test_tuning_seeds_are_none_of_those_that_are_reported(tmp_path):
    row = LeaderboardRow("l2", "l2", "regulariser", axes={"l2.strength": (1e-3, 1e-2)})
    for runs, tuning in ((30, 5), (TUNING_SEED, 200)):
        plan = Plan(out=tmp_path, scale="tiny", runs=runs, tuning_runs=tuning)
        tuned = plan.tuning("slowly-changing-regression", row)
        reported = plan.stack("reporting", "slowly-changing-regression", row, [{"l2.strength": 1e-2}])
        assert tuned is not None
        assert len(set(tuned.stacks[0].config.seeds)) == tuning
        assert len(set(reported.config.seeds)) == runs
        assert not set(tuned.stacks[0].config.seeds) & set(reported.config.seeds)
    with pytest.raises(SettingError, match="at most 1000"):
        Plan(out=tmp_path, runs=TUNING_SEED + 1)

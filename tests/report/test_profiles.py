"""Profiles, probabilities of improvement and critical differences against counts by hand and published numbers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from neoteny.errors import SettingError
from neoteny.report.statistics.profiles import critical_difference, performance_profile, probability_of_improvement


def test_a_profile_counts_runs_task_by_task():
    rng = np.random.default_rng(0)
    tasks = [rng.normal(size=n) for n in (5, 9, 30)]
    tau = np.linspace(-3, 3, 13)
    found = performance_profile(tasks, tau)
    by_hand = [np.mean([sum(x > t for x in task) / len(task) for task in tasks]) for t in tau]
    np.testing.assert_allclose(found.share, by_hand)
    assert (np.diff(found.share) <= 0).all()
    assert ((found.low <= found.share + 1e-12) & (found.share <= found.high + 1e-12)).all()
    assert (found.high - found.low).max() > 0.1


def test_a_run_that_broke_down_is_above_nothing():
    found = performance_profile([[np.nan, 1.0]], [-1e9, 0.0, 2.0])
    assert found.share.tolist() == [0.5, 0.5, 0.0]
    assert float(probability_of_improvement([[np.nan]], [[-5.0]]).mean) == 0.0
    assert float(probability_of_improvement([[np.nan]], [[np.nan]]).mean) == 0.5


def test_the_probability_is_mann_whitneys():
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 6, 12).astype(float), rng.integers(0, 6, 9).astype(float)  # with ties
    u = mannwhitneyu(x, y).statistic
    assert float(probability_of_improvement([x], [y]).mean) == pytest.approx(u / (12 * 9))
    both = probability_of_improvement([x, x + 100], [y, y])
    assert float(both.mean) == pytest.approx((u / (12 * 9) + 1) / 2)
    there, back = probability_of_improvement([x], [y]), probability_of_improvement([y], [x])
    assert float(there.mean + back.mean) == pytest.approx(1.0)
    assert there.low < there.mean < there.high


def test_an_interval_covers_what_it_should():
    """Equal methods: nineteen of twenty intervals hold one half."""
    rng, held = np.random.default_rng(2), 0
    for _ in range(200):
        x, y = rng.normal(size=(2, 30))
        found = probability_of_improvement([x], [y], resamples=300)
        held += bool(found.low <= 0.5 <= found.high)
    assert 180 <= held <= 199


@pytest.mark.parametrize(
    ("methods", "blocks", "expected"),
    [(4, 14, 2.569 * (20 / 84) ** 0.5), (2, 10, 1.960 * (6 / 60) ** 0.5), (10, 30, 3.164 * (110 / 180) ** 0.5)],
)
def test_critical_differences_as_published(methods, blocks, expected):
    """Demšar 2006, Table 5a, gives q to three places."""
    assert critical_difference(methods, blocks) == pytest.approx(expected, rel=5e-4)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(SettingError, match="the same tasks"):
        probability_of_improvement([[1.0]], [[1.0], [2.0]])
    with pytest.raises(SettingError, match="at least one"):
        performance_profile([[]], [0.0])
    with pytest.raises(SettingError, match="two methods"):
        critical_difference(1, 5)

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from neoteny.errors import SettingError, UnknownNameError
from neoteny.report.statistics.intervals import interquartile_mean, iqm_interval, mean_interval

# Additional hours of sleep gained with one drug over another: Student, Biometrika 6 (1908), table on p. 20.
SLEEP = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
# Survival of mice under treatment: Efron & Tibshirani, An Introduction to the Bootstrap (1993), table 2.1.
MICE = [94.0, 197.0, 16.0, 38.0, 99.0, 141.0, 23.0]


def test_student_interval_of_the_sleep_data_is_the_published_one():
    result = mean_interval(SLEEP)
    assert (round(float(result.low), 7), round(float(result.high), 7)) == (0.7001142, 2.4598858)
    assert float(result.mean) == pytest.approx(1.58)
    assert int(result.n) == 10


def test_student_interval_in_closed_form():
    # Two runs: t(0.975, 1) = tan(0.475 pi), standard error half the distance.
    result = mean_interval([1.0, 3.0])
    assert float(result.high) == pytest.approx(2 + math.tan(0.475 * math.pi))
    # Three runs: t with 2 degrees of freedom has t = a sqrt(2 / (1 - a^2)) at level a.
    result = mean_interval([1.0, 2.0, 3.0], level=0.9)
    assert float(result.high) == pytest.approx(2 + 0.9 * math.sqrt(2 / (1 - 0.81)) / math.sqrt(3))


def test_student_interval_covers_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(3.0, 2.0, size=(5, 20_000))
    result = mean_interval(draws)
    assert np.mean((result.low <= 3.0) & (result.high >= 3.0)) == pytest.approx(0.95, abs=0.005)


def test_percentile_bootstrap_against_all_resamples():
    # Seven mice have 7^7 equally likely resamples: their percentiles are what the bootstrap estimates.
    means = np.fromiter((sum(draw) / 7 for draw in itertools.product(MICE, repeat=7)), dtype=float)
    exact = np.quantile(means, [0.025, 0.975])
    result = mean_interval(MICE, kind="percentile", resamples=50_000)
    assert [float(result.low), float(result.high)] == pytest.approx(exact, abs=0.8)
    # The book's bootstrap standard error of the mean, 23.36, is the plug-in one.
    assert means.std() == pytest.approx(23.36, abs=0.01)


def test_bca_against_its_definition():
    values = np.array(MICE)
    result = mean_interval(values, kind="bca", resamples=50_000)
    # Efron & Tibshirani (14.9)-(14.15), bias and percentiles from the exact distribution of the mean.
    means = np.sort(np.fromiter((sum(draw) / 7 for draw in itertools.product(MICE, repeat=7)), dtype=float))
    bias = stats.norm.ppf((np.mean(means < values.mean()) + np.mean(means <= values.mean())) / 2)
    jackknife = np.array([np.delete(values, i).mean() for i in range(7)])
    deviation = jackknife.mean() - jackknife
    acceleration = (deviation**3).sum() / (6 * (deviation**2).sum() ** 1.5)
    z = bias + stats.norm.ppf([0.025, 0.975])
    bounds = np.quantile(means, stats.norm.cdf(bias + z / (1 - acceleration * z)))
    assert [float(result.low), float(result.high)] == pytest.approx(bounds, rel=0.02)


@pytest.mark.parametrize("kind", ["t", "percentile", "bca"])
def test_every_column_is_what_it_is_alone_and_n_shrinks(kind):
    values = np.random.default_rng(1).normal(size=(6, 5))
    values[0, 2:] = np.nan
    values[3, 3] = np.inf
    values[1:, 4] = np.nan
    values[0, 4] = np.nan
    values[2, 4] = 0.25
    result = mean_interval(values, kind=kind)
    assert result.n.tolist() == [6, 6, 5, 4, 1]
    for column in (0, 2, 3):
        alone = mean_interval(values[np.isfinite(values[:, column]), column], kind=kind)
        assert result.mean[column] == pytest.approx(float(alone.mean))
        assert result.low[column] == pytest.approx(float(alone.low), rel=0.05, abs=0.05)
        assert result.low[column] < result.mean[column] < result.high[column]
    assert result.mean[4] == 0.25
    assert np.isnan(result.low[4]) and np.isnan(result.high[4])


@pytest.mark.parametrize("kind", ["t", "percentile", "bca"])
def test_no_runs_one_run_and_equal_runs(kind):
    assert np.isnan(mean_interval([np.nan, np.nan], kind=kind).mean)
    one = mean_interval([2.0], kind=kind)
    assert (float(one.mean), int(one.n)) == (2.0, 1)
    assert np.isnan(one.low) and np.isnan(one.high)
    equal = mean_interval([2.0, 2.0, 2.0], kind=kind)
    assert (float(equal.low), float(equal.high)) == (2.0, 2.0)


def test_the_bootstrap_repeats_itself():
    first, second = (mean_interval(SLEEP, kind="bca", seed=3) for _ in range(2))
    assert (float(first.low), float(first.high)) == (float(second.low), float(second.high))


def test_interquartile_mean_by_hand():
    assert interquartile_mean([4, 1, 3, 2]) == 2.5
    assert interquartile_mean([10, 1, 2, 3, 4, 5, 6, 7, 8, 9]) == 5.5  # 2 of 10 are left out at either end
    values = np.random.default_rng(0).normal(size=37)
    assert interquartile_mean(values) == pytest.approx(stats.trim_mean(values, 0.25))


def test_stratified_bootstrap_keeps_each_task_its_weight():
    # Two tasks far apart, equal runs within each: every stratified resample is the same table.
    result = iqm_interval([[0.0, 100.0]] * 6)
    assert (float(result.mean), float(result.low), float(result.high)) == (50.0, 50.0, 50.0)
    # Four runs of one task: the middle two of four drawn; compare with all 4^4 resamples.
    scores = [0.0, 1.0, 3.0, 10.0]
    every = [sum(sorted(draw)[1:3]) / 2 for draw in itertools.product(scores, repeat=4)]
    result = iqm_interval(scores, resamples=50_000)
    assert float(result.mean) == 2.0
    assert [float(result.low), float(result.high)] == pytest.approx(np.quantile(every, [0.025, 0.975]), abs=0.3)


def test_stratified_bootstrap_without_some_runs():
    result = iqm_interval([[0.1, 1.0], [0.2, np.nan], [0.3, 1.2]])
    assert int(result.n) == 3
    assert np.isfinite(result.low)
    assert np.isnan(iqm_interval([0.5]).low)
    assert np.isnan(iqm_interval([np.nan]).mean)


def test_bad_settings():
    with pytest.raises(SettingError, match=r"95"):
        mean_interval([1, 2], level=95)
    with pytest.raises(SettingError, match="resamples"):
        mean_interval([1, 2], kind="bca", resamples=5)
    with pytest.raises(SettingError, match="one number"):
        mean_interval(3.0)
    with pytest.raises(UnknownNameError, match="bca"):
        mean_interval([1, 2], kind="bcs")

"""Rank correlation beside SciPy's, and its interval over clusters."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from neoteny.errors import SettingError
from neoteny.report.statistics.correlation import correlation


def test_the_value_is_scipys_with_ties_and_missing_runs():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 6, 60).astype(float)
    y = x + rng.normal(0, 3, 60).round()
    found = correlation(x, y, np.arange(60))
    assert found.value == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)
    assert found.low < found.value < found.high and found.n == 60
    with_gap = correlation([*x, np.nan, 1.0], [*y, 2.0, np.inf], np.arange(62))
    assert with_gap == found


def test_runs_of_one_cluster_are_no_new_evidence():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 12))
    alone = correlation(x, y, np.arange(12))
    tenfold = correlation(np.tile(x, 10), np.tile(y, 10), np.tile(np.arange(12), 10))
    assert tenfold.value == pytest.approx(alone.value)
    assert tenfold.high - tenfold.low == pytest.approx(alone.high - alone.low, rel=0.1)


def test_intervals_cover():
    covered = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        found = correlation(*rng.normal(size=(2, 20)), np.arange(20))
        covered += found.low <= 0 <= found.high
    assert covered >= 16


def test_what_cannot_be_correlated_is_refused():
    assert np.isnan(correlation([1, 1, 1], [1, 2, 3], [0, 1, 2]).value)
    with pytest.raises(SettingError, match="three or more"):
        correlation([1, 2], [1, 2], [0, 1])
    with pytest.raises(SettingError, match="shapes"):
        correlation([1, 2, 3], [1, 2], [0, 1])

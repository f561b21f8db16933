"""Holm's correction and paired differences."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t, ttest_rel

from neoteny.errors import SettingError
from neoteny.report.statistics.paired import differences, holm


def test_holm_is_its_definition():
    p = np.random.default_rng(0).uniform(0, 0.2, 9)
    order, expected = np.argsort(p), np.empty(9)
    for place, index in enumerate(order):
        expected[index] = min(1.0, max((9 - j) * p[order[j]] for j in range(place + 1)))
    np.testing.assert_allclose(holm(p), expected)
    assert holm([]).shape == (0,) and holm([0.6, 0.9]).tolist() == [1.0, 1.0]


def test_holm_makes_few_false_rejections():
    """Of ten comparisons of equals, corrected at 5 %, at least one is rejected in about 5 % of cases, not 40 %."""
    p = np.random.default_rng(1).uniform(0, 1, (4000, 10))
    assert 0.035 < np.mean([holm(row).min() < 0.05 for row in p]) < 0.06


def test_differences_are_those_of_the_same_seeds():
    rng = np.random.default_rng(2)
    seeds = rng.normal(0, 5, 30)
    scores = {name: seeds + shift + rng.normal(0, 0.1, 30) for name, shift in {"a": 0.0, "b": 0.2, "c": 0.0}.items()}
    found = differences(scores, to="a")
    own = scores["b"] - scores["a"]
    half = t.ppf(0.975, 29) * own.std(ddof=1) / np.sqrt(30)
    assert found["b"].mean == pytest.approx(own.mean())
    assert (found["b"].low, found["b"].high) == pytest.approx((own.mean() - half, own.mean() + half))
    raw = [ttest_rel(scores[name], scores["a"]).pvalue for name in ("b", "c")]
    assert [found["b"].p, found["c"].p] == pytest.approx(holm(raw).tolist())
    assert found["b"].p < 1e-4 < 0.05 < found["c"].p
    assert differences({"a": seeds, "b": seeds}, to="a")["b"].p == 1


def test_scores_that_cannot_be_paired_are_refused():
    for other in ([1.0], [1.0, 2.0, 3.0], [np.nan, 1.0]):
        with pytest.raises(SettingError, match="one finite score for each seed"):
            differences({"a": [1.0, 2.0], "b": other}, to="a")

"""The tuning of the table on made-up surfaces: equal budgets, ends of ranges, bounds, ties, runs that broke down."""

from __future__ import annotations

import numpy as np
import pytest

from neoteny.sweeps.planning import Tuning
from neoteny.sweeps.searching import Drawn, Range
from neoteny.sweeps.widening import Widening, at_an_end
from sweeps.test_searching import searched

SPACE = {"step_size": Range(1e-4, 1e-1, log=True), "strength": Range(0.0, 1.0), "kind": ["a", "b"]}


def chosen(search, score, higher=False):
    told = searched(search, 2, score, higher)
    return Tuning([], told).chosen(), told


def far_from(step_size, strength=0.5):
    def score(point, seed):
        return (np.log10(point["step_size"] / step_size)) ** 2 + (point["strength"] - strength) ** 2 + 1e-3 * seed

    return score


@pytest.mark.parametrize("higher", [False, True])
def test_a_best_point_inside_ends_the_search(higher):
    score = far_from(3e-3)
    best, told = chosen(Widening(SPACE, points=16), (lambda *given: -score(*given)) if higher else score, higher)
    assert len(told) == 1 and len(told[0].batch.points) == 16
    assert abs(np.log10(best["step_size"] / 3e-3)) < 0.5 and abs(best["strength"] - 0.5) < 0.3


@pytest.mark.parametrize(("target", "end"), [(1e-6, -1), (10.0, 1)])
def test_a_best_point_at_an_end_widens_that_range_alone_and_once(target, end):
    search = Widening(SPACE, points=16)
    best, told = chosen(search, far_from(target))
    first, second = (one.batch.points for one in told)
    assert at_an_end(SPACE, told[:1]) == {"step_size": end}
    assert (len(first), len(second), search.most) == (16, 8, 24)
    low, high = (1e-4 / 10**1.5, 1e-4) if end < 0 else (1e-1, 1e-1 * 10**1.5)
    assert all(low <= point["step_size"] <= high for point in second)
    assert {point["kind"] for point in second} == {"a", "b"} and all(0 <= point["strength"] <= 1 for point in second)
    assert best in second  # and lies at an end still, which the page says
    assert at_an_end(SPACE, told)["step_size"] == end


def test_bounds_are_kept():
    def score(point, seed):
        return -10 * point["strength"] + (np.log10(point["step_size"]) + 2.5) ** 2

    best, told = chosen(Widening(SPACE, points=8, bounds={"strength": (0.0, 1.0)}), score)
    assert len(told) == 1 and at_an_end(SPACE, told) == {"strength": 1}
    _, told = chosen(Widening(SPACE, points=8, bounds={"strength": (0.0, 1.2)}), score)
    assert all(1.0 <= point["strength"] <= 1.2 for point in told[1].batch.points)
    assert best["strength"] > 0.8


def test_equal_points_and_broken_ones():
    """Of equal points the first is taken; one with a run that broke down comes after those that have none."""
    tie, told = chosen(Widening({"x": Range(0.0, 1.0)}, points=8), lambda point, seed: 0.0)
    assert tie == told[0].batch.points[0]

    def breaks(point, seed):
        return np.nan if point["x"] > 0.4 and seed == 1 else -point["x"]

    best, told = chosen(Widening({"x": Range(0.0, 1.0)}, points=8), breaks)
    assert best["x"] == max(p["x"] for p in told[0].batch.points if p["x"] <= 0.4)
    assert len(told) == 1
    every, told = chosen(Widening({"x": Range(0.0, 1.0)}, points=4), lambda point, seed: np.nan)
    assert every in told[0].batch.points


def test_rows_have_equal_budgets_and_the_same_step_sizes():
    """Whatever else a row chooses: so a method that changes nothing gives the plain row's scores to the bit."""
    plain = Drawn({"step_size": SPACE["step_size"]}, points=12).propose([], 3).points
    several = Drawn(SPACE, points=12).propose([], 3).points
    assert [point["step_size"] for point in plain] == [point["step_size"] for point in several]
    assert len(plain) == len(several) == 12
    assert len({point["step_size"] for point in plain}) == 12


def test_no_settings_no_search():
    assert not Widening({}) and Widening({}).propose([], 3) is None

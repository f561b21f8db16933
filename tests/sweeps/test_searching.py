"""Which points are tried: everything of a grid, evenly spread ones, Optuna's; the same ones whenever it goes on."""

from __future__ import annotations

import numpy as np
import pytest

from neoteny.errors import SettingError, UnknownNameError
from neoteny.sweeps.searching import Drawn, Grid, Range, Search, Told

SPACE = {"step_size": Range(1e-4, 1e-1, log=True), "l2.strength": [0.1, 0.2], "hidden": Range(2, 5, whole=True)}


def searched(search: Search, seeds: int, score, higher: bool = False) -> list[Told]:
    """What a search is told when each point has a score."""
    told: list[Told] = []
    while (batch := search.propose(told, seeds)) is not None:
        rows = [[score(point, batch.first + seed) for seed in range(batch.seeds)] for point in batch.points]
        told.append(Told(batch, np.array(rows, dtype=float), higher))
        assert search.propose(told[:-1], seeds) == batch  # as after a kill
    return told


def test_a_grid_is_its_product_in_order():
    grid = Grid({"a": [1, 2], "b": [3, 4]})
    (told,) = searched(grid, 2, lambda point, seed: 0.0)
    assert [tuple(point.values()) for point in told.batch.points] == [(1, 3), (1, 4), (2, 3), (2, 4)]
    assert (grid.most, told.batch.seeds, bool(Grid())) == (4, 2, False)


def test_drawn_points_fill_the_ranges_evenly():
    (told,) = searched(Drawn(SPACE, points=16, seed=3), 1, lambda point, seed: 0.0)
    points = told.batch.points
    logs = np.log10([point["step_size"] for point in points])
    assert np.histogram(logs, bins=4, range=(-4, -1))[0].tolist() == [4, 4, 4, 4]
    assert sum(point["l2.strength"] == 0.1 for point in points) == 8
    assert {point["hidden"] for point in points} == {2, 3, 4, 5} and all(type(p["hidden"]) is int for p in points)
    assert Drawn(SPACE, points=5, seed=3).propose([], 1).points == points[:5]
    assert Drawn(SPACE, points=16, seed=4).propose([], 1).points != points
    (few,) = searched(Drawn({"hidden": Range(2, 3, whole=True)}, points=8), 1, lambda point, seed: 0.0)
    assert len(few.batch.points) == 2  # no point twice


@pytest.mark.parametrize(("low", "high", "log"), [(1.0, 1.0, False), (2.0, 1.0, False), (0.0, 1.0, True)])
def test_no_ranges(low, high, log):
    with pytest.raises(SettingError, match="range from"):
        Range(low, high, log)


def test_optuna_comes_near_the_best_and_is_told_which_way_is_better():
    pytest.importorskip("optuna")
    from neoteny.sweeps.optuna import Optuna

    def score(point, seed):
        return -((np.log10(point["step_size"]) + 2) ** 2) + 0.01 * seed

    def distance(higher: bool) -> float:
        search = Optuna({"step_size": Range(1e-5, 1.0, log=True)}, trials=24, at_once=4)
        told = searched(search, 2, score, higher)
        assert [len(one.batch.points) for one in told] == [4] * 6
        return np.mean([abs(np.log10(p["step_size"]) + 2) for one in told[-2:] for p in one.batch.points])

    assert 2 * distance(higher=True) < distance(higher=False)


def test_optunas_pruner_gives_hopeless_trials_up_between_seeds():
    pytest.importorskip("optuna")
    from neoteny.sweeps.optuna import Optuna

    search = Optuna({"x": Range(0.0, 1.0)}, trials=12, at_once=4, pruner="median", sampler="random", seed=1)
    told = searched(search, 3, lambda point, seed: point["x"])
    assert [one.batch.seeds for one in told] == [1] * len(told)
    whole = [one.batch.points for one in told if one.batch.first == 2]
    begun = [one.batch.points for one in told if one.batch.first == 0]
    assert sum(map(len, begun)) == 12 and 4 <= sum(map(len, whole)) < 12
    given_up = {p["x"] for batch in begun for p in batch} - {p["x"] for batch in whole for p in batch}
    assert min(given_up) > min(p["x"] for batch in whole for p in batch)
    ended = searched(search, 3, lambda point, seed: np.nan)
    assert all(one.batch.first == 0 for one in ended)  # what turned non-finite is not run again


def test_optuna_spreads_what_is_near_one_by_its_distance_to_one():
    pytest.importorskip("optuna")
    from neoteny.sweeps.optuna import Optuna

    search = Optuna({"decay": Range(0.9, 0.9999, near_one=True)}, trials=40, at_once=40, sampler="random")
    batch = search.propose([], 1)
    assert batch is not None
    values = np.array([point["decay"] for point in batch.points])
    assert (values >= 0.9).all() and (values <= 0.9999).all()
    assert 8 < (values > 0.99).sum() < 40 - 5 and (values > 0.999).sum() > 4


def test_what_optuna_has_not():
    pytest.importorskip("optuna")
    from neoteny.sweeps.optuna import PRUNERS, SAMPLERS, Optuna

    with pytest.raises(UnknownNameError, match="sampler of Optuna called 'tpee'. Did you mean 'tpe'"):
        Optuna(SPACE, sampler="tpee")
    with pytest.raises(UnknownNameError, match="pruner"):
        Optuna(SPACE, pruner="mean")
    with pytest.raises(SettingError, match="trials = 0"):
        Optuna(SPACE, trials=0)
    for pruner in PRUNERS:
        assert len(Optuna(SPACE, pruner=pruner, at_once=3).propose([], 2).points) == 3
    assert {"tpe", "random", "qmc"} < set(SAMPLERS)
    assert Optuna(SPACE, sampler="qmc").propose([], 1) == Optuna(SPACE, sampler="qmc").propose([], 1)

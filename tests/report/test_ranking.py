"""The order of methods in the code is the leaderboard's, and the short list follows from it by its rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from neoteny.registry import METHODS
from neoteny.registry.ranking import RANKING, SHORT_LIST, WITH_TASKS
from neoteny.report.leaderboard.costs import read_costs
from neoteny.report.leaderboard.reading import read

EVIDENCE = Path(__file__).parents[2] / "docs" / "evidence"


@pytest.fixture(scope="module")
def ranked():
    return {one.row: one for one in read(EVIDENCE / "leaderboard.parquet").ranking() if one.row in METHODS}


def test_the_order_is_that_of_the_table(ranked):
    assert tuple(ranked) == RANKING


@pytest.mark.parametrize("tasks", [False, True])
def test_the_short_list_follows_its_rule(ranked, tasks):
    cost = read_costs(EVIDENCE / "overhead.parquet")
    chosen = {"cbp"}
    for kind in {METHODS[name].kind for name in ranked}:
        own = [name for name in ranked if METHODS[name].kind == kind and ranked[name].against[0] > 0]
        own = [name for name in own if tasks or not METHODS[name].load()().needs_tasks]
        cheap = [name for name in own if cost[name] <= 2]
        chosen |= {*own[:1], *cheap[:1]}
    assert chosen == {*SHORT_LIST, *WITH_TASKS * tasks}

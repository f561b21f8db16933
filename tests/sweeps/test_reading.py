"""The numbers of a stack: also of agents, none of whose episodes may end within a bin."""

from __future__ import annotations

import numpy as np
import polars as pl

from neoteny import registry
from neoteny.lab.recorder import COLUMNS
from neoteny.report.runs.folders import RunFrame
from neoteny.sweeps.reading import numbers_of


def frame(benchmark: str, rows, runs: int, **varied) -> RunFrame:
    table = pl.DataFrame([(*row[:2], 0, row[2], "", row[3]) for row in rows], schema=COLUMNS, orient="row")
    config = {"benchmark": benchmark, "method": "backprop", "runs": runs, "varied": varied}
    return RunFrame(config, table.sort("step", "metric", "run"))


def test_returns_of_agents():
    ant = next(name for name in registry.BENCHMARKS if registry.base_and_version(name)[0] == "ant")
    steps = range(100, 1001, 100)
    rows = [
        (run, step, "episodic_return", float(step)) for run in range(3) for step in steps if (run, step) != (1, 300)
    ]
    rows += [(run, step, "loss", 9.0) for run in range(3) for step in steps]
    rows += [(2, 500, "non_finite", 1.0)]
    numbers = numbers_of(frame(ant, rows, 3))
    assert (numbers.metric, numbers.higher_is_better) == ("episodic_return", True)
    np.testing.assert_allclose(numbers.values["mean"], [550.0, (5500 - 300) / 9, np.nan])
    np.testing.assert_allclose(numbers.values["last"], [1000.0, 1000.0, np.nan])
    np.testing.assert_allclose(numbers.values["change"], [900.0, 900.0, np.nan])


def test_the_last_tenth_has_whole_bins_where_the_last_one_is_shorter():
    """Of 48.9 bins a tenth is four: a bin that begins before the last tenth is not in it."""
    steps = [*range(20, 961, 20), 978]
    numbers = numbers_of(frame("slowly-changing-regression-v1", [(0, step, "loss", float(step)) for step in steps], 1))
    np.testing.assert_allclose(numbers.values["first"], np.mean(steps[:4]))
    np.testing.assert_allclose(numbers.values["last"], np.mean(steps[-4:]))


def test_losses_by_point():
    rows = [(run, step, "loss", float(run)) for run in range(4) for step in (10, 20)]
    rows = [row for row in rows if row[:2] != (3, 20)]  # it was ended without a word
    numbers = numbers_of(frame("slowly-changing-regression-v1", rows, 4, step_size=[0.1, 0.1, 0.2, 0.2]))
    assert (numbers.metric, numbers.higher_is_better) == ("loss", False)
    assert numbers.points == [{"step_size": 0.1}, {"step_size": 0.2}]
    np.testing.assert_allclose(numbers.scores, [[0.0, 1.0], [2.0, np.nan]])

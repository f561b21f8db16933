"""How well agents did over several tasks: one number with an interval, by four ways to sum up.

Scores are [runs] of each task. With M tasks and all runs of all tasks as x (Agarwal et al. 2021, section 4):

    mean             of the tasks' means
    median           of the tasks' means
    IQM              the mean of the middle half of all x
    optimality gap   mean of max(target - x, 0): how much is missing to a score with which one would be content

The intervals are percentiles of the bootstrap in which runs are drawn anew within each task by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neoteny.errors import SettingError
from neoteny.report.statistics.intervals import Interval, stratified_interval

__all__ = ["AGGREGATES", "aggregate", "area"]

Tasks = tuple[NDArray[np.float64], ...]


def _means(tasks: Tasks, axis: int) -> NDArray[np.float64]:
    return np.stack([np.mean(task, axis=axis) for task in tasks])


def _all(tasks: Tasks, axis: int) -> NDArray[np.float64]:
    return np.concatenate(tasks, axis=axis)


def _iqm(tasks: Tasks, axis: int, target: float) -> Any:
    from scipy.stats import trim_mean

    return trim_mean(_all(tasks, axis), 0.25, axis=axis)


AGGREGATES: dict[str, Callable[[Tasks, int, float], Any]] = {
    "IQM": _iqm,
    "median": lambda tasks, axis, target: np.median(_means(tasks, axis), axis=0),
    "mean": lambda tasks, axis, target: np.mean(_means(tasks, axis), axis=0),
    "optimality gap": lambda tasks, axis, target: np.mean(
        [np.mean(np.maximum(target - task, 0.0), axis=axis) for task in tasks], axis=0
    ),
}
"""Each by its name."""


def aggregate(
    scores: Sequence[ArrayLike], target: float = 1.0, *, level: float = 0.95, resamples: int = 9999, seed: int = 0
) -> dict[str, Interval]:
    """The four ways to sum up runs of several tasks, each with a stratified bootstrap interval.

    Args:
        scores: [runs] of each task, on one scale; tasks may have different numbers of runs. A run without a score, NaN,
            is left out of its task.
        target: a score with which one would be content: 1 of normalised scores, 1,000 in the Control Suite.
        level: coverage, between 0 and 1.
        resamples: bootstrap samples.
        seed: of the bootstrap.

    Returns:
        An interval for each name in `AGGREGATES`; its n is that of the smallest task.

    Raises:
        SettingError: a task without any score, or no task; a level outside (0, 1); too few resamples.

    >>> made = aggregate([[0.1, 0.3, 0.2, 0.2], [0.8, 1.2, 0.9, 1.1]])
    >>> {name: round(float(interval.mean), 3) for name, interval in made.items()}
    {'IQM': 0.55, 'median': 0.6, 'mean': 0.6, 'optimality gap': 0.438}

    Source: Agarwal et al., "Deep reinforcement learning at the edge of the statistical precipice", NeurIPS 2021.
    """
    tasks = [np.ravel(np.asarray(task, dtype=np.float64)) for task in scores]
    tasks = [task[np.isfinite(task)] for task in tasks]
    if not tasks or not all(map(len, tasks)):
        raise SettingError(
            f"the tasks have {[len(task) for task in tasks]} scores: each needs at least one; leave out those without."
        )

    def named(sum_up: Callable[[Tasks, int, float], Any]) -> Callable[..., Any]:
        return lambda *drawn, axis=-1: sum_up(drawn, axis, target)

    return {
        name: stratified_interval(tasks, named(sum_up), level=level, resamples=resamples, seed=seed)
        for name, sum_up in AGGREGATES.items()
    }


def area(steps: ArrayLike, values: ArrayLike) -> NDArray[np.float64]:
    """The mean height of curves, by the trapezoid rule: what an agent was worth on the way, not at a chosen moment.

    Where an agent is reset, its return falls and rises again. An evaluation at a reset is taken before it, at the best
    point of the saw-tooth; the area counts the rest as well.

    Args:
        steps: of the evaluations, [n], rising.
        values: [..., n]; NaN where a run was not evaluated.

    Returns:
        [...], in the unit of the values; NaN for a run that was not evaluated everywhere.

    Raises:
        SettingError: steps that do not rise, or another number of values.

    >>> area([1, 2, 4], [[0.0, 2.0, 2.0], [1.0, 1.0, 1.0]])
    array([1.66666667, 1.        ])
    """
    steps, values = np.asarray(steps, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if steps.ndim != 1 or values.shape[-1:] != steps.shape or len(steps) == 0 or (np.diff(steps) <= 0).any():
        raise SettingError(
            f"steps of shape {steps.shape} and values of shape {values.shape}: give rising steps and a value at each."
        )
    if len(steps) == 1:
        return values[..., 0]
    return np.trapezoid(values, steps, axis=-1) / (steps[-1] - steps[0])

"""Methods over several benchmarks: performance profiles, the probability of improvement, critical differences of ranks.

Agarwal et al., "Deep reinforcement learning at the edge of the statistical precipice", NeurIPS 2021, section 4; Demšar,
"Statistical comparisons of classifiers over multiple data sets", JMLR 7, 2006, section 3.2.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neoteny.errors import SettingError
from neoteny.report.statistics.intervals import Interval, stratified_interval

__all__ = ["Profile", "critical_difference", "performance_profile", "probability_of_improvement"]


@dataclass(frozen=True, eq=False)
class Profile:
    """The share of runs whose score is above each threshold.

    Attributes:
        thresholds: [n].
        share: [n], in [0, 1], falling.
        low: [n], of a pointwise stratified bootstrap interval.
        high: [n].
    """

    thresholds: NDArray[np.float64]
    share: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def performance_profile(
    scores: Sequence[ArrayLike], thresholds: ArrayLike, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Profile:
    """The share of runs above each threshold, the mean over tasks, with a band.

        P(tau) = 1/M sum over tasks m of 1/N_m sum over runs n of [x_mn > tau]

    Args:
        scores: [runs] of each task, on one scale, more is better; a run that was not finite, NaN, is above nothing.
        thresholds: tau, [n].
        level: coverage of the band at each threshold.
        resamples: bootstrap samples; runs are drawn anew within each task.
        seed: of the bootstrap.

    Raises:
        SettingError: a task without runs, or no task.

    >>> performance_profile([[0.1, 0.3], [0.8, 1.2]], [0.0, 0.5, 1.0]).share
    array([1.  , 0.5 , 0.25])

    Source: Agarwal et al. 2021, Eq. 2 (run-score distributions).
    """
    tasks, tau = _tasks(scores), np.ravel(np.asarray(thresholds, dtype=np.float64))
    above = [np.nan_to_num(task, nan=-np.inf)[:, None] > tau for task in tasks]
    rng, drawn = np.random.default_rng(seed), np.zeros((resamples, len(tau)))
    for task in above:  # [runs, n]
        counts = rng.multinomial(len(task), np.full(len(task), 1 / len(task)), size=resamples)
        drawn += counts @ task / len(task)
    low, high = np.quantile(drawn / len(above), [(1 - level) / 2, (1 + level) / 2], axis=0)
    return Profile(tau, np.mean([task.mean(0) for task in above], axis=0), low, high)


def probability_of_improvement(
    scores: Sequence[ArrayLike],
    others: Sequence[ArrayLike],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """How likely a run is better than one of another method on the same task, the mean over tasks.

        P(X > Y) = 1/M sum over tasks of 1/(N K) sum over runs of [x > y] + [x = y] / 2

    Args:
        scores: [runs] of each task, more is better; a run that was not finite, NaN, loses against every finite one.
        others: those of the other method, on the same tasks in the same order.
        level: coverage.
        resamples: bootstrap samples, in which runs of both are drawn anew within each task.
        seed: of the bootstrap.

    Returns:
        The probability with its interval; its n is that of the smallest task.

    Raises:
        SettingError: other tasks, or a task without runs.

    >>> float(probability_of_improvement([[3.0, 4.0, 5.0]], [[1.0, 4.0, 2.0]]).mean).__round__(3)
    0.833

    Source: Agarwal et al. 2021, section 4.3 (the Mann-Whitney U statistic).
    """
    first, second = _tasks(scores), _tasks(others)
    if len(first) != len(second):
        raise SettingError(f"{len(first)} tasks of one method and {len(second)} of the other: give the same tasks.")
    worst = [np.nan_to_num(task, nan=-np.inf) for task in (*first, *second)]

    def mean(*drawn: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
        half = len(drawn) // 2
        return np.mean([_wins(x, y, axis) for x, y in zip(drawn[:half], drawn[half:], strict=True)], axis=0)

    return stratified_interval(worst, mean, level=level, resamples=resamples, seed=seed)


def critical_difference(methods: int, blocks: int, level: float = 0.95) -> float:
    """By how much mean ranks must differ to be told apart, when all pairs of methods are compared (Nemenyi's test).

        CD = q sqrt(k (k + 1) / (6 N)),    q = studentised range of k groups / sqrt(2)

    Args:
        methods: k, at least 2; ranks go from 1 to k.
        blocks: N, on which methods were ranked: benchmarks, not seeds of one benchmark, if it is to hold for others.
        level: 1 minus the chance that any pair of equal methods is told apart.

    Raises:
        SettingError: fewer than two methods or no block.

    >>> round(critical_difference(4, 14), 2)
    1.25

    Source: Demšar 2006, section 3.2.2, whose example this is.
    """
    from scipy.stats import studentized_range

    if methods < 2 or blocks < 1:
        raise SettingError(f"{methods} methods on {blocks} benchmarks: ranks need two methods and a benchmark.")
    q = studentized_range.ppf(level, methods, np.inf) / 2**0.5
    return float(q * (methods * (methods + 1) / (6 * blocks)) ** 0.5)


def _wins(x: NDArray[np.float64], y: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """The share of pairs that x wins, ties by half, along an axis of both."""
    x, y = np.moveaxis(x, axis, -1)[..., :, None], np.moveaxis(y, axis, -1)[..., None, :]
    return ((x > y) + 0.5 * (x == y)).mean((-2, -1))


def _tasks(scores: Sequence[ArrayLike]) -> list[NDArray[np.float64]]:
    tasks = [np.ravel(np.asarray(task, dtype=np.float64)) for task in scores]
    if not tasks or not all(map(len, tasks)):
        raise SettingError(f"the tasks have {[len(task) for task in tasks]} runs: each needs at least one.")
    return tasks

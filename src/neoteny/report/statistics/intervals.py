"""Means and interquartile means over runs, with intervals.

A point of a curve or a cell of a table is a number over n independent runs. Ways to say how far it may be off:

- Student's t: mean +- t(1 - alpha/2, n - 1) s / sqrt(n). Exact for normal runs, good from a handful of runs on.
- the bootstrap (Efron & Tibshirani 1993): the runs are drawn anew with replacement, and the interval is read off the
  distribution of the means of these draws: its percentiles, or BCa, which is bias-corrected and accelerated.
- the standard error, s / sqrt(n), which many papers shade. It covers the true mean in about two thirds of cases, so
  it serves to compare a figure with theirs, not to judge.

A run that ended early has NaN from there on: n is smaller, and every result carries its own n. One run alone has a
mean but no interval; the bounds are NaN then, not an interval of width zero.

SciPy computes Welch's interval and the bootstraps. Student's is our own code, since a curve has thousands of columns,
some with missing runs: `scipy.stats.ttest_1samp` would go through such a table column by column.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neoteny.errors import SettingError, UnknownNameError

__all__ = [
    "KINDS",
    "Interval",
    "Kind",
    "interquartile_mean",
    "interval_name",
    "iqm_interval",
    "mean_interval",
    "runs_to_decide",
    "stratified_interval",
    "welch_interval",
]

Kind = Literal["t", "percentile", "bca", "se"]
KINDS: dict[str, str] = {
    "t": "Student t interval",
    "percentile": "percentile bootstrap interval",
    "bca": "BCa bootstrap interval",
    "se": "standard error",
}
assert set(KINDS) == set(get_args(Kind))


@dataclass(frozen=True, eq=False)
class Interval:
    """A statistic over runs and its interval, one entry a column of the values it came from.

    Attributes:
        mean: the statistic, [...]; NaN where no run is left.
        low: lower bound, [...]; NaN where fewer than two runs are left.
        high: upper bound, [...].
        n: how many runs took part, [...].
        kind: "t", "percentile", "bca", "se", "welch" for a difference, or "stratified" for several tasks at once.
        level: share of intervals that cover the true value, 0.95 by default.
    """

    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    n: NDArray[np.int64]
    kind: str
    level: float

    @property
    def name(self) -> str:
        """As it is written on a figure.

        >>> mean_interval([1.0, 2.0]).name
        '95% Student t interval'
        """
        return interval_name(self.kind, self.level)


def interval_name(kind: str, level: float = 0.95) -> str:
    """The name of a kind of interval, as it is written on a figure or under a table.

    >>> interval_name("bca")
    '95% BCa bootstrap interval'
    >>> interval_name("se")
    '±1 standard error'
    """
    if kind == "se":
        return f"±1 {KINDS[kind]}"
    return f"{level:.0%} {KINDS.get(kind, f'{kind} bootstrap interval')}"


def mean_interval(
    values: ArrayLike, *, kind: Kind = "t", level: float = 0.95, resamples: int = 9999, seed: int = 0
) -> Interval:
    """Mean over the first axis, the runs, with an interval.

    Args:
        values: [runs] or [runs, columns]; a non-finite entry says that the run has no value there.
        kind: "t", "percentile", "bca" or "se".
        level: coverage, between 0 and 1; a standard error has none.
        resamples: bootstrap samples.
        seed: of the bootstrap, so that a figure drawn twice is the same figure.

    Raises:
        SettingError: a level outside (0, 1), or too few resamples.
        UnknownNameError: another kind.

    Student's own example, hours of sleep gained on one drug over another (Biometrika 6, 1908):

    >>> gain = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
    >>> result = mean_interval(gain)
    >>> print(f"{result.mean:.2f} [{result.low:.2f}, {result.high:.2f}], n = {result.n}")
    1.58 [0.70, 2.46], n = 10
    """
    from scipy.special import stdtrit

    if kind not in KINDS:
        raise UnknownNameError(str(kind), KINDS, kind="interval")
    _check(level, resamples)
    table = _runs_first(values)
    columns = table.reshape(len(table), -1)
    present = np.isfinite(columns)
    n = present.sum(axis=0)
    total = np.where(present, columns, 0.0).sum(axis=0)
    mean = np.divide(total, n, out=np.full(n.shape, np.nan), where=n > 0)
    if kind in ("t", "se"):
        freedom = np.where(n > 1, n - 1, np.nan)  # nothing is known from one run
        squares = (np.where(present, columns - mean, 0.0) ** 2).sum(axis=0)
        half = np.sqrt(squares / freedom / np.maximum(n, 1))
        if kind == "t":
            half *= stdtrit(freedom, (1 + level) / 2)  # quantile of Student's t
        low, high = mean - half, mean + half
    else:
        low, high = _bootstrap_bounds(columns, present, mean, kind, level, resamples, seed)
    shape = table.shape[1:]
    mean, low, high = (part.reshape(shape) for part in (mean, low, high))
    return Interval(mean, low, high, n.reshape(shape), kind=kind, level=level)


def welch_interval(values: ArrayLike, others: ArrayLike, *, level: float = 0.95) -> Interval:
    """Difference of two means over independent runs, with an interval that lets their variances differ.

        d = mean(a) - mean(b),  SE^2 = s_a^2 / n_a + s_b^2 / n_b,  d +- t(1 - alpha/2, f) SE
        f = SE^4 / (s_a^4 / (n_a^2 (n_a - 1)) + s_b^4 / (n_b^2 (n_b - 1)))

    Args:
        values: [runs]; a non-finite entry says that the run has no value.
        others: [runs] of the other, of any number.
        level: coverage, between 0 and 1.

    Returns:
        The difference; its n is that of the smaller sample. No bounds where a sample has fewer than two runs.

    Raises:
        SettingError: a level outside (0, 1).

    >>> result = welch_interval([4.0, 5.0, 6.0], [1.0, 2.0, 6.0, 3.0])
    >>> print(f"{result.mean:.2f} [{result.low:.2f}, {result.high:.2f}], n = {result.n}")
    2.00 [-1.28, 5.28], n = 3

    Source: Welch, Biometrika 34, 1947.
    """
    from scipy.stats import ttest_ind

    _check(level)
    samples = [side[np.isfinite(side)] for side in map(_runs_first, (values, others))]
    one, other = (float(np.mean(side)) if len(side) else math.nan for side in samples)
    n, low, high = min(map(len, samples)), math.nan, math.nan
    if n > 1:
        with warnings.catch_warnings():
            # Equal runs have no variance, of which SciPy warns; the interval is a point then, as it should be.
            warnings.simplefilter("ignore", RuntimeWarning)
            low, high = ttest_ind(*samples, equal_var=False).confidence_interval(level)
    return _single(one - other, low, high, n, "welch", level)


def interquartile_mean(values: ArrayLike) -> float:
    """Mean of the middle half: floor(n/4) values are left out at either end (Agarwal et al., NeurIPS 2021).

    >>> interquartile_mean([1, 2, 3, 4, 5, 6, 7, 1000])
    4.5
    """
    return float(_middle(np.ravel(np.asarray(values, dtype=np.float64))))


def iqm_interval(scores: ArrayLike, *, level: float = 0.95, resamples: int = 9999, seed: int = 0) -> Interval:
    """Interquartile mean over runs and tasks, with a stratified bootstrap interval.

    The runs are drawn anew within each task separately, so that every task keeps its weight (Agarwal et al. 2021,
    section 4.2); the bounds are percentiles of the interquartile means of the drawn tables.

    Args:
        scores: [runs] of one task or [runs, tasks]; a non-finite score is left out of its task.
        level: coverage, between 0 and 1.
        resamples: bootstrap samples.
        seed: of the bootstrap.

    Raises:
        SettingError: a level outside (0, 1), or too few resamples.

    >>> result = iqm_interval([[0.0, 1.0], [0.1, 1.2], [0.2, 0.8], [9.0, 1.1]])
    >>> print(f"{result.mean:.3f}, {result.low < result.mean < result.high}, n = {result.n}")
    0.775, True, n = 4
    """
    table = _runs_first(scores)
    tasks = [task[np.isfinite(task)] for task in table.reshape(len(table), -1).T]
    tasks = [task for task in tasks if len(task)]

    def middle(*drawn: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
        return _middle(np.concatenate(drawn, axis=axis), axis)

    result = stratified_interval(tasks or [np.empty(0)], middle, level=level, resamples=resamples, seed=seed)
    return replace(result, n=np.asarray(max(map(len, tasks), default=0)))


def stratified_interval(
    strata: Sequence[NDArray[np.float64]],
    statistic: Callable[..., Any],
    *,
    level: float = 0.95,
    resamples: int = 9999,
    seed: int = 0,
) -> Interval:
    """A statistic of several tasks with a bootstrap interval: runs are drawn anew within each task by itself.

    Args:
        strata: [runs] of each task, all finite.
        statistic: of these as arguments, along `axis`.
        level: coverage, between 0 and 1.
        resamples: bootstrap samples.
        seed: of the bootstrap.

    Returns:
        The statistic; its n is that of the smallest task. No bounds where a task has fewer than two runs.

    Raises:
        SettingError: a level outside (0, 1), or too few resamples.
    """
    from scipy.stats import bootstrap

    _check(level, resamples)
    n, low, high = min(map(len, strata)), math.nan, math.nan
    if n > 1:
        low, high = bootstrap(
            strata, statistic, n_resamples=resamples, confidence_level=level, method="percentile",
            rng=np.random.default_rng(seed),
        ).confidence_interval  # fmt: skip
    return _single(statistic(*strata) if n else math.nan, low, high, n, "stratified", level)


def runs_to_decide(interval: Interval, threshold: float, chance: float = 0.8, most: int = 10_000) -> int:
    """How many runs would have an interval that leaves the threshold out, if mean and spread are as they were found.

        the smallest n with (t(1 - alpha/2, n - 1) + t(chance, n - 1)) s / sqrt(n) < |mean - threshold|

    Of a difference between independent runs (Welch's) it is how many each of the two sides would have, of equal spread;
    then t has 2 (n - 1) degrees of freedom. The mean of new runs lies below the one found as often as above it. Where
    the half-width alone is counted, every second such experiment is undecided again; hence the second quantile.

    Args:
        interval: what was found.
        threshold: what it should leave out.
        chance: in how many of such experiments it does.
        most: where to stop.

    Returns:
        The number; `most` if it is at least that many; 0 where one run leaves the spread unknown.

    >>> found = mean_interval([0.0, 1.0, 2.0])
    >>> runs_to_decide(found, 0.0), runs_to_decide(found, 0.0, chance=0.5)
    (10, 7)

    Source: the power of the t test in its usual approximation, Guenther, The American Statistician 35, 1981.
    """
    from scipy.special import stdtrit

    n, half = int(interval.n), float(interval.high - interval.low) / 2
    if n < 2 or not half > 0:
        return 0
    sides = 2 if interval.kind == "welch" else 1
    spread = half * n**0.5 / stdtrit(sides * (n - 1), (1 + interval.level) / 2)
    distance = abs(float(interval.mean) - threshold)
    low, high = 2, most  # the half width falls with n, so halving finds the first that is small enough
    while low < high:
        middle = (low + high) // 2
        freedom = sides * (middle - 1)
        quantiles = stdtrit(freedom, (1 + interval.level) / 2) + stdtrit(freedom, chance)
        wide = quantiles * spread / middle**0.5 >= distance
        low, high = (middle + 1, high) if wide else (low, middle)
    return low


def _single(mean: float, low: float, high: float, n: int, kind: str, level: float) -> Interval:
    mean_, low_, high_ = (np.asarray(value, dtype=np.float64) for value in (mean, low, high))
    return Interval(mean_, low_, high_, np.asarray(n), kind, level)


def _middle(values: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
    from scipy.stats import trim_mean

    return trim_mean(values, 0.25, axis=axis)


def _check(level: float, resamples: int = 9999) -> None:
    if not 0 < level < 1:
        raise SettingError(f"The interval's level is {level!r}: it is a share of intervals, so give one such as 0.95.")
    if resamples < 100:
        raise SettingError(
            f"{resamples!r} bootstrap resamples cannot show the ends of a distribution: give 100 or more."
        )


def _runs_first(values: ArrayLike) -> NDArray[np.float64]:
    table = np.asarray(values, dtype=np.float64)
    if table.ndim == 0:
        raise SettingError(f"{values!r} is one number: an interval is taken over runs, so give a list of them.")
    return table


def _bootstrap_bounds(
    columns: NDArray[np.float64],
    present: NDArray[np.bool_],
    mean: NDArray[np.float64],
    kind: str,
    level: float,
    resamples: int,
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    from scipy.stats import bootstrap

    low, high = np.full(mean.shape, np.nan), np.full(mean.shape, np.nan)
    # Columns that the same runs reached are drawn together: the usual curve is a single call.
    patterns, which = np.unique(present, axis=1, return_inverse=True)
    for index in range(patterns.shape[1]):
        runs, chosen = patterns[:, index], np.flatnonzero(which.reshape(-1) == index)
        if runs.sum() < 2:
            continue
        values = columns[np.ix_(runs, chosen)]
        constant = np.ptp(values, axis=0) == 0  # equal runs: the bootstrap knows a point, and scipy would warn
        low[chosen[constant]] = high[chosen[constant]] = mean[chosen[constant]]
        if constant.all():
            continue
        bounds = bootstrap(
            (values[:, ~constant],),
            np.mean,
            n_resamples=resamples,
            batch=max(1, 4_000_000 // values.size),
            confidence_level=level,
            method="BCa" if kind == "bca" else "percentile",
            rng=np.random.default_rng(seed),
        ).confidence_interval
        low[chosen[~constant]], high[chosen[~constant]] = bounds.low, bounds.high
    return low, high

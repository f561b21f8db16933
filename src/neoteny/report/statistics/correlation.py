"""Rank correlation over runs that share seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neoteny.errors import SettingError

__all__ = ["Correlation", "correlation"]

_DRAWS = 2_000


@dataclass(frozen=True)
class Correlation:
    """Spearman's correlation of two quantities.

    Attributes:
        value: in [-1, 1]; NaN where one of them is the same for all runs.
        low: lower bound of its 95 % interval.
        high: upper bound.
        n: how many runs it is of.
    """

    value: float
    low: float
    high: float
    n: int


def correlation(x: ArrayLike, y: ArrayLike, clusters: ArrayLike) -> Correlation:
    """Spearman's correlation with a percentile interval from drawing whole clusters anew.

    Runs of one seed see the same data and begin with the same weights, so they are not independent; their seed is the
    cluster. Runs with a number that is not finite are left out.

    Args:
        x: a quantity of each run, [n].
        y: another.
        clusters: a number for each run; runs with equal ones are drawn together.

    Raises:
        SettingError: unequal lengths, or fewer than three runs.

    >>> found = correlation([1, 2, 3, 4, 5, 6], [2, 4, 5, 9, 8, 20], [0, 1, 2, 0, 1, 2])
    >>> round(found.value, 3), found.n
    (0.943, 6)

    Source: Spearman, American Journal of Psychology 15, 1904; the bootstrap of clusters: Davison & Hinkley, "Bootstrap
    methods and their application", 1997, Section 3.8.
    """
    one, two, groups = np.asarray(x, dtype=float), np.asarray(y, dtype=float), np.asarray(clusters)
    if not one.shape == two.shape == groups.shape or one.ndim != 1:
        raise SettingError(f"x, y and clusters have shapes {one.shape}, {two.shape}, {groups.shape}: give [n] each.")
    whole = np.isfinite(one) & np.isfinite(two)
    one, two, groups = one[whole], two[whole], groups[whole]
    if len(one) < 3:
        raise SettingError(f"there are {len(one)} runs with both numbers: give three or more.")
    rows = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    rng = np.random.default_rng(0)
    drawn = [np.concatenate([rows[at] for at in rng.integers(0, len(rows), len(rows))]) for _ in range(_DRAWS)]
    values = np.array([_spearman(one[at], two[at]) for at in drawn])
    finite = values[np.isfinite(values)]
    low, high = np.quantile(finite, (0.025, 0.975)) if len(finite) else (np.nan, np.nan)
    return Correlation(_spearman(one, two), float(low), float(high), len(one))


def _spearman(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Pearson's correlation of the ranks; ties have their mean rank."""
    a, b = (_ranks(each) - (len(each) + 1) / 2 for each in (x, y))
    size = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / size) if size > 0 else float("nan")


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (counts.cumsum() - (counts - 1) / 2)[places]

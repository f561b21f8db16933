"""One value a run, and what it says: a mean with its interval, or a difference from another sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neoteny.report.statistics.intervals import Interval, mean_interval, welch_interval

__all__ = ["Sample", "count"]


@dataclass(frozen=True, eq=False)
class Sample:
    """One value a run.

    Attributes:
        values: [runs]; NaN for a run that ended early.
        seeds: one a run.
    """

    values: NDArray[np.float64]
    seeds: tuple[int, ...]

    def __sub__(self, other: Sample) -> Sample:
        """The difference of the runs whose seeds both have."""
        shared = [seed for seed in self.seeds if seed in other.seeds]
        mine, theirs = ([side.seeds.index(seed) for seed in shared] for side in (self, other))
        return Sample(self.values[mine] - other.values[theirs], tuple(shared))

    def __mul__(self, factor: float) -> Sample:
        """Every value times a number."""
        return Sample(factor * self.values, self.seeds)

    def interval(self, level: float = 0.95) -> Interval:
        """Mean with its Student t interval."""
        return mean_interval(self.values, level=level)

    def mean(self, level: float = 0.95) -> tuple[Interval, str]:
        """The same, and from how many runs."""
        return self.interval(level), count(np.isfinite(self.values).sum(), len(self.seeds))

    def minus(self, other: Sample, level: float = 0.95) -> tuple[Interval, str]:
        """The difference of the means, and from how many runs.

        It is taken seed by seed (Student's t) where the two share at least two seeds, otherwise between independent
        runs (Welch's t).
        """
        paired = self - other
        if len(paired.seeds) >= 2:
            interval, number = paired.mean(level)
            return interval, f"{number} pairs"
        return welch_interval(self.values, other.values, level=level), f"{self.mean()[1]} and {other.mean()[1]}"


def count(n: object, runs: int) -> str:
    """How many runs took part, and of how many if some ended early.

    >>> count(30, 30), count(28, 30)
    ('30', '28 of 30')
    """
    return str(runs) if n == runs else f"{n} of {runs}"

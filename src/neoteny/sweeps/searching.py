"""Which points are tried: all of a grid, or points that spread evenly over ranges.

A search proposes batches of points and is told their scores; the next batch may depend on them. It proposes the same
points whenever it is told the same scores, so a sweep that was killed goes on as if it had not been.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neoteny.checks import is_finite, require, require_count
from neoteny.errors import SettingError

__all__ = ["Batch", "Drawn", "Grid", "Point", "Range", "Search", "Told", "below_one"]

Point = Mapping[str, Any]
"""Settings by their full names."""


@dataclass(frozen=True)
class Batch:
    """Points that are tried together.

    Attributes:
        points: what is tried.
        first: the first tuning seed, counted from 0.
        seeds: how many seeds each point is tried with.
    """

    points: tuple[Point, ...]
    first: int
    seeds: int


@dataclass(frozen=True, eq=False)
class Told:
    """What came of a batch.

    Attributes:
        batch: what was tried.
        scores: [points, seeds]; non-finite for a run that ended early.
        higher_is_better: true for accuracies, false for losses.
    """

    batch: Batch
    scores: NDArray[np.float64]
    higher_is_better: bool

    @property
    def losses(self) -> NDArray[np.float64]:
        """Scores of which less is better."""
        return -self.scores if self.higher_is_better else self.scores


class Search(ABC):
    """A way to try points."""

    @abstractmethod
    def propose(self, told: Sequence[Told], seeds: int) -> Batch | None:
        """The next batch; None if enough was tried.

        Args:
            told: the batches so far and their scores, in order.
            seeds: tuning seeds of each point.
        """

    @property
    @abstractmethod
    def most(self) -> int:
        """The most points that are tried."""

    def __bool__(self) -> bool:
        """Whether there is anything to choose."""
        return self.most > 0


@dataclass(frozen=True)
class Range:
    """The values of one setting.

    Args:
        low: the least.
        high: the largest.
        log: whether they are spread evenly over orders of magnitude.
        near_one: whether 1 minus the value is, as for the rates of averages.
        whole: whether they are whole numbers.

    Raises:
        SettingError: no range, a logarithm of what is not positive, or whole numbers between ends that are none.

    >>> [Range(1e-4, 1e-2, log=True).at(share) for share in (0.0, 0.5, 1.0)]
    [0.0001, 0.001, 0.01]
    >>> [Range(0.9, 0.999, near_one=True).at(share) for share in (0.0, 0.5, 1.0)]
    [0.9, 0.99, 0.999]
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False
    near_one: bool = False

    def __post_init__(self) -> None:
        if not (is_finite(self.low) and is_finite(self.high) and self.low < self.high):
            raise SettingError(f"A range from {self.low!r} to {self.high!r} is none: give numbers, the smaller first.")
        for name in ("log", "whole", "near_one"):
            require(self, name, isinstance(getattr(self, name), bool), "true or false")
        if self.whole and not (float(self.low).is_integer() and float(self.high).is_integer()):
            raise SettingError(f"A range from {self.low!r} to {self.high!r} is not of whole numbers: give whole ends.")
        if self.log and self.low <= 0:
            raise SettingError(f"A range from {self.low!r} has no orders of magnitude: give log only above 0.")
        if self.near_one and (self.high >= 1 or self.log):
            raise SettingError(f"A range near one ends below 1 and is not log as well; this one ends at {self.high!r}.")

    def at(self, share: float) -> float | int:
        """The value at a share of the way; to five digits, so that a table says it exactly.

        Shares below 0 or above 1 lie beyond the ends.
        """
        if self.near_one:
            return below_one((1 - self.low) * ((1 - self.high) / (1 - self.low)) ** share)
        if self.log:
            value = self.low * math.exp(share * math.log(self.high / self.low))
        else:
            value = self.low + share * (self.high - self.low)
        return round(value) if self.whole else float(f"{value:.5g}")


def below_one(away: float) -> float:
    """1 minus a distance, which is taken to five digits.

    >>> below_one(0.00123456)
    0.9987654
    """
    return float(f"{1 - float(f'{away:.5g}'):.12g}")


@dataclass(frozen=True)
class Grid(Search):
    """Every combination of some values, all in one batch.

    Args:
        axes: values by setting, the weakest first; empty where there is nothing to choose.

    >>> Grid({"step_size": [0.1, 0.3]}).propose([], seeds=5).points
    ({'step_size': 0.1}, {'step_size': 0.3})
    """

    axes: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    @property
    def most(self) -> int:
        """The number of combinations."""
        return math.prod(len(values) for values in self.axes.values()) if self.axes else 0

    def propose(self, told: Sequence[Told], seeds: int) -> Batch | None:
        """All of it, once."""
        if told or not self:
            return None
        points = itertools.product(*self.axes.values())
        return Batch(tuple(dict(zip(self.axes, point, strict=True)) for point in points), 0, seeds)


@dataclass(frozen=True)
class Drawn(Search):
    """Points that spread evenly over ranges (Sobol's sequence, moved modulo 1), all in one batch.

    Searches that begin with the same settings have the same values of them, point by point.

    Args:
        space: a range or a list of values by setting.
        points: how many.
        seed: of the movement.

    Raises:
        SettingError: fewer than one point, or numbers that are not whole.

    >>> batch = Drawn({"step_size": Range(1e-4, 1e-1, log=True)}, points=4).propose([], seeds=2)
    >>> len(batch.points), batch.seeds
    (4, 2)
    """

    space: Mapping[str, Range | Sequence[Any]]
    points: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        require_count(self, "points", least=1)
        require_count(self, "seed")

    @property
    def most(self) -> int:
        """`points`."""
        return self.points

    def propose(self, told: Sequence[Told], seeds: int) -> Batch | None:
        """All of them, once."""
        if told:
            return None
        from scipy.stats import qmc

        # Each setting is moved by a number of its own, so the first ones are the same whatever comes after them. 2^m
        # points are balanced; a number between is the beginning of them.
        table = qmc.Sobol(len(self.space), scramble=False).random_base2(math.ceil(math.log2(self.points)))
        table = (table + np.random.default_rng(self.seed).random(len(self.space))) % 1.0
        points = [dict(zip(self.space, map(_value, self.space.values(), row), strict=True)) for row in table]
        distinct = {tuple(point.items()): point for point in points[: self.points]}  # of whole numbers there are few
        return Batch(tuple(distinct.values()), 0, seeds)


def _value(values: Range | Sequence[Any], share: float) -> Any:
    return values.at(share) if isinstance(values, Range) else values[min(int(share * len(values)), len(values) - 1)]

"""When the ground changes, and to what: friction as a function of the number of the change and a seed.

A schedule keeps no state. Whoever follows one counts steps, and at the end of an episode asks which change is due; a
resumed run that knows its count goes on as if it had never stopped.
"""

from __future__ import annotations

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neoteny.errors import SettingError

__all__ = ["ConstantFriction", "FrictionSchedule", "ListedFriction", "LogUniformFriction", "checked_friction"]


def checked_friction(value: object, where: str = "friction") -> float:
    """A coefficient of sliding friction as a float.

    Raises:
        SettingError: it is negative, infinite or no number.

    >>> checked_friction(-1)
    Traceback (most recent call last):
    neoteny.errors.SettingError: friction = -1: a coefficient of sliding friction is a number, finite and at least 0...
    """
    try:
        friction = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        friction = math.nan
    if not 0 <= friction < math.inf:
        raise SettingError(
            f"{where} = {value!r}: a coefficient of sliding friction is a number, finite and at least 0 (ice is near "
            "0.02, rubber near 1)."
        )
    return friction


def checked_seed(value: object, where: str = "seed") -> int:
    """A seed as an int.

    Raises:
        SettingError: it is no whole number, or negative.
    """
    try:
        seed = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        seed = -1
    if seed < 0:
        raise SettingError(f"{where} = {value!r}: a seed is a whole number of at least 0.")
    return seed


def _checked_period(every: object) -> None:
    if isinstance(every, bool) or not isinstance(every, int | np.integer) or every < 1:
        raise SettingError(f"every = {every!r}: steps between two changes of friction, a whole number of at least 1.")


class FrictionSchedule(ABC):
    """Friction over the steps of an environment.

    A new friction is due once `every * (change + 1)` steps are done, and comes into force when the next episode
    begins; where several periods pass within one episode, the latest counts.
    """

    @abstractmethod
    def change_at(self, steps: int) -> int:
        """The number, from 0, of the change that is due after so many steps.

        >>> [LogUniformFriction(every=100).change_at(steps) for steps in (0, 99, 100, 350)]
        [0, 0, 1, 3]
        """

    @abstractmethod
    def friction(self, change: int, seed: int) -> float:
        """The coefficient from one change to the next: the same for the same change and seed, always."""


@dataclass(frozen=True)
class ConstantFriction(FrictionSchedule):
    """The same friction for ever.

    Args:
        value: the coefficient of sliding friction.

    Raises:
        SettingError: a negative value, or none.

    >>> ConstantFriction(0.5).friction(0, seed=3)
    0.5
    """

    value: float = 1.0

    def __post_init__(self):
        checked_friction(self.value, "value")

    def change_at(self, steps: int) -> int:
        """Always 0: nothing changes."""
        return 0

    def friction(self, change: int, seed: int) -> float:
        """The value."""
        return float(self.value)


@dataclass(frozen=True)
class ListedFriction(FrictionSchedule):
    """One friction after another; after the last the first again.

    Args:
        values: the coefficients, in order.
        every: steps between two changes.

    Raises:
        SettingError: no values, a negative one, or a period of no steps.

    >>> schedule = ListedFriction([1.0, 0.1], every=1000)
    >>> [schedule.friction(change, seed=0) for change in range(3)]
    [1.0, 0.1, 1.0]
    """

    values: Sequence[float]
    every: int

    def __post_init__(self):
        values = tuple(np.atleast_1d(np.asarray(self.values, dtype=object)).tolist())
        if not values:
            raise SettingError(
                "values = []: a schedule needs at least one friction; ConstantFriction(1.0) changes nothing."
            )
        object.__setattr__(self, "values", tuple(checked_friction(value, "a friction of the list") for value in values))
        _checked_period(self.every)

    def change_at(self, steps: int) -> int:
        """Periods that have passed."""
        return int(steps) // self.every

    def friction(self, change: int, seed: int) -> float:
        """The value whose turn it is; the seed plays no part."""
        return self.values[change % len(self.values)]


@dataclass(frozen=True)
class LogUniformFriction(FrictionSchedule):
    """A new friction at every change, its logarithm drawn uniformly: f = exp(u), u ~ U[log low, log high].

    Args:
        low: the least friction, above 0.
        high: the largest.
        every: steps between two changes.

    Raises:
        SettingError: bounds that are not 0 < low <= high, or a period of no steps.

    >>> schedule = LogUniformFriction()
    >>> [round(schedule.friction(change, seed=0), 3) for change in range(4)]
    [0.376, 1.204, 0.029, 1.233]

    Source: Dohare et al., Nature 632, 2024, Methods, "Slippery Ant".
    """

    low: float = 0.02
    high: float = 2.0
    every: int = 2_000_000

    def __post_init__(self):
        low, high = checked_friction(self.low, "low"), checked_friction(self.high, "high")
        if not 0 < low <= high:
            raise SettingError(
                f"low = {self.low!r}, high = {self.high!r}: a logarithm is drawn, so 0 < low <= high must hold."
            )
        _checked_period(self.every)

    def change_at(self, steps: int) -> int:
        """Periods that have passed."""
        return int(steps) // self.every

    def friction(self, change: int, seed: int) -> float:
        """The draw of one change and seed."""
        drawn = np.random.default_rng([seed, change]).uniform(math.log(self.low), math.log(self.high))
        return min(max(math.exp(drawn), self.low), self.high)

"""Friction schedules: when the friction of the ground changes, and to which value.

A schedule has no state: a friction is a function of the number of the change and a seed. An environment counts its
steps and asks at the end of an episode which change is due. So a resumed run, which knows its count, continues exactly.
"""

from __future__ import annotations

import math
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


def _checked_period(every: object) -> None:
    if isinstance(every, bool) or not isinstance(every, int | np.integer) or every < 1:
        raise SettingError(f"every = {every!r}: steps between two changes of friction, a whole number of at least 1.")


class FrictionSchedule(ABC):
    """The friction of an environment as a function of its steps.

    Change number c is due after `every * c` steps and comes into force when the next episode starts. If several changes
    become due within one episode, the last one counts.
    """

    every: int
    """steps between two changes"""

    def change_at(self, steps: int) -> int:
        """The number, from 0, of the change that is due after so many steps: the periods that have passed.

        >>> [LogUniformFriction(every=100).change_at(steps) for steps in (0, 99, 100, 350)]
        [0, 0, 1, 3]
        """
        return int(steps) // self.every

    @abstractmethod
    def friction(self, change: int, seed: int) -> float:
        """The coefficient from one change to the next; equal changes and seeds give equal values."""


@dataclass(frozen=True)
class ConstantFriction(FrictionSchedule):
    """A friction that never changes.

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
    """Frictions from a list, one after another; after the last comes the first again.

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
            raise SettingError("values = []: a schedule needs at least one friction; ConstantFriction(1.0) stays.")
        object.__setattr__(self, "values", tuple(checked_friction(value, "a friction of the list") for value in values))
        _checked_period(self.every)

    def friction(self, change: int, seed: int) -> float:
        """The value at this change; the seed has no effect."""
        return self.values[change % len(self.values)]


@dataclass(frozen=True)
class LogUniformFriction(FrictionSchedule):
    """A new friction at every change, its logarithm drawn uniformly: f = exp(u), u ~ U[log low, log high].

    Args:
        low: the smallest friction, above 0.
        high: the largest friction.
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
                f"low = {self.low!r}, high = {self.high!r}: a logarithm is drawn, so give 0 < low <= high."
            )
        _checked_period(self.every)

    def friction(self, change: int, seed: int) -> float:
        """The value drawn for this change and seed."""
        drawn = np.random.default_rng([seed, change]).uniform(math.log(self.low), math.log(self.high))
        return min(max(math.exp(drawn), self.low), self.high)

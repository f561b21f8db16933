"""A method's schedule, asked only at the updates at which something can be due."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from neoteny.methods.base import Schedule


class Clock:
    """A schedule that is asked step by step. Where it says in `quiet` how long nothing is due, steps are only counted.

    Args:
        schedule: the method's.

    >>> from neoteny.methods.shared.schedule import Periodic
    >>> clock = Clock(Periodic(3))
    >>> [clock.tick() is not None for _ in range(7)]
    [False, False, True, False, False, True, False]
    >>> clock.state_dict()
    {'period': 3, 'taken': 7}
    """

    def __init__(self, schedule: Schedule):
        self._schedule, self._behind = schedule, 0
        self._quiet = self._look()

    def tick(self) -> np.ndarray | None:
        """One update: what is due at it, `[columns]`, or None where nothing is."""
        if self._quiet > 0:
            self._quiet -= 1
            self._behind += 1
            return None
        row = self.take(1)[0]
        return row if row.any() else None

    @property
    def rests(self) -> bool:
        """Whether nothing is due at the next update."""
        return self._quiet > 0

    def take(self, steps: int) -> np.ndarray:
        """How much is due at each of the next updates, `[steps, columns]`."""
        due = self.schedule.take(steps)
        self._quiet = self._look()
        return due

    @property
    def schedule(self) -> Schedule:
        """The method's schedule, with all updates until now taken."""
        if self._behind:
            self._schedule.take(self._behind)
            self._behind = 0
        return self._schedule

    def state_dict(self) -> dict[str, Any]:
        """All that changes, in plain numbers, lists and dicts."""
        return self.schedule.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self._schedule.load_state_dict(state)
        self._behind, self._quiet = 0, self._look()

    def _look(self) -> float:
        return getattr(self._schedule, "quiet", 0)

"""The clocks of all runs and methods: when resets are due, for a segment of steps or for one step at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from neoteny.methods.base import Schedule

Due = list[np.ndarray | None]
"""For each method what is due at each step, int `[R, S, columns]`, or None for a method without a schedule."""
AHEAD = 1024
"""Steps that clocks are asked for at once when steps are taken one by one."""


class Clocks:
    """Every method's clock of every run.

    Args:
        methods: for each method the clocks of its runs, or None for a method that needs none.
        ahead: how many steps to ask for at once in `next`.

    >>> from neoteny.methods.shared.schedule import Periodic
    >>> clocks = Clocks([[Periodic(2)], None])
    >>> clocks.next(), clocks.next()
    (None, [array([[1]]), None])
    """

    def __init__(self, methods: Sequence[Sequence[Schedule] | None], ahead: int = AHEAD):
        self._methods, self._length = methods, ahead
        self._rows: Due = []
        self._busy: set[int] = set()
        self._before: list[Any] = []
        self._used = ahead

    def take(self, steps: int) -> Due:
        """What is due at each of the next steps, `[R, S, columns]`."""
        self._settle()
        return self._map(lambda clocks: np.stack([clock.take(steps) for clock in clocks]))

    def next(self) -> Due | None:
        """What is due at the next step, `[R, columns]`; None if nothing is."""
        if self._used == self._length:
            self._before = self.state_dict()
            self._rows = self._map(lambda clocks: np.stack([clock.take(self._length) for clock in clocks]))
            found = [np.flatnonzero(rows.any(axis=(0, 2))).tolist() for rows in self._rows if rows is not None]
            self._busy, self._used = set().union(*found), 0
        step = self._used
        self._used += 1
        return None if step not in self._busy else [None if rows is None else rows[:, step] for rows in self._rows]

    def state_dict(self) -> list[Any]:
        """The clocks' states, method by method and run by run."""
        self._settle()
        return self._map(lambda clocks: [clock.state_dict() for clock in clocks])

    def load_state_dict(self, state: Sequence[Any]) -> None:
        """Go back to where `state` was taken."""
        self._used = self._length
        for clocks, saved in zip(self._methods, state, strict=True):
            for clock, own in zip(clocks or (), saved or (), strict=True):
                clock.load_state_dict(own)

    def _settle(self) -> None:
        """Set the clocks back to the steps that were taken: they may have been asked for more."""
        used = self._used
        if used < self._length:
            self.load_state_dict(self._before)
            self._map(lambda clocks: [clock.take(used) for clock in clocks])

    def _map(self, function: Callable[[Sequence[Schedule]], Any]) -> list[Any]:
        return [None if clocks is None else function(clocks) for clocks in self._methods]

"""When things happen in a run: ends of tasks and bins, measurements, tests, changes of the step size.

Everything is known before the run begins and counted in steps from its beginning, so that a run can be cut into
segments anywhere between two events and a resumed one is cut as the first was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["Timeline", "every"]


def every(length: int, steps: int) -> NDArray[np.int64]:
    """The ends of stretches of `length` steps; the last may be shorter.

    >>> every(30, 100)
    array([ 30,  60,  90, 100])
    """
    return np.unique(np.append(np.arange(length, steps, length, dtype=np.int64), np.int64(steps)))


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Timeline:
    """The events of a run, each an increasing array of steps.

    Attributes:
        tasks: ends of the tasks, [T]; the last is the end of the run.
        bins: ends of the stretches over which a recorded loss is averaged; the last is the end of the run.
        looks: when the measures are taken; 0 is before the first step.
        tests: when the networks are tested on examples they never learn from.
        validations: when they are validated; the best weights of a task are restored at its end.
        rates: factors of the step size, by the first step at which they hold; 1 before the first.

    >>> line = Timeline(tasks=every(50, 100), bins=every(30, 100), looks=np.array([0, 100]), rates={0: 1.0, 80: 0.2})
    >>> line.steps, line.task(49), line.task(50), line.start(1), line.bin_size(100), line.rate(90)
    (100, 0, 1, 50, 10, 0.2)
    >>> line.next_stop(0, 16), line.next_stop(16, 16), line.next_stop(60, 16)
    (16, 30, 76)
    """

    tasks: NDArray[np.int64]
    bins: NDArray[np.int64]
    looks: NDArray[np.int64]
    tests: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    validations: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    rates: Mapping[int, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        counts = {"tasks": self.tasks, "bins": self.bins, "looks": self.looks, "tests": self.tests}
        return f"<Timeline of {self.steps:,} steps: {', '.join(f'{len(at):,} {what}' for what, at in counts.items())}>"

    @property
    def steps(self) -> int:
        """Length of the run."""
        return int(self.tasks[-1])

    def task(self, position: int) -> int:
        """The number, from 0, of the task that the step at `position` belongs to; at the end of the run the last."""
        return int(min(np.searchsorted(self.tasks, position, side="right"), len(self.tasks) - 1))

    def start(self, task: int) -> int:
        """The first step of a task."""
        return int(self.tasks[task - 1]) if task else 0

    def bin_size(self, end: int) -> int:
        """Steps in the bin that ends at `end`."""
        place = int(np.searchsorted(self.bins, end))
        return end - (int(self.bins[place - 1]) if place else 0)

    def rate(self, position: int) -> float:
        """The factor of the step size at a step."""
        known = [step for step in self.rates if step <= position]
        return self.rates[max(known)] if known else 1.0

    def next_stop(self, position: int, segment: int) -> int:
        """Where the segment ends that begins at `position`: at the next event, or after `segment` steps.

        Segments are counted from the last event, so that a resumed run cuts where the first one did.
        """
        after = int(np.searchsorted(self._events, position, side="right"))
        last, coming = int(self._events[after - 1]), int(self._events[after])
        return min(coming, last + ((position - last) // segment + 1) * segment)

    @cached_property
    def _events(self) -> NDArray[np.int64]:
        changes = np.array(list(self.rates), dtype=np.int64)
        return np.unique(
            np.concatenate([[0], self.tasks, self.bins, self.looks, self.tests, self.validations, changes])
        )

    @staticmethod
    def among(position: int, events: Sequence[int] | NDArray[np.int64]) -> bool:
        """Whether something happens at a step."""
        place = int(np.searchsorted(events, position))
        return place < len(events) and int(events[place]) == position

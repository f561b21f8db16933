"""Points of equal number for every row, and once more beyond the end of a range at which the best one lies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from neoteny.sweeps.choosing import best_point
from neoteny.sweeps.searching import Batch, Drawn, Point, Range, Search, Told

__all__ = ["Bounds", "Widening", "at_an_end"]

Bounds = tuple[float, float]
"""Beyond which a setting has no meaning."""


@dataclass(frozen=True)
class Widening(Search):
    """`Drawn`, and where the best point lies at an end of a range, half as many points again beyond it, once.

    A point is at an end of a range if no point has a lower, or none a higher value of that setting. The range is then
    made longer at this end by half of its length (of its orders of magnitude, where it is logarithmic), as far as the
    setting's bounds allow; the new points have values of it from the new part alone, and of the other settings from the
    whole ranges. So no row has more than one and a half times as many points as another.

    Args:
        space: a range or a list of values by setting.
        points: of the first batch.
        bounds: of settings that cannot have any value.
        seed: of the points.

    >>> search = Widening({"x": Range(0.0, 1.0)}, points=4)
    >>> first = search.propose([], seeds=1)
    >>> told = Told(first, np.array([[point["x"]] for point in first.points]), higher_is_better=True)
    >>> all(1.0 <= point["x"] <= 1.5 for point in search.propose([told], seeds=1).points)
    True
    """

    space: Mapping[str, Range | Sequence[Any]]
    points: int = 12
    bounds: Mapping[str, Bounds] = field(default_factory=dict)
    seed: int = 0

    @property
    def most(self) -> int:
        """The points of both batches."""
        return self.points + self.points // 2 if self.space else 0

    def propose(self, told: Sequence[Told], seeds: int) -> Batch | None:
        """The first points, then those beyond the ends, if there are any."""
        if not self.space or len(told) > 1:
            return None
        if not told:
            return Drawn(self.space, self.points, self.seed).propose([], seeds)
        wider = {name: part for name, end in at_an_end(self.space, told).items() if (part := self._beyond(name, end))}
        if not wider:
            return None
        return Drawn({**self.space, **wider}, self.points // 2, self.seed + 1).propose([], seeds)

    def _beyond(self, name: str, end: int) -> Range | None:
        """The part that is added to a range at its low end, -1, or its high one, 1; None where nothing is allowed."""
        own = self.space[name]
        assert isinstance(own, Range)
        least, most = self.bounds.get(name, (-math.inf, math.inf))
        low, high = (own.at(-0.5), own.low) if end < 0 else (own.high, own.at(1.5))
        low, high = max(low, least), min(high, most)
        return replace(own, low=low, high=high) if low < high else None


def at_an_end(space: Mapping[str, Range | Sequence[Any]], told: Sequence[Told]) -> dict[str, int]:
    """The settings whose best value lies at an end of the values tried: -1 for the lowest, 1 for the highest.

    Args:
        space: what was tried from; lists of values have no ends.
        told: what came of it. Points of several batches are compared with each other.
    """
    points: list[Point] = [point for one in told for point in one.batch.points]
    scores = np.concatenate([one.scores for one in told])
    best = points[best_point(scores, told[0].higher_is_better)]
    ends = {}
    for name, values in space.items():
        tried = {point[name] for point in points}
        if isinstance(values, Range) and len(tried) > 1 and best[name] in (min(tried), max(tried)):
            ends[name] = -1 if best[name] == min(tried) else 1
    return ends

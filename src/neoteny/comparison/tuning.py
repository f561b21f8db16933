"""How settings are chosen: every entry gets the same number of points, the bare loop as well.

The first half of the points are step sizes: the user's own, and multiples of it. With the best of these the second half
tries the methods' own settings, values of the grids that the methods declare (`Method.grid`); the bare loop, and an
entry without such settings, tries step sizes near the best one instead. So no entry is looked at more closely than
another. All is done on the first part of the stream with seeds that are not reported: what is chosen knows nothing of
the part that is reported (Mesbahi et al., ICML 2025, arXiv 2404.02113, say why that matters).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from neoteny.comparison.learning import Way
from neoteny.methods.base import Method
from neoteny.sweeps.choosing import best_point

__all__ = ["MOST_POINTS", "Tuned", "candidates", "tune"]

COARSE = (1.0, 0.3, 3.0, 0.1, 10.0, 0.03, 30.0, 0.01)
"""Multiples of the user's step size, in the order in which they are tried."""
FINE = (1.75, 0.55, 1.3, 0.75, 2.3, 0.42, 1.15, 0.87)
"""Multiples of the best of these."""
MOST_POINTS = len(COARSE) + len(FINE)


@dataclass(frozen=True)
class Tuned:
    """What was tried, and what was best.

    Attributes:
        way: the best.
        tried: every point in the order of trying, with its score for each tuning seed.
    """

    way: Way
    tried: tuple[tuple[Way, tuple[float, ...]], ...]


def tune(
    methods: tuple[Method, ...], points: int, score: Callable[[Way], Sequence[float]], higher_is_better: bool
) -> Tuned:
    """Try as many points; of equal ones the first is chosen, one that turned non-finite never before one that did not.

    Args:
        methods: of the entry, with the settings to begin with.
        points: how many; with 1 nothing is tried.
        score: of a point for each tuning seed.
        higher_is_better: true for accuracies, false for losses.
    """
    if points == 1:
        return Tuned(Way(methods), ())
    tried: list[tuple[Way, tuple[float, ...]]] = []

    def best() -> Way:
        return tried[best_point([scores for _, scores in tried], higher_is_better)][0]

    for factor in COARSE[: -(-points // 2)]:
        tried.append((way := Way(methods, factor), tuple(score(way))))
    for way in candidates(best(), points - len(tried)):
        tried.append((way, tuple(score(way))))
    return Tuned(best(), tuple(tried))


def candidates(way: Way, count: int) -> list[Way]:
    """Points near one: other settings of its methods, spread evenly over their grids; finer step sizes for the rest.

    >>> import neoteny
    >>> [found.methods[0].strength for found in candidates(Way((neoteny.L2Init(strength=0.01),)), 2)]
    [0.0001, 0.1]
    >>> [found.factor for found in candidates(Way(), 2)]
    [1.75, 0.55]
    """
    others = list(_other_settings(way))
    if len(others) > count:
        others = [others[place] for place in np.linspace(0, len(others) - 1, count).round().astype(int)]
    return others + [replace(way, factor=way.factor * fine) for fine in FINE[: count - len(others)]]


def _other_settings(way: Way) -> Iterator[Way]:
    """One method's grid at a time, without the settings that the way has."""
    for place, method in enumerate(way.methods):
        for values in product(*method.grid.values()):
            other = replace(method, **dict(zip(method.grid, values, strict=True)))
            if method.grid and other != method:
                yield replace(way, methods=(*way.methods[:place], other, *way.methods[place + 1 :]))

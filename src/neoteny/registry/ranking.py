"""The methods in the order of the leaderboard, and the few to try first.

The table is `docs/evidence/leaderboard.md`; a test holds this file to it. Its ranks come from two streams with small
networks, so the order says what to try first, not what is best on another stream: `neoteny.compare` measures that.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["RANKING", "SHORT_LIST", "WITH_TASKS", "best_first"]

RANKING = (
    "crelu", "deep-fourier", "batch-norm", "hare-and-tortoise", "smooth-leaky", "spectral", "layer-norm", "cbp", "redo",
    "l2-er", "l2-init", "head-reset", "huber-init", "l1-init", "infer", "regrama", "normalise-and-project",
    "self-distillation", "upgd", "fire", "plasticity-injection", "c-chain", "parseval", "weight-clipping", "full-reset",
    "aid", "snr", "l2", "shrink-and-perturb", "swr", "cpr", "ema", "dash", "dropout",
)  # fmt: skip
"""Every registered method that was ranked over all benchmarks, the best first."""

SHORT_LIST = ("crelu", "spectral", "cbp", "redo", "l2-init", "normalise-and-project", "upgd")
"""Of each kind the first that need not be told of changes of task, unless it is nowhere better than the bare loop; and
of those level with it (whose intervals of the rank overlap) the best that costs less."""

WITH_TASKS = ("hare-and-tortoise", "fire")
"""What joins them by the same rule where changes of task are known."""


def best_first(names: Iterable[str]) -> tuple[str, ...]:
    """Names of methods in the order of the table; those that it does not have come last, as they were.

    >>> best_first(["l2", "fringe", "cbp", "l2-init"])
    ('cbp', 'l2-init', 'l2', 'fringe')
    """
    place = {name: number for number, name in enumerate(RANKING)}
    return tuple(sorted(names, key=lambda name: place.get(name, len(RANKING))))

"""The methods in the order of the leaderboard, and the few to try first.

The table is `docs/evidence/leaderboard.md`; a test holds this file to it. Its ranks come from four streams with small
networks, so the order says what to try first, not what is best on another stream: `neoteny.compare` measures that.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["RANKING", "SHORT_LIST", "WITH_TASKS", "best_first"]

RANKING = (
    "dynamic", "crelu", "centring", "normalise-and-project", "redo", "fringe", "smooth-leaky", "deep-fourier",
    "hare-and-tortoise", "huber-init", "cbp", "regrama", "weight-clipping", "l2-init", "fire", "upgd", "spectral",
    "l2-er", "self-distillation", "parseval", "shrink-and-perturb", "c-chain", "cpr", "layer-norm", "head-reset",
    "l2", "l1-init", "snr", "infer", "ema", "plasticity-injection", "swr", "aid", "full-reset", "connection-search",
    "dash", "dropout",
)  # fmt: skip
"""Every registered method that was ranked over all benchmarks, the best first."""

SHORT_LIST = (
    "dynamic", "crelu", "centring", "normalise-and-project", "redo", "huber-init", "cbp", "weight-clipping",
)  # fmt: skip
"""Of each kind the first that need not be told of changes of task and is better than the bare loop somewhere, and the
first such that takes at most twice as long as the bare loop; and continual backpropagation, the Nature paper's cure."""

WITH_TASKS = ("hare-and-tortoise",)
"""What joins them by the same rule where changes of task are known."""


def best_first(names: Iterable[str]) -> tuple[str, ...]:
    """Names of methods in the order of the table; those that it does not have come last, as they were.

    >>> best_first(["l2", "batch-norm", "cbp", "l2-init"])
    ('cbp', 'l2-init', 'l2', 'batch-norm')
    """
    place = {name: number for number, name in enumerate(RANKING)}
    return tuple(sorted(names, key=lambda name: place.get(name, len(RANKING))))

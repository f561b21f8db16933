"""Draws in proportion to priorities, by a tree of sums.

Schaul, Quan, Antonoglou & Silver, "Prioritized experience replay", ICLR 2016.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Priorities"]

_LEAST = 1e-6  # added to errors, so that every transition can be drawn


class Priorities:
    """Priorities p_i = (|error_i| + 1e-6)^alpha of the places of one buffer.

    New transitions get the greatest priority so far, so that each is soon drawn once.

    Args:
        capacity: places.
        alpha: 0 draws uniformly.

    >>> priorities = Priorities(4, alpha=1.0)
    >>> priorities.add(np.array([0, 1]))
    >>> priorities.update(np.array([0, 1]), np.array([3.0, 1.0]))
    >>> places, weights = priorities.draw(np.array([0.1, 0.9]), size=2, beta=1.0)
    >>> places, weights
    (array([0, 1]), array([0.333, 1.   ], dtype=float32))

    Source: Schaul et al., ICLR 2016, Algorithm 1.
    """

    def __init__(self, capacity: int, alpha: float):
        self._alpha, self._leaves = alpha, 1 << max(capacity - 1, 1).bit_length()
        self._sums = np.zeros(2 * self._leaves)  # node i has the sum of nodes 2 i and 2 i + 1
        self._greatest = 1.0

    def add(self, places: NDArray[np.int64]) -> None:
        """Take in new transitions."""
        self._set(places, np.full(len(places), self._greatest))

    def update(self, places: NDArray[np.int64], errors: NDArray[Any]) -> None:
        """Take in the errors of transitions that were learned from; those that are not finite change nothing."""
        priorities = (np.abs(np.asarray(errors, dtype=np.float64)) + _LEAST) ** self._alpha
        known = np.isfinite(priorities)
        if known.any():
            self._greatest = max(self._greatest, float(priorities[known].max()))
            self._set(np.asarray(places)[known], priorities[known])

    def _set(self, places: NDArray[np.int64], priorities: NDArray[np.float64]) -> None:
        nodes = np.asarray(places) + self._leaves
        self._sums[nodes] = priorities  # of a place that occurs twice, the last
        while nodes[0] > 1:
            nodes = nodes >> 1
            self._sums[nodes] = self._sums[2 * nodes] + self._sums[2 * nodes + 1]

    def draw(self, lots: NDArray[np.float64], size: int, beta: float) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Places with probability P_i = p_i / sum, and weights (N P_i)^-beta, divided by the greatest of them.

        Args:
            lots: uniform numbers in [0, 1), one a draw; the range is cut into as many equal parts, with one draw each.
            size: N, transitions in the buffer.
            beta: 1 corrects fully for the unequal probabilities.
        """
        count = len(lots)
        rest = (np.arange(count) + lots) / count * self._sums[1]
        nodes = np.ones(count, dtype=np.int64)
        while nodes[0] < self._leaves:
            left = self._sums[2 * nodes]
            right = (rest >= left) & (self._sums[2 * nodes + 1] > 0)  # never into an empty branch by rounding
            rest = np.where(right, rest - left, rest)
            nodes = 2 * nodes + right
        weights = (size * self._sums[nodes] / self._sums[1]) ** -beta
        return nodes - self._leaves, (weights / weights.max()).astype(np.float32)

    def state_dict(self) -> dict[str, Any]:
        """All that changes."""
        return {"leaves": self._sums[self._leaves :].copy(), "greatest": self._greatest}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`."""
        self._greatest = float(state["greatest"])
        self._sums[self._leaves :] = np.asarray(state["leaves"])
        for node in range(self._leaves.bit_length() - 1, 0, -1):
            level = np.arange(1 << (node - 1), 1 << node)
            self._sums[level] = self._sums[2 * level] + self._sums[2 * level + 1]

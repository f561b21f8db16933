"""The way through a maze: from cell to cell, and how a point mass is pushed along it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neoteny.envs.mazes import Maze

__all__ = ["Drive", "Waypoints", "push"]

Drive = Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]
"""Gives actions [n, A] for observations [n, observations] and the places to go to, in m, [n, 2]."""


class Waypoints:
    """Where to go next in a maze: the middle of the next cell on a shortest way, in the last cell the target.

    Args:
        maze: whose walls.

    >>> maze = Maze("point", "umaze")
    >>> way = Waypoints(maze)
    >>> way.next(maze.centre((1, 1))[None], maze.centre((3, 1))[None]).tolist(), maze.centre((1, 2)).tolist()
    ([[0.0, 1.0]], [0.0, 1.0])
    """

    def __init__(self, maze: Maze):
        self._maze = maze
        rows, self._columns = maze.shape
        free = maze.free_cells()
        self._middles = np.array([maze.centre(divmod(k, self._columns)) for k in range(rows * self._columns)])
        # the next cell from each cell (second index) to each goal (first); the cell itself where there is no way
        self._next = np.tile(np.arange(len(self._middles)), (len(self._middles), 1))
        for goal in free:
            step, edge = {goal: goal}, deque([goal])
            while edge:
                i, j = edge.popleft()
                for cell in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
                    if cell in free and cell not in step:
                        step[cell] = (i, j)
                        edge.append(cell)
            for cell, following in step.items():
                self._next[self._number(goal), self._number(cell)] = self._number(following)

    def _number(self, cell: tuple[int, int]) -> int:
        return cell[0] * self._columns + cell[1]

    def next(self, places: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any]:
        """Where to go from places [n, 2] to reach targets [n, 2], all in m."""
        here, there = (rows * self._columns + columns for rows, columns in map(self._maze.cells_at, (places, targets)))
        return np.where((here == there)[:, None], targets, self._middles[self._next[there, here]])


def push(observations: NDArray[Any], targets: NDArray[Any], gain: float = 10.0, damping: float = 1.0) -> NDArray[Any]:
    """The forces on point masses that drive them to targets: gain (target - x) - damping v, each at most 1.

    Args:
        observations: x, y and their velocities first, [n, 4 or more].
        targets: in m, [n, 2].
        gain: of the distance, in 1 / m.
        damping: of the velocity, in s / m.

    >>> push(np.array([[0.0, 0.0, 0.5, 0.0]]), np.array([[0.1, -1.0]])).tolist()
    [[0.5, -1.0]]
    """
    return np.clip(gain * (targets - observations[:, :2]) - damping * observations[:, 2:4], -1.0, 1.0)

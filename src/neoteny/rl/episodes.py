"""The episodes of many environments: those that have ended, and what each came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["EpisodeLog", "Episodes"]


@dataclass(frozen=True)
class Episodes:
    """Episodes that ended, in the order in which they did.

    Attributes:
        agent: int [n].
        step: steps of the agent from its beginning to the end of the episode, int [n].
        total: sum of the rewards, [n].
        length: steps of the episode, int [n].
        unstable: whether it ended because the simulation became unstable, bool [n].
    """

    agent: NDArray[np.int64]
    step: NDArray[np.int64]
    total: NDArray[np.float64]
    length: NDArray[np.int64]
    unstable: NDArray[np.bool_]


class EpisodeLog:
    """Takes in every step of R agents in E environments each, and gives the episodes that ended.

    A step is only kept when it happens; `flush` then works out all of them at once, which is faster.

    Args:
        agents: R.
        environments: E, of each agent.

    >>> log = EpisodeLog(1, 1)
    >>> no, yes = np.array([False]), np.array([True])
    >>> log.add(np.array([1.0]), no, no, no)
    >>> log.add(np.array([2.0]), yes, no, no)
    >>> log.add(np.array([4.0]), no, no, no)
    >>> log.flush().total, log.steps
    (array([3.]), 3)
    """

    def __init__(self, agents: int, environments: int):
        self._totals = np.zeros((agents, environments))
        self._lengths = np.zeros((agents, environments), dtype=np.int64)
        self._flushed = 0  # steps of each agent up to the last flush
        self._rows: list[tuple[NDArray[Any], ...]] = []  # those since

    @property
    def steps(self) -> int:
        """Steps of each agent so far, in all its environments together."""
        return self._flushed + len(self._rows) * self._totals.shape[1]

    def add(
        self,
        rewards: NDArray[np.float64],
        terminated: NDArray[np.bool_],
        truncated: NDArray[np.bool_],
        unstable: NDArray[np.bool_],
    ) -> None:
        """Take in a step: its rewards, and where it ended an episode and why, [R E].

        The arrays are kept: do not write to them afterwards.
        """
        self._rows.append((rewards, terminated, truncated, unstable))

    def flush(self) -> Episodes:
        """The episodes that ended since the last flush."""
        own, shape = self._totals.shape[1], (-1, *self._totals.shape)
        columns = zip(*self._rows, strict=True) if self._rows else ((), (), (), ())
        rewards, terminated, truncated, unstable = (np.array(column).reshape(shape) for column in columns)
        ended = (terminated != 0) | (truncated != 0)
        found = []
        for agent, number in np.ndindex(self._totals.shape):
            total, length, begun = self._totals[agent, number], self._lengths[agent, number], 0
            for end in np.flatnonzero(ended[:, agent, number]).tolist():
                total += rewards[begun : end + 1, agent, number].sum()
                length += end + 1 - begun
                step = self._flushed + (end + 1) * own
                found.append((step, agent, number, total, length, unstable[end, agent, number]))
                total, length, begun = 0.0, 0, end + 1
            self._totals[agent, number] = total + rewards[begun:, agent, number].sum()
            self._lengths[agent, number] = length + len(rewards) - begun
        self._flushed, self._rows = self.steps, []
        columns = list(zip(*sorted(found, key=lambda one: one[:3]), strict=True)) or [()] * 6
        return Episodes(
            agent=np.array(columns[1], dtype=np.int64),
            step=np.array(columns[0], dtype=np.int64),
            total=np.array(columns[3], dtype=np.float64),
            length=np.array(columns[4], dtype=np.int64),
            unstable=np.array(columns[5], dtype=np.bool_),
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything that later episodes depend on."""
        return {
            "totals": self._totals.copy(),
            "lengths": self._lengths.copy(),
            "taken": self._flushed,
            "rows": list(self._rows),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`."""
        self._totals, self._lengths = np.array(state["totals"]), np.array(state["lengths"])
        self._flushed = int(state["taken"])
        self._rows = list(state.get("rows", ()))  # earlier versions had none

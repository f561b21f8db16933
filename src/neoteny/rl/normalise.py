"""Running normalisation of observations and rewards, with separate statistics for each agent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ObservationNorm", "RewardNorm", "RunningMoments"]

LIMIT = 10.0
"""Normalised values are clipped to [-LIMIT, LIMIT], as is usual."""


class RunningMoments:
    """Mean and variance of all values so far (Chan, Golub & LeVeque 1983), for R agents.

    Args:
        shape: of the moments, [R, ...].

    >>> moments = RunningMoments((1, 1))
    >>> moments.update(np.array([[[1.0], [3.0]]]))
    >>> moments.mean, moments.variance
    (array([[2.]]), array([[1.]]))
    """

    def __init__(self, shape: tuple[int, ...]):
        self.mean, self.variance, self.count = np.zeros(shape), np.ones(shape), 0

    def update(self, values: NDArray[np.float64]) -> None:
        """Include values [R, E, ...]."""
        mean, variance, count = values.mean(1), values.var(1), values.shape[1]
        total = self.count + count
        delta = mean - self.mean
        squares = self.variance * self.count + variance * count + delta**2 * (self.count * count / total)
        self.mean = self.mean + delta * (count / total)
        self.variance, self.count = squares / total, total

    def state_dict(self) -> dict[str, Any]:
        """Mean, variance and count."""
        return {"mean": self.mean, "variance": self.variance, "count": self.count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`."""
        self.mean, self.variance = np.array(state["mean"]), np.array(state["variance"])
        self.count = int(state["count"])


class ObservationNorm:
    """(o - mean) / sqrt(variance + 1e-8), clipped to [-10, 10], with the moments of all observations so far.

    Args:
        agents: R.
        size: number of values of an observation.
    """

    def __init__(self, agents: int, size: int):
        self.moments = RunningMoments((agents, size))

    def __call__(self, observations: NDArray[np.float64], learn: bool = True) -> NDArray[np.float64]:
        """Normalise [R, E, size]; with `learn` the moments are updated first."""
        if learn:
            self.moments.update(observations)
        mean, variance = self.moments.mean[:, None], self.moments.variance[:, None]
        return np.clip((observations - mean) / np.sqrt(variance + 1e-8), -LIMIT, LIMIT)


class RewardNorm:
    """r / sqrt(variance + 1e-8), clipped to [-10, 10], with the variance of the discounted returns so far.

    Args:
        agents: R.
        environments: E, of each agent.
        gamma: discount of the return.
    """

    def __init__(self, agents: int, environments: int, gamma: float):
        self.moments = RunningMoments((agents,))
        self._returns, self._gamma = np.zeros((agents, environments)), gamma

    def __call__(self, rewards: NDArray[np.float64], ended: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Normalise [R, E]; where an episode ended the return starts at 0 again."""
        self._returns = self._returns * self._gamma + rewards
        self.moments.update(self._returns)
        self._returns[ended] = 0.0
        return np.clip(rewards / np.sqrt(self.moments.variance[:, None] + 1e-8), -LIMIT, LIMIT)

    def state_dict(self) -> dict[str, Any]:
        """The moments, and the returns of the current episodes."""
        return {**self.moments.state_dict(), "returns": self._returns}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`."""
        self.moments.load_state_dict(state)
        self._returns = np.array(state["returns"])

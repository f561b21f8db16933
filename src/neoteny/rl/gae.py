"""Generalised advantage estimation (GAE)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["gae"]

Floats = NDArray[np.float64]


def gae(
    rewards: Floats,
    values: Floats,
    next_values: Floats,
    ended: NDArray[np.bool_],
    gamma: float = 0.99,
    gae_lambda: float = 0.95,
) -> tuple[Floats, Floats]:
    """Advantages, and the returns that the critic learns.

    For step t with reward r_t, value v_t of its state and value v'_t of the next state, which is 0 if the episode
    terminated:

        delta_t = r_t + gamma v'_t - v_t
        A_t = delta_t + gamma lambda A_(t+1), and A_t = delta_t where an episode ended at t
        R_t = A_t + v_t

    Args:
        rewards: [T, ...].
        values: [T, ...].
        next_values: [T, ...], 0 at a terminal state, and at a time-out that is treated as one.
        ended: [T, ...], whether an episode ended, by termination or time-out.
        gamma: the discount.
        gae_lambda: lambda, in [0, 1]: 0 is the one-step TD error, 1 the return minus the value.

    Returns:
        Advantages and returns, [T, ...].

    >>> advantages, returns = gae(np.ones(3), np.zeros(3), np.zeros(3), np.array([False, True, False]), 1.0, 0.5)
    >>> advantages
    array([1.5, 1. , 1. ])

    Source: Schulman, Moritz, Levine, Jordan & Abbeel, ICLR 2016, Eq. 16.
    """
    deltas = rewards + gamma * next_values - values
    decays = np.where(ended, 0.0, gamma * gae_lambda)
    advantages = np.empty_like(deltas)
    last = np.zeros_like(deltas[0])
    for t in range(len(deltas) - 1, -1, -1):
        last = deltas[t] + decays[t] * last
        advantages[t] = last
    return advantages, advantages + values

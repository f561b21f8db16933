"""Evaluation: episodes apart from training, in environments of their own, by the actions that agents prefer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neoteny.rl.environments import Environments
from neoteny.seeds import ENVIRONMENT, generator

__all__ = ["evaluate"]

_EVALUATION, _EXPLORING = 3, 4  # which of a run's generators for its environment


def evaluate(
    prefer: Callable[[NDArray[np.float64]], NDArray[Any]],
    environments: Environments,
    seeds: Sequence[int],
    step: int,
    explore: float = 0.0,
) -> NDArray[np.float64]:
    """The sums of rewards of n episodes of each of R agents, side by side, [R, n].

    They begin in states that depend on the agents' seeds and the step alone, and change nothing in the agents.

    Args:
        prefer: gives the actions for observations [R, n, observations]; such as `ReplayAgents.prefer`.
        environments: R * n, those of the first agent first; their episodes end.
        seeds: of the agents.
        step: how far the agents are.
        explore: share of random actions, of environments with a few actions; 0.001 is usual in Atari's games.

    >>> from neoteny.envs import OneByOne, make_classic
    >>> carts = OneByOne(lambda: make_classic("CartPole-v1"), 4)
    >>> evaluate(lambda rows: np.zeros(rows.shape[:2], int), carts, seeds=[0, 1], step=0).shape
    (2, 2)
    """
    each = environments.num_envs // len(seeds)
    firsts = [generator(seed, ENVIRONMENT, _EVALUATION, step).integers(2**31, size=each).tolist() for seed in seeds]
    observations, _ = environments.reset(seed=[first for own in firsts for first in own])
    lots = [generator(seed, ENVIRONMENT, _EXPLORING, step) for seed in seeds] if explore else []
    totals, over = np.zeros(environments.num_envs), np.zeros(environments.num_envs, dtype=bool)
    while not over.all():
        rows = np.asarray(observations).reshape(len(seeds), each, -1)
        actions = np.asarray(prefer(rows))
        if actions.dtype.kind == "f":  # an agent whose network broke does nothing
            actions = np.nan_to_num(actions, nan=0.0, posinf=0.0, neginf=0.0)
        if lots:
            count = environments.single_action_space.n
            drawn = np.stack([(rng.random(each) < explore, rng.integers(count, size=each)) for rng in lots])
            actions = np.where(drawn[:, 0], drawn[:, 1], actions)
        made = environments.step_arrays(actions.reshape(-1, *actions.shape[2:]))
        totals += np.where(over, 0.0, made.rewards)
        over |= made.terminations | made.truncations
        observations = made.observations
    return totals.reshape(len(seeds), each)

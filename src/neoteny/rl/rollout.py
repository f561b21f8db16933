"""Collecting for PPO: all agents act for some steps by a frozen policy, and everything that they met is kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from neoteny.lab.execution import threads
from neoteny.rl.actors import Actors
from neoteny.rl.policy import Policy

__all__ = ["Final", "Rollout", "collect"]


@dataclass(frozen=True)
class Final:
    """Where time ran out: at which step, in which environments (agent and number), and what that step led to."""

    step: int
    agents: NDArray[np.intp]
    numbers: NDArray[np.intp]
    states: NDArray[np.float32]


@dataclass(frozen=True)
class Rollout:
    """T steps of R agents in E environments each.

    Attributes:
        states: what the agents saw before each step, and after the last, [T + 1, R, E, observations].
        actions: [T, R, E, A].
        rewards: as the agents learn from them, [T, R, E].
        ended: where an episode ended, bool [T, R, E].
        finals: time-outs, in order.
    """

    states: NDArray[np.float32]
    actions: NDArray[np.float32]
    rewards: NDArray[np.float64]
    ended: NDArray[np.bool_]
    finals: tuple[Final, ...]


def collect(actors: Actors, policy: Policy, noise: NDArray[np.float32]) -> Rollout:
    """Take T steps: a = mu(s) + noise.

    Args:
        actors: who act.
        policy: gives mu.
        noise: [T, R, E, A].

    Raises:
        SettingError: an environment gave an observation that is not finite.
    """
    # one thread: torch's others would wait for work busily, on cores that belong to physics
    with torch.inference_mode(), threads(1):
        made = [actors.step(policy(actors.observations) + lots) for lots in noise]
    seen, actions, rewards, _, terminated, truncated = zip(*made, strict=True)
    late = np.array(truncated) & ~np.array(terminated)
    finals = []
    for t in np.flatnonzero(late.any((1, 2))).tolist():
        agents, numbers = np.nonzero(late[t])
        finals.append(Final(t, agents, numbers, made[t].next_observations[agents, numbers]))
    ended = np.array(truncated) | np.array(terminated)
    states = np.array([*seen, actors.observations])
    return Rollout(states, np.array(actions), np.array(rewards), ended, tuple(finals))

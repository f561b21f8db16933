"""Collecting: many agents act side by side for some steps, and everything that they met is kept."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neoteny.errors import CheckpointError, SettingError
from neoteny.lab.execution import threads
from neoteny.rl.environments import Environments
from neoteny.rl.normalise import ObservationNorm, RewardNorm
from neoteny.rl.policy import Policy
from neoteny.rl.settings import PPOSettings

__all__ = ["Actors", "Episodes", "Final", "Rollout"]

_NORMS = ("observation_norm", "reward_norm")


@dataclass(frozen=True)
class Episodes:
    """Episodes that ended, in the order in which they did.

    Attributes:
        agent: int [n].
        step: steps of the agent from its beginning to the end of the episode, int [n].
        total: sum of the rewards, [n].
        length: steps of the episode, int [n].
        unstable: whether it ended since the simulation did not hold, bool [n].
    """

    agent: NDArray[np.int64]
    step: NDArray[np.int64]
    total: NDArray[np.float64]
    length: NDArray[np.int64]
    unstable: NDArray[np.bool_]


@dataclass(frozen=True)
class Final:
    """Where time ran out: at which step, in which environments (agent and number), and what came of that step."""

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
        finals: time-outs, where asked for.
        episodes: those that ended.
        friction: at the end, of each agent's first environment, [R].
    """

    states: NDArray[np.float32]
    actions: NDArray[np.float32]
    rewards: NDArray[np.float64]
    ended: NDArray[np.bool_]
    finals: list[Final] = field(repr=False)
    episodes: Episodes = field(repr=False)
    friction: NDArray[np.float64]


class Actors:
    """R agents in their environments.

    Args:
        environments: R * E of them.
        agents: R.
        settings: of these agents.
        seeds: of the environments, R * E.

    Attributes:
        physics: seconds spent in the environments so far.
    """

    def __init__(self, environments: Environments, agents: int, settings: PPOSettings, seeds: Sequence[int]):
        self.environments, self._settings = environments, settings
        space = environments.single_action_space
        self._low, self._high = (np.asarray(bound, dtype=np.float32) for bound in (space.low, space.high))
        own = (agents, settings.environments)
        size = int(environments.single_observation_space.shape[0])
        self._observation_norm = ObservationNorm(agents, size) if settings.normalise_observations else None
        self._reward_norm = RewardNorm(*own, settings.gamma) if settings.normalise_rewards else None
        self._totals, self._lengths = np.zeros(own), np.zeros(own, dtype=np.int64)
        self._taken = 0
        self.physics = 0.0
        first, _ = environments.reset(seed=list(seeds))
        self._seen = self._normalised(np.asarray(first, dtype=np.float64))

    def act(self, policy: Policy, noise: NDArray[np.float32]) -> Rollout:
        """Take T steps: a = mu(s) + noise. Agents whose mean is no number do nothing.

        Args:
            policy: gives mu.
            noise: [T, R, E, A].
        """
        s, steps = self._settings, len(noise)
        states = np.empty((steps + 1, *self._seen.shape), dtype=np.float32)
        actions = np.empty(noise.shape, dtype=np.float32)
        rewards: NDArray[np.float64] = np.empty(noise.shape[:-1])
        terminated: NDArray[np.bool_] = np.empty(rewards.shape, dtype=bool)
        truncated: NDArray[np.bool_] = np.empty(rewards.shape, dtype=bool)
        flat = actions.reshape(steps, -1, noise.shape[-1])
        environment = [values.reshape(steps, -1) for values in (rewards, terminated, truncated)]
        unstable, last = [], None
        learned = None if self._reward_norm is None else np.empty_like(rewards)
        finals: list[Final] = []
        states[0] = self._seen
        # one thread: torch's others would wait for work busily, on cores that belong to physics
        with torch.inference_mode(), threads(1):
            for t in range(steps):
                np.add(policy(states[t]), noise[t], out=actions[t])
                if not np.isfinite(actions[t]).all():  # of agents that ended, or whose means have just overflowed
                    actions[t, ~np.isfinite(actions[t]).all((1, 2))] = 0.0
                given = np.clip(flat[t], self._low, self._high) if s.clip_actions else flat[t]
                before = time.perf_counter()
                last = self.environments.step_arrays(given)
                self.physics += time.perf_counter() - before
                for kept, values in zip(environment, last[1:4], strict=True):
                    kept[t] = values
                if learned is not None and self._reward_norm is not None:
                    learned[t] = self._reward_norm(rewards[t], terminated[t] | truncated[t])
                if last.final_observations is not last.observations:
                    late = truncated[t] & ~terminated[t]
                    if s.bootstrap_timeouts and late.any():
                        finals.append(self._final(t, last.final_observations, late))
                    if last.unstable.any():
                        unstable += [(t, place) for place in np.flatnonzero(last.unstable).tolist()]
                self._seen = self._normalised(last.observations)
                states[t + 1] = self._seen
        assert last is not None
        ended = terminated | truncated
        episodes = self._episodes(rewards, ended, unstable)
        friction = last.friction.reshape(self._totals.shape)[:, 0]
        return Rollout(states, actions, rewards if learned is None else learned, ended, finals, episodes, friction)

    def _final(self, t: int, observations: NDArray[np.float64], where: NDArray[np.bool_]) -> Final:
        """What the agents would have seen next, had time not run out."""
        self._require_finite(observations)
        rows = observations.reshape(self._seen.shape)
        if self._observation_norm is not None:
            rows = self._observation_norm(rows, learn=False)
        agents, numbers = np.nonzero(where)
        return Final(t, agents, numbers, rows[agents, numbers].astype(np.float32))

    def _episodes(
        self, rewards: NDArray[np.float64], ended: NDArray[np.bool_], unstable: Sequence[tuple[int, int]]
    ) -> Episodes:
        """The episodes that ended, and what those under way have come to."""
        steps, own = len(rewards), self._settings.environments
        found = []
        for agent, number in np.ndindex(self._totals.shape):
            total, length, begun = self._totals[agent, number], self._lengths[agent, number], 0
            for end in np.flatnonzero(ended[:, agent, number]).tolist():
                total += rewards[begun : end + 1, agent, number].sum()
                length += end + 1 - begun
                blown = (end, agent * own + number) in unstable
                found.append((self._taken + (end + 1) * own, agent, number, total, length, blown))
                total, length, begun = 0.0, 0, end + 1
            self._totals[agent, number] = total + rewards[begun:, agent, number].sum()
            self._lengths[agent, number] = length + steps - begun
        self._taken += steps * own
        columns = list(zip(*sorted(found, key=lambda one: one[:3]), strict=True)) or [()] * 6
        return Episodes(
            agent=np.array(columns[1], dtype=np.int64),
            step=np.array(columns[0], dtype=np.int64),
            total=np.array(columns[3], dtype=np.float64),
            length=np.array(columns[4], dtype=np.int64),
            unstable=np.array(columns[5], dtype=np.bool_),
        )

    def _normalised(self, observations: NDArray[np.float64]) -> NDArray[np.float64]:
        """Observations [R E, observations] as the agents see them, [R, E, observations]."""
        self._require_finite(observations)
        rows = observations.reshape(*self._totals.shape, -1)
        return rows if self._observation_norm is None else self._observation_norm(rows)

    def _require_finite(self, observations: NDArray[np.float64]) -> None:
        if not np.isfinite(observations).all():
            place = int(np.flatnonzero(~np.isfinite(observations).all(1))[0])
            raise SettingError(
                f"Environment {place} (of agent {place // self._settings.environments}) gave an observation that is "
                f"not finite after {self._taken} steps or more: {observations[place]}. Mend the environment: no agent "
                "can learn from it."
            )

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next steps depend on, the environments' state included.

        Raises:
            SettingError: the environments' state cannot be read.
        """
        return {
            "environments": self.environments.state(),
            "seen": self._seen,
            "totals": self._totals.copy(),
            "lengths": self._lengths.copy(),
            "taken": self._taken,
            "physics": self.physics,
            "observation_norm": self._observation_norm and self._observation_norm.moments.state_dict(),
            "reward_norm": self._reward_norm and self._reward_norm.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`.

        Raises:
            CheckpointError: the state is of agents that observe or normalise otherwise.
        """
        theirs, mine = (
            {"seen": np.shape(one["seen"]), **{name: one[name] is not None for name in _NORMS}}
            for one in (state, {"seen": self._seen, **{name: getattr(self, f"_{name}") for name in _NORMS}})
        )
        if theirs != mine:
            raise CheckpointError(
                f"the checkpoint is of agents with {theirs}, these have {mine}: resume with the settings that it was "
                "made with."
            )
        self.environments.load_state(state["environments"])
        self._seen = np.array(state["seen"])
        self._totals, self._lengths = np.array(state["totals"]), np.array(state["lengths"])
        self._taken, self.physics = int(state["taken"]), float(state["physics"])
        if self._observation_norm is not None:
            self._observation_norm.moments.load_state_dict(state["observation_norm"])
        if self._reward_norm is not None:
            self._reward_norm.load_state_dict(state["reward_norm"])

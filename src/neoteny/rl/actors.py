"""Agents in their environments: one call takes a step of all of them, whatever they learn from it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neoteny.envs import Steps
from neoteny.errors import CheckpointError, SettingError
from neoteny.rl.environments import Environments
from neoteny.rl.episodes import EpisodeLog
from neoteny.rl.normalise import ObservationNorm, RewardNorm
from neoteny.rl.settings import AgentSettings

__all__ = ["Actors", "Transition", "finite"]


class Transition(NamedTuple):
    """One step of R agents in E environments each. The arrays are not written to later.

    Attributes:
        observations: what the agents saw before it, float32 [R, E, observations].
        actions: what they chose, before any clipping, [R, E, A]; numbers of actions [R, E].
        rewards: as they learn from them, [R, E].
        next_observations: what the step led to, float32 [R, E, observations]. Where it ended an episode this is that
            episode's last observation, and `Actors.observations` holds the first of the next.
        terminated: where the episode reached a terminal state, which has no value, bool [R, E].
        truncated: where time ran out, bool [R, E].
    """

    observations: NDArray[np.float32]
    actions: NDArray[np.float32]
    rewards: NDArray[np.float64]
    next_observations: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]


class Actors:
    """R agents in E environments each.

    Args:
        environments: R * E of them, those of the first agent first.
        agents: R.
        settings: read here are `environments`, `clip_actions`, `normalise_observations`, and `normalise_rewards` with
            `gamma`.
        seeds: of the environments' first episodes, R * E.

    Attributes:
        observations: what the agents see now, float32 [R, E, observations]; pixels stay bytes.
        first: the first observations, as the environments gave them, [R E, observations].
        episodes: books every step.
        physics: seconds spent in the environments so far.

    Raises:
        SettingError: the environments gave an observation that is not finite.
    """

    def __init__(self, environments: Environments, agents: int, settings: AgentSettings, seeds: Sequence[int]):
        self._environments, self._clips = environments, settings.clip_actions
        space = environments.single_action_space
        if settings.clip_actions:
            self._low, self._high = (np.asarray(bound, dtype=np.float32) for bound in (space.low, space.high))
        self._shape = (agents, settings.environments)
        size = int(environments.single_observation_space.shape[0])
        self._observation_norm = ObservationNorm(agents, size) if settings.normalise_observations else None
        self._reward_norm = RewardNorm(*self._shape, settings.gamma) if settings.normalise_rewards else None
        self.episodes = EpisodeLog(*self._shape)
        self._friction = np.full(environments.num_envs, np.nan)
        self.physics = 0.0
        first, _ = environments.reset(seed=list(seeds))
        bytes_ = np.asarray(first).dtype == np.uint8
        self.first, self._seen = np.asarray(first, dtype=np.uint8 if bytes_ else np.float64), np.shape(first)
        self._require_finite(self.first)
        self.observations = self._as_seen(self.first)

    @property
    def steps(self) -> int:
        """Steps of each agent so far."""
        return self.episodes.steps

    @property
    def friction(self) -> NDArray[np.float64]:
        """In each agent's first environment in the last step, NaN where there is none, [R]."""
        return self._friction.reshape(self._shape)[:, 0]

    def step(self, actions: NDArray[np.float32]) -> Transition:
        """Take one step in every environment; where an episode ends the next one starts.

        Args:
            actions: [R, E, A], or numbers of actions [R, E]. An agent with one that is not finite, because its network
                broke, does nothing.

        Raises:
            SettingError: an environment gave an observation that is not finite.
        """
        if not finite(actions):
            actions = np.where(np.isfinite(actions).all((1, 2), keepdims=True), actions, np.float32(0.0))
        given = actions.reshape(-1, *actions.shape[2:])
        if self._clips:
            given = np.clip(given, self._low, self._high)
        made = self.advance(given)
        shape = self._shape
        rewards = made.rewards.reshape(shape)
        terminated, truncated = made.terminations.reshape(shape), made.truncations.reshape(shape)
        if self._reward_norm is not None:
            rewards = self._reward_norm(rewards, terminated | truncated)
        seen, last = self.observations, None
        if made.final_observations is not made.observations:
            last = self._as_seen(made.final_observations, learn=False)
        self.observations = reached = self._as_seen(made.observations)
        if last is not None:
            reached = np.where((terminated | truncated)[..., None], last, reached)
        return Transition(seen, actions, rewards, reached, terminated, truncated)

    def advance(self, actions: NDArray[Any]) -> Steps:
        """One step in every environment, with what they give as it is; it is booked, but nothing is normalised.

        Args:
            actions: [R E, A], finite.

        Raises:
            SettingError: an environment gave a reward or an observation that is not finite, or an observation of
                another shape.
        """
        before = time.perf_counter()
        made = self._environments.step_arrays(actions)
        self.physics += time.perf_counter() - before
        if made.observations.shape != self._seen:
            raise SettingError(
                f"The environments gave observations of shape {made.observations.shape} after {self.steps} steps, and "
                f"{self._seen} before: correct the environment, agents have inputs of one size."
            )
        if not finite(made.rewards):
            place = int(np.flatnonzero(~np.isfinite(made.rewards))[0])
            raise SettingError(
                f"Environment {place} (of agent {place // self._shape[1]}) gave the reward {made.rewards[place]} after "
                f"{self.steps} steps. Correct the environment: no agent can learn from it."
            )
        self.episodes.add(made.rewards, made.terminations, made.truncations, made.unstable)
        self._friction = made.friction
        self._require_finite(made.observations)
        if made.final_observations is not made.observations:
            self._require_finite(made.final_observations)
        return made

    def _require_finite(self, observations: NDArray[Any]) -> None:
        if not finite(observations):
            place = int(np.flatnonzero(~np.isfinite(observations).all(1))[0])
            raise SettingError(
                f"Environment {place} (of agent {place // self._shape[1]}) gave an observation that is not finite "
                f"after {self.steps} steps: {observations[place]}. Correct the environment: no agent can learn from it."
            )

    def _as_seen(self, observations: NDArray[Any], learn: bool = True) -> NDArray[Any]:
        """Observations [R E, observations] as the agents see them, [R, E, observations]: float32, or bytes as bytes."""
        rows = observations.reshape(*self._shape, -1)
        if self._observation_norm is not None:
            rows = self._observation_norm(rows, learn)
        return rows if rows.dtype == np.uint8 else rows.astype(np.float32)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next steps depend on, the environments' state included.

        Raises:
            SettingError: the environments' state cannot be read.
        """
        return {
            "environments": self._environments.state(),
            "seen": self.observations,
            "physics": self.physics,
            "observation_norm": self._observation_norm and self._observation_norm.moments.state_dict(),
            "reward_norm": self._reward_norm and self._reward_norm.state_dict(),
            **self.episodes.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`.

        Raises:
            CheckpointError: the state is of agents that observe or normalise otherwise.
        """
        norms = {"observation_norm": self._observation_norm, "reward_norm": self._reward_norm}
        theirs = {"seen": np.shape(state["seen"]), **{name: state[name] is not None for name in norms}}
        mine = {"seen": self.observations.shape, **{name: norm is not None for name, norm in norms.items()}}
        if theirs != mine:
            raise CheckpointError(
                f"the checkpoint is of agents with {theirs}, these have {mine}: resume with the settings that it was "
                "made with."
            )
        self._environments.load_state(state["environments"])
        self.observations = np.array(state["seen"], dtype=self.observations.dtype)
        self.physics = float(state["physics"])
        self.episodes.load_state_dict(state)
        if self._observation_norm is not None:
            self._observation_norm.moments.load_state_dict(state["observation_norm"])
        if self._reward_norm is not None:
            self._reward_norm.load_state_dict(state["reward_norm"])


def finite(values: NDArray[Any]) -> bool:
    """Whether all are finite. The sum of squares says so fast, unless it overflows."""
    return math.isfinite(np.vdot(values, values)) or bool(np.isfinite(values).all())

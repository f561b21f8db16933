"""What a streaming agent makes of a step in its environment, and how it acts: a part of the learner's compiled step.

The environment gives numbers as they are; here observations are normalised, rewards scaled, and what came of the last
action becomes a transition to learn from. Afterwards the next action is chosen. All this is the agent's state, so a
step of the environment needs one call.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from neoteny.lab.objective import Batch
from neoteny.rl.scaling import RunningNorm, RunningScale
from neoteny.rl.stream_settings import StreamSettings

__all__ = ["Experience"]

Tensors = dict[str, Tensor]


class Experience(ABC):
    """An `Interaction` of the laboratory, for one agent in one environment; subclasses choose actions.

    A batch holds `observations` [2, O], what the last action led to and what is seen now (another state where an
    episode ended), `outcomes` [3], the reward and whether the episode was terminated or truncated, and `lots`, what was
    drawn for the choice of the next action.

    The phases get, of one example each: `states`, `actions`, `rewards`, `next_states`, `discounts` (gamma, or 0 where
    nothing follows), `ended`, and `seen`, what the next action is chosen for.

    Args:
        settings: of the agent.
        observations: O.
        time_limit: the greatest length of an episode, for the time input.
        dtype: of what the networks see.
    """

    def __init__(
        self,
        settings: StreamSettings,
        observations: int,
        time_limit: int | None = None,
        dtype: torch.dtype = torch.float32,
    ):
        self.settings, self.size, self.limit, self.dtype = settings, observations, time_limit, dtype
        self._norm = RunningNorm(observations) if settings.normalise_observations else None
        self._scale = RunningScale(settings.gamma, settings.reward_moment) if settings.normalise_rewards else None

    @property
    def inputs(self) -> int:
        """Numbers that the networks see: the observation, and the time."""
        return self.size + self.settings.time_input

    @abstractmethod
    def no_action(self) -> Tensors:
        """The entries of the state that hold the action, before there is one: `action`, and more."""

    @abstractmethod
    def choose(self, forward: Callable[..., Any], seen: Tensor, lots: Tensor) -> Tensors:
        """The same entries, for what is seen, [inputs]."""

    def init(self) -> Tensors:
        """The state before the first observation."""
        state = {"seen": torch.zeros(self.inputs, dtype=self.dtype), **self.no_action()}
        for part in (self._norm, self._scale):
            state |= part.init() if part is not None else {}
        if self.settings.time_input:
            state["time"] = torch.zeros(())
        return state

    def begin(self, forward: Callable[..., Any], state: Tensors, batch: Batch) -> Tensors:
        """See the first observation and choose an action."""
        state, seen = self._see(state, batch["observations"][1])
        seen = self._timed(seen, torch.zeros(()))
        return {**state, "seen": seen, **self.choose(forward, seen, batch["lots"])}

    def before(self, forward: Callable[..., Any], state: Tensors, batch: Batch) -> tuple[Tensors, dict[str, Tensor]]:
        """The transition."""
        settings = self.settings
        reward, terminated, truncated = batch["outcomes"].unbind(-1)
        ended = (terminated + truncated) > 0
        over = terminated > 0 if settings.bootstrap_timeouts else ended
        if self._scale is not None:
            state, reward = self._scale(state, reward, ended)
        reached_raw, seen_raw = batch["observations"]
        state, reached = self._see(state, reached_raw)
        again, first = self._see(state, seen_raw)
        state = {name: torch.where(ended, again[name], value) for name, value in state.items()}
        seen = torch.where(ended, first, reached)
        if settings.time_input:
            time = state["time"] + 1
            state["time"] = torch.where(ended, 0.0, time)
            reached, seen = self._timed(reached, time), self._timed(seen, state["time"])
        transition = {
            "states": state["seen"],
            "actions": state["action"],
            "rewards": reward,
            "next_states": reached,
            "discounts": settings.gamma * (~over).to(self.dtype),
            "ended": ended,
            "seen": seen,
            "lots": batch["lots"],
        }
        return {**state, "seen": seen}, {name: value.unsqueeze(0) for name, value in transition.items()}

    def after(self, forward: Callable[..., Any], state: Tensors, batch: Batch) -> Tensors:
        """Choose the next action."""
        return {**state, **self.choose(forward, batch["seen"][0], batch["lots"][0])}

    def _see(self, state: Tensors, observation: Tensor) -> tuple[Tensors, Tensor]:
        """The statistics with an observation more, and it normalised."""
        if self._norm is None:
            return state, observation
        state = self._norm.update(state, observation)
        return state, self._norm(state, observation)

    def _timed(self, seen: Tensor, time: Tensor) -> Tensor:
        """With the share of the episode that has passed, from -1/2 to 1/2."""
        if not self.settings.time_input:
            return seen
        assert self.limit is not None
        return torch.cat([seen, (time / self.limit - 0.5).unsqueeze(0).to(seen.dtype)])

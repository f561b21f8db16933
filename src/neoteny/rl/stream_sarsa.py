"""Stream SARSA(lambda): the values of actions under the policy that acts, with traces, for a few actions.

Elsayed, Vasan & Mahmood, "Streaming deep reinforcement learning finally works", arXiv 2410.14606, 2024, Algorithm 8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from neoteny.lab.objective import Batch
from neoteny.rl.experience import Experience
from neoteny.rl.exploring import ActionValues, EpsilonGreedy, ValueAgents, at
from neoteny.rl.stream_ac import signals
from neoteny.rl.stream_settings import StreamSARSASettings

__all__ = ["StreamSARSA"]

Tensors = dict[str, Tensor]


class Planned(EpsilonGreedy):
    """Chooses the next action before it learns from the last one, since it learns from its value."""

    settings: StreamSARSASettings

    def before(self, forward: Callable[..., Any], state: Tensors, batch: Batch) -> tuple[Tensors, Tensors]:
        """The transition, with the next action."""
        state, transition = super().before(forward, state, batch)
        planned = self.choose(forward, transition["next_states"][0], batch["lots"])["action"]
        return state, {**transition, "next_actions": planned.unsqueeze(0)}

    def after(self, forward: Callable[..., Any], state: Tensors, batch: Batch) -> Tensors:
        """Take that action; in the first state of an episode one of its own."""
        planned = batch["next_actions"][0]
        if self.settings.first_action == "own":
            own = self.choose(forward, batch["seen"][0], batch["lots"][0])["action"]
            planned = torch.where(batch["ended"][0], own, planned)
        return {**state, "action": planned}


class NextValue(ActionValues):
    """q(s, a) with delta = r + gamma q(s', a') - q(s, a); see `ActionValues`."""

    def following(self, values: Tensor, batch: Tensors) -> Tensor:
        """The value of the next action."""
        return at(values, batch["next_actions"][0])

    def signals(self, error: Tensor, greedy: Tensor, ended: Tensor) -> Tensors:
        """Traces go on whatever the action."""
        return signals(error, self.decay, ended)


class StreamSARSA(ValueAgents):
    """R independent agents of stream SARSA(lambda); see `StreamingAgents` for the arguments.

        delta = r + gamma q(s', a') - q(s, a);   z <- gamma lambda z + grad q(s, a);   w moves along delta z

    a' is chosen before the update and taken after it. The network gives a value for each action.
    """

    settings: StreamSARSASettings  # pyright: ignore[reportIncompatibleVariableOverride]

    def _make_experience(self, time_limit: int | None, dtype: torch.dtype) -> Experience:
        return Planned(self.settings, self._observations, time_limit, dtype)

    def _evaluate(self, decay: float, traces: bool) -> ActionValues:
        return NextValue(decay, traces)

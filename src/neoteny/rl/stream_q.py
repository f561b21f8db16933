"""Stream Q(lambda): the values of actions under the best policy, with Watkins' traces, for a few actions.

Elsayed, Vasan & Mahmood, "Streaming deep reinforcement learning finally works", arXiv 2410.14606, 2024, Algorithm 7;
Watkins, "Learning from delayed rewards", 1989.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from neoteny.rl.experience import Experience
from neoteny.rl.exploring import ActionValues, EpsilonGreedy, ValueAgents
from neoteny.rl.kernel import kernel_of
from neoteny.rl.stream_ac import signals
from neoteny.rl.stream_settings import StreamQSettings

__all__ = ["StreamQ"]

Tensors = dict[str, Tensor]


class BestValue(ActionValues):
    """q(s, a) with delta = r + gamma max q(s', .) - q(s, a); see `ActionValues`.

    Args:
        decay: gamma lambda of the traces.
        traces: whether the optimizer keeps traces.
        before: whether an action that is not greedy ends the traces before its update, otherwise after it.
    """

    def __init__(self, decay: float, traces: bool, before: bool):
        super().__init__(decay, traces)
        self.before = before

    def following(self, values: Tensor, batch: Tensors) -> Tensor:
        """The greatest value."""
        return values.max()

    def signals(self, error: Tensor, greedy: Tensor, ended: Tensor) -> Tensors:
        """Traces end at an action that is not greedy: what came of it says nothing about the best policy."""
        if self.before:
            return signals(error, self.decay * greedy.to(error.dtype), ended)
        return signals(error, self.decay, ended | ~greedy)


class StreamQ(ValueAgents):
    """R independent agents of stream Q(lambda); see `StreamingAgents` for the arguments.

        delta = r + gamma max q(s', .) - q(s, a);   z <- gamma lambda z + grad q(s, a);   w moves along delta z

    z is 0 in front of an action that is not greedy (`StreamQSettings.cut`) and after the end of an episode. The network
    gives a value for each action.

    >>> from neoteny.envs import OneByOne, make_classic
    >>> from neoteny.nn import MLP
    >>> from neoteny.optim import ObGD
    >>> agents = StreamQ(
    ...     OneByOne(lambda: make_classic("CartPole-v1"), 2),
    ...     settings=StreamQSettings(segment=50),
    ...     network=lambda: MLP(4, [16], 2, "leaky_relu", "sparse", "plain_layer"),
    ...     optimizer=ObGD(),
    ...     total=1_000,
    ...     compile=False,
    ... )
    >>> agents.iterate().step
    50
    """

    settings: StreamQSettings  # pyright: ignore[reportIncompatibleVariableOverride]

    def _make_experience(self, time_limit: int | None, dtype: torch.dtype) -> Experience:
        return EpsilonGreedy(self.settings, self._observations, time_limit, dtype)

    def _kernel(self, step: Any, module: nn.Module) -> Any:
        flags = {"clips": False, "before": self.settings.cut == "before"}
        return kernel_of(step, module, ("",), (0.0, float(self._experience.limit or 1)), flags)

    def _evaluate(self, decay: float, traces: bool) -> ActionValues:
        return BestValue(decay, traces, self.settings.cut == "before")

"""Agents that choose from a few actions by their values, most often the best one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from neoteny.errors import SettingError
from neoteny.lab.objective import Evaluation, Forward, Objective, Phase
from neoteny.optim import Optimizer
from neoteny.optim.signals import SIGNALS, decay_of
from neoteny.rl.experience import Experience
from neoteny.rl.stream_settings import Exploring
from neoteny.rl.streaming import StreamingAgents

__all__ = ["ActionValues", "EpsilonGreedy", "ValueAgents"]

Tensors = dict[str, Tensor]


class EpsilonGreedy(Experience):
    """Takes the action of the greatest value, or now and then a random one: lots are -1, or the number of one."""

    def no_action(self) -> Tensors:
        """The number of the action, and that before there is one."""
        return {"action": torch.zeros((), dtype=torch.int64)}

    def choose(self, forward: Callable[..., Any], seen: Tensor, lots: Tensor) -> Tensors:
        """The action for what is seen."""
        best = forward(seen.unsqueeze(0))[0].argmax()
        return {"action": torch.where(lots[0] < 0, best, lots[0].long())}


class ActionValues:
    """The phase of agents that learn q(s, a): the value of the action that was taken, and its error.

    Args:
        decay: gamma lambda of the traces.
        traces: whether the optimizer follows predictions with traces; otherwise it descends delta^2 / 2.
    """

    def __init__(self, decay: float, traces: bool):
        self.decay, self.traces = decay, traces

    @abstractmethod
    def following(self, values: Tensor, batch: Tensors) -> Tensor:
        """The value of what follows, [], of the values of the actions there, [A]."""

    @abstractmethod
    def signals(self, error: Tensor, greedy: Tensor, ended: Tensor) -> Tensors:
        """What a rule with traces reads; `greedy` says whether the action had the greatest value, bool []."""

    def __call__(self, forward: Forward, batch: Tensors, key: Tensor) -> Evaluation:
        """The value of the action, and its error."""
        values = forward(batch["states"])[0]
        after = forward(batch["next_states"], observed=False)[0].detach()
        value = at(values, batch["actions"][0])
        target = batch["rewards"][0] + batch["discounts"][0] * self.following(after, batch)
        error = target - value.detach()
        said = {"td_error": error.abs()}
        if not self.traces:
            return Evaluation((target - value).square() / 2, said)
        greedy = value.detach() >= values.detach().max()
        return Evaluation(value, said, self.signals(error, greedy, batch["ended"][0]))


def at(values: Tensor, action: Tensor) -> Tensor:
    """The value of an action, [], as a sum, whose gradient needs no scattering."""
    return (values * (torch.arange(values.shape[-1], device=values.device) == action)).sum()


class ValueAgents(StreamingAgents):
    """R independent agents that learn the values of actions; see `StreamingAgents` for the arguments."""

    DISCRETE: ClassVar[bool] = True
    settings: Exploring

    @abstractmethod
    def _evaluate(self, decay: float, traces: bool) -> ActionValues:
        """The phase."""

    def _objective(self, optimizer: Optimizer, experience: Experience) -> Objective:
        if not self._total:
            raise SettingError("exploration fades over the run: give total, the steps of an agent in all.")
        s, traces = self.settings, optimizer.follows != "loss"
        phase = Phase(
            evaluate=self._evaluate(decay_of(s.gamma, s.trace_lambda), traces),
            optimizer=optimizer,
            metrics=("td_error",),
            signals=SIGNALS if traces else (),
        )
        return Objective(phases=(phase,), inputs="states", interaction=experience, kernel=self._kernel)

    def _kernel(self, step: Any, module: nn.Module) -> Any:
        """The step by hand, where there is one."""
        return None

    def _draw(self, rng: np.random.Generator, step: int, steps: int) -> NDArray[np.float32]:
        random, chosen = rng.random(steps), rng.integers(self._actions, size=steps)
        share = np.array([self.settings.epsilon(step + k, self._total or 1) for k in range(steps)])
        return np.where(random < share, chosen, -1).astype(np.float32)[:, None]

    @classmethod
    def acting(
        cls, network: nn.Module, tensors: Mapping[str, Tensor]
    ) -> Callable[[NDArray[np.float32], np.random.Generator | None], NDArray[np.float32]]:
        """The action of the greatest value, as its number [1, n, 1]; see `Agents.acting`."""
        own = {name: value[0] for name, value in tensors.items()}

        def act(states: NDArray[np.float32], lots: np.random.Generator | None) -> NDArray[np.float32]:
            values = functional_call(network, own, (torch.from_numpy(states[0]),))
            return values.argmax(-1, keepdim=True).float().numpy()[None]

        return act

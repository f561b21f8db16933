"""DQN: agents that learn the values of a few actions from replay.

Mnih et al., "Human-level control through deep reinforcement learning", Nature 518, 2015; double: van Hasselt, Guez &
Silver, AAAI 2016; dueling networks: `neoteny.nn.Dueling`; priorities: Schaul et al., ICLR 2016.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import huber_loss

from neoteny.lab.objective import Batch, Evaluation, Forward, Objective, Phase, Slow
from neoteny.lab.objective import Tensors as TensorDict
from neoteny.nn.mlp import MLP
from neoteny.optim import Optimizer
from neoteny.rl.exploring import ValueAgents
from neoteny.rl.priorities import Priorities
from neoteny.rl.replay_agents import ReplayAgents
from neoteny.rl.replay_settings import DQNSettings

__all__ = ["DQN", "QLearning"]

TARGET = "target"
ERRORS = "td_errors"
"""The signal that says each transition's error."""


@dataclass(frozen=True, kw_only=True)
class QLearning:
    """The value of the action that was taken, towards that of the best action in the next state.

        y = r + gamma max over a of q'(s', a);   double: y = r + gamma q'(s', argmax over a of q(s', a))
        L = mean of w h(y - q(s, a))

    where q' are the target network's values, h half the square (beyond 1 linear: Huber's loss), and w the weights that
    correct for priorities, 1 otherwise.

    Args:
        double: whether q chooses the action.
        huber: whether errors beyond 1 count linearly.

    A batch holds `states`, `actions` (int64 [B]), `rewards`, `next_states`, `discounts`, and `weights` where there are
    priorities.

    Source: Mnih et al. 2015, Algorithm 1; van Hasselt et al. 2016, Eq. 4; Schaul et al. 2016, Algorithm 1.
    """

    metrics: ClassVar[tuple[str, ...]] = ("value", "td_error")

    double: bool = False
    huber: bool = True

    def __call__(self, forward: Forward, batch: Mapping[str, Tensor], key: Tensor) -> Evaluation:
        """The loss of a batch, and the error of each transition."""
        following = forward(batch["next_states"], slow=TARGET).detach()
        judge = forward(batch["next_states"], observed=False).detach() if self.double else following
        best = at(following, judge.argmax(-1))
        target = batch["rewards"] + batch["discounts"] * best
        value = at(forward(batch["states"]), batch["actions"])
        losses = huber_loss(value, target, reduction="none") if self.huber else (value - target).square() / 2
        errors = (target - value).detach()
        loss = (losses * batch["weights"]).mean() if "weights" in batch else losses.mean()
        said = {"value": value.detach().mean(), "td_error": errors.abs().mean()}
        return Evaluation(loss, said, {ERRORS: errors})


def at(values: Tensor, actions: Tensor) -> Tensor:
    """The values [B] of actions [B], of those of all [B, A], as a sum, whose gradient needs no scattering."""
    chosen = torch.arange(values.shape[-1], device=values.device) == actions.unsqueeze(-1)
    return (values * chosen).sum(-1)


class Errors:
    """Keeps the errors of the last batch, for priorities; see `neoteny.lab.objective.Interaction`.

    Args:
        count: transitions in a batch.
        dtype: of the errors.
    """

    def __init__(self, count: int, dtype: torch.dtype):
        self._count, self._dtype = count, dtype

    def init(self) -> TensorDict:
        """Nothing was seen yet."""
        return {ERRORS: torch.zeros(self._count, dtype=self._dtype)}

    def begin(self, forward: Callable[..., Any], state: TensorDict, batch: Batch) -> TensorDict:
        """Nothing to do."""
        return state

    def before(self, forward: Callable[..., Any], state: TensorDict, batch: Batch) -> tuple[TensorDict, Batch]:
        """Nothing to do."""
        return state, batch

    def after(self, forward: Callable[..., Any], state: TensorDict, batch: Batch) -> TensorDict:
        """The errors of this batch."""
        return {ERRORS: batch[ERRORS]}


class DQN(ReplayAgents):
    """R independent agents of DQN; see `ReplayAgents` for the arguments, and `DQNSettings` for variants.

    The network gives a value for each action: a `neoteny.nn.MLP`, or another one such as `neoteny.nn.MinAtarNet` or
    `neoteny.nn.Dueling`.

    >>> from neoteny.envs import OneByOne, make_classic
    >>> from neoteny.rl import DQN, DQNSettings
    >>> cart_poles = OneByOne(lambda: make_classic("CartPole-v1"), 2)
    >>> settings = DQNSettings(learning_starts=40, segment=50, capacity=1_000, priority=0.5)
    >>> agents = DQN(cart_poles, settings=settings, total=100, compile=False)
    >>> sorted(agents.iterate().losses)
    ['loss', 'td_error', 'value']

    Source: Mnih et al., Nature 518, 2015, Algorithm 1.
    """

    DISCRETE: ClassVar[bool] = True
    settings: DQNSettings

    def __init__(self, environments: Any, *, settings: DQNSettings, **options: Any):
        super().__init__(environments, settings=settings, **options)
        self._priorities = [Priorities(settings.capacity, settings.priority) for _ in self.seeds]

    def _networks(self) -> nn.Module:
        return MLP(self._observations, (128, 128), self._actions)

    def _example(self) -> Any:
        return torch.zeros(self.settings.batch_size, self._observations, dtype=self._dtype)

    def _objective(self, optimizer: Optimizer) -> Objective:
        s = self.settings
        learning = QLearning(double=s.double, huber=s.huber)
        signals = (ERRORS,) if s.priority else ()
        phase = Phase(evaluate=learning, optimizer=optimizer, metrics=learning.metrics, signals=signals)
        return Objective(
            phases=(phase,),
            slow={TARGET: Slow(rate=s.tau, every=s.target_every if s.tau == 1 else 1)},
            inputs="states",
            interaction=Errors(s.batch_size, self._dtype) if s.priority else None,
        )

    def _draw(self, rng: np.random.Generator, begun: int, steps: int) -> NDArray[np.float32]:
        """-1 for the best action, or the number of a random one; then a random one, [steps, E, 2]."""
        own = self.settings.environments
        share = np.array([[self.settings.epsilon(begun + step * own)] for step in range(steps)])
        explores, chosen = rng.random((steps, own)) < share, rng.integers(self._actions, size=(2, steps, own))
        return np.stack([np.where(explores, chosen[0], -1), chosen[1]], axis=-1).astype(np.float32)

    def _random(self, lots: NDArray[np.float32]) -> NDArray[np.float32]:
        return lots[..., 1:]

    def _chosen(self, outputs: NDArray[np.float32], lots: NDArray[np.float32] | None) -> NDArray[np.float32]:
        best = outputs.argmax(-1)[..., None].astype(np.float32)
        return best if lots is None else np.where(lots[..., :1] < 0, best, lots[..., :1])

    def _given(self, actions: NDArray[np.float32]) -> NDArray[Any]:
        return actions[..., 0].astype(np.int64)

    def _remember(self, count: int) -> None:
        if self.settings.priority:
            places = (self.buffer.added - count + np.arange(count)) % self.settings.capacity
            for own in self._priorities:
                own.add(places)

    def _learn(self, updates: int, generators: Sequence[np.random.Generator]) -> None:
        """Make some updates; with priorities each on a batch of the errors that the last one has changed."""
        s = self.settings
        if not s.priority:
            super()._learn(updates, generators)
            return
        share = min(self.step / self._total, 1.0) if self._total else 0.0
        beta = s.correction(share)
        for _ in range(updates):
            drawn = [
                own.draw(rng.random(s.batch_size), self.buffer.size, beta)
                for own, rng in zip(self._priorities, generators, strict=True)
            ]
            places, weights = (np.stack(part) for part in zip(*drawn, strict=True))
            batch = self._taken(self.buffer, places, generators)
            batch["weights"] = torch.from_numpy(weights).to(self.learner.device, self._dtype)
            self.learner.learn(batch)
            errors = self.learner.interaction()[ERRORS].cpu().numpy()
            for own, rows, values in zip(self._priorities, places, errors, strict=True):
                own.update(rows, values)
            self._phase += 1
        self._updates += updates

    @classmethod
    def acting(
        cls, network: nn.Module, tensors: Mapping[str, Tensor]
    ) -> Callable[[NDArray[np.float32], np.random.Generator | None], NDArray[np.float32]]:
        """The action of the greatest value, as its number [1, n, 1]; see `Agents.acting`."""
        return ValueAgents.acting.__func__(cls, network, tensors)

    def state_dict(self, folder: Path | None = None) -> dict[str, Any]:
        """Everything that the next iterations depend on; see `ReplayAgents`."""
        own = [priorities.state_dict() for priorities in self._priorities] if self.settings.priority else []
        return {**super().state_dict(folder), "priorities": own}

    def load_state_dict(self, state: Mapping[str, Any], folder: Path | None = None) -> None:
        """Go on from `state_dict(folder)`."""
        super().load_state_dict(state, folder)
        for own, saved in zip(self._priorities, state["priorities"], strict=False):
            own.load_state_dict(saved)

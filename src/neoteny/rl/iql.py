"""Implicit Q-learning and behaviour cloning: agents that learn from a data set first, and may go on in environments.

Kostrikov, Nair & Levine, "Offline reinforcement learning with implicit Q-learning", arXiv 2110.06169, 2021.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from neoteny.errors import DataError, SettingError
from neoteny.lab.objective import Evaluation, Forward, Objective, Phase, Slow
from neoteny.nn.networks import Networks
from neoteny.nn.soft_actor_critic import GaussianActor, IQLNetworks
from neoteny.optim import Optimizer
from neoteny.rl.ppo_loss import log_probability
from neoteny.rl.replay_settings import BehaviourCloningSettings, IQLSettings
from neoteny.rl.sac import GaussianAgents
from neoteny.rl.sac_loss import ACTOR, CRITIC, TARGET

__all__ = ["IQL", "BehaviourCloning"]

VALUE = "value"
GREATEST_WEIGHT = 100.0


def judged(forward: Forward, batch: Mapping[str, Tensor]) -> Tensor:
    """The least value that the target critics give to the actions of the data, [B]."""
    return forward(batch["states"], batch["actions"], network=CRITIC, slow=TARGET).amin(-1).detach()


@dataclass(frozen=True, kw_only=True)
class ExpectileValue:
    """The value of a state as an expectile t of the values of the actions that the data have there.

        u = min over k of q'_k(s, a) - v(s);   L = mean |t - [u < 0]| u^2

    Args:
        expectile: t.

    Source: Kostrikov et al. 2021, Eq. 5.
    """

    metrics: ClassVar[tuple[str, ...]] = ("state_value",)

    expectile: float = 0.9

    def __call__(self, forward: Forward, batch: Mapping[str, Tensor], key: Tensor) -> Evaluation:
        """The loss of a batch."""
        value = forward(batch["states"], network=VALUE).squeeze(-1)
        error = judged(forward, batch) - value
        weight = (self.expectile - (error < 0).to(error.dtype)).abs()
        return Evaluation((weight * error.square()).mean(), {"state_value": value.detach().mean()})


@dataclass(frozen=True, kw_only=True)
class WeightedCloning:
    """The actor learns the actions of the data, those that are better than v(s) more.

        w = min(exp(beta (min over k of q'_k(s, a) - v(s))), 100);   L = - mean w log pi(a | s)

    Args:
        scale: beta; None weighs all actions equally, which is behaviour cloning.

    Source: Kostrikov et al. 2021, Eq. 7.
    """

    metrics: ClassVar[tuple[str, ...]] = ("log_probability",)

    scale: float | None = 10.0

    def __call__(self, forward: Forward, batch: Mapping[str, Tensor], key: Tensor) -> Evaluation:
        """The loss of a batch."""
        mean, log_std = forward(batch["states"], network=ACTOR).chunk(2, -1)
        log_prob = log_probability(batch["actions"], mean, log_std)
        said = {"log_probability": log_prob.detach().mean()}
        if self.scale is None:
            return Evaluation(-log_prob.mean(), said)
        value = forward(batch["states"], network=VALUE, observed=False).squeeze(-1).detach()
        weight = (self.scale * (judged(forward, batch) - value)).exp().clamp(max=GREATEST_WEIGHT)
        return Evaluation(-(weight * log_prob).mean(), said)


@dataclass(frozen=True, kw_only=True)
class ImplicitCritics:
    """K critics learn r + gamma v(s'): L = sum over k of mean (q_k(s, a) - r - gamma v(s'))^2.

    Source: Kostrikov et al. 2021, Eq. 6.
    """

    metrics: ClassVar[tuple[str, ...]] = ("value",)

    def __call__(self, forward: Forward, batch: Mapping[str, Tensor], key: Tensor) -> Evaluation:
        """The loss of a batch."""
        following = forward(batch["next_states"], network=VALUE, observed=False).squeeze(-1)
        target = (batch["rewards"] + batch["discounts"] * following).detach()
        values = forward(batch["states"], batch["actions"], network=CRITIC)
        loss = (values - target.unsqueeze(-1)).square().mean(0).sum()
        return Evaluation(loss, {"value": values.detach().mean()})


class OfflineAgents(GaussianAgents):
    """Agents that make `offline_updates` updates on a data set, then act and learn on; see `ReplayAgents`.

    Raises:
        SettingError: there is no data set.
    """

    def __init__(self, environments: Any, *, settings: Any, data: Mapping[str, Any] | None = None, **options: Any):
        if data is None and settings.offline_updates:
            raise SettingError(
                f"offline_updates = {settings.offline_updates}, and there is no data set to make them on: give data, "
                "or 0."
            )
        super().__init__(environments, settings=settings, data=data, **options)

    @property
    def _learns_offline(self) -> bool:
        return self._offline_steps < self.settings.offline_updates

    def _take_in(self, data: Mapping[str, Any]) -> None:
        count = len(data.get("rewards", ()))
        if count > self.settings.capacity:
            raise DataError(
                f"the data set has {count:,} transitions, and capacity = {self.settings.capacity:,}: give a larger "
                "buffer, which also holds what the agents will meet."
            )
        if self.settings.environments > 1 and self.settings.n_step > 1:
            raise SettingError(
                f"environments = {self.settings.environments} and n_step = {self.settings.n_step}: the transitions of "
                "a data set follow one another, those of several environments do not; give 1 for one of them."
            )
        self.buffer.fill(self._scaled(data))

    def _offline_states(self) -> Tensor:
        places = np.arange(self.settings.segment) % self.buffer.size
        return self.buffer.take(np.tile(places, (self.agents, 1)), 1.0)["states"]

    @staticmethod
    def sample(outputs: NDArray[np.float32], noise: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """The mean, or a sample, within [-1, 1]."""
        mean, log_std = np.split(outputs, 2, axis=-1)
        return np.clip(mean if noise is None else mean + np.exp(log_std) * noise, -1.0, 1.0)


class IQL(OfflineAgents):
    """R independent agents of implicit Q-learning; see `OfflineAgents` for the arguments.

    The networks are `neoteny.nn.IQLNetworks`, or others with the same names and outputs.

    Source: Kostrikov et al., arXiv 2110.06169, 2021, Algorithm 1.
    """

    settings: IQLSettings

    def _networks(self) -> nn.Module:
        return IQLNetworks(self._observations, self._actions, critics=self.settings.critics)

    def _example(self) -> Any:
        rows = self.settings.batch_size
        states = torch.zeros(rows, self._observations, dtype=self._dtype)
        actions = torch.zeros(rows, self._actions, dtype=self._dtype)
        return {ACTOR: states, CRITIC: (states, actions), VALUE: states}

    def _objective(self, optimizer: Optimizer) -> Objective:
        s = self.settings
        parts = {
            VALUE: ExpectileValue(expectile=s.expectile),
            ACTOR: WeightedCloning(scale=s.advantage_scale),
            CRITIC: ImplicitCritics(),
        }
        phases = [
            Phase(name=name, evaluate=part, group=(f"{name}.",), optimizer=optimizer, metrics=part.metrics)
            for name, part in parts.items()
        ]
        return Objective(phases=tuple(phases), slow={TARGET: Slow(of=(f"{CRITIC}.",), rate=s.tau)}, inputs="states")

    def _phase_names(self) -> Sequence[str]:
        return (VALUE, ACTOR, CRITIC)


class BehaviourCloning(OfflineAgents):
    """R independent agents that learn to do what was done in a data set; see `OfflineAgents` for the arguments."""

    settings: BehaviourCloningSettings

    def _networks(self) -> nn.Module:
        return Networks({ACTOR: GaussianActor(self._observations, self._actions)})

    def _example(self) -> Any:
        return {ACTOR: torch.zeros(self.settings.batch_size, self._observations, dtype=self._dtype)}

    def _objective(self, optimizer: Optimizer) -> Objective:
        cloning = WeightedCloning(scale=None)
        phase = Phase(name=ACTOR, evaluate=cloning, group=(f"{ACTOR}.",), optimizer=optimizer, metrics=cloning.metrics)
        return Objective(phases=(phase,), inputs="states")

    def _phase_names(self) -> Sequence[str]:
        return (ACTOR,)

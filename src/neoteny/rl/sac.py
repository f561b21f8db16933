"""Soft actor-critic: agents for continuous actions that learn from replay, with ensembles and offline data as options.

Haarnoja et al., arXiv 1812.05905, 2018. With 10 critics, 20 updates a step and a subset of 2 it is REDQ (Chen et al.,
ICLR 2021); with half of each batch from a data set RLPD (Ball et al., ICML 2023).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from neoteny.lab.objective import Objective, Phase, Slow
from neoteny.nn.soft_actor_critic import SoftActorCritic
from neoteny.optim import Optimizer
from neoteny.rl.replay_agents import ACTS, ReplayAgents
from neoteny.rl.replay_settings import SACSettings
from neoteny.rl.sac_loss import ACTOR, CRITIC, TARGET, TEMPERATURE, Actor, Critics, Temperature, spread_of

__all__ = ["SAC", "GaussianAgents"]


class GaussianAgents(ReplayAgents):
    """Agents whose actions are Gaussian; see `ReplayAgents` for the arguments."""

    POLICY = ACTOR

    def _draw(self, rng: np.random.Generator, begun: int, steps: int) -> NDArray[np.float32]:
        """Normal numbers, and uniform ones for random actions, [steps, E, 2 A]."""
        shape = (steps, self.settings.environments, self._actions)
        return np.concatenate([rng.standard_normal(shape), rng.uniform(-1, 1, shape)], -1).astype(np.float32)

    @staticmethod
    @abstractmethod
    def sample(outputs: NDArray[np.float32], noise: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """Actions [..., A] of the actor's outputs [..., 2 A]: a sample, or without noise the preferred one."""

    def _chosen(self, outputs: NDArray[np.float32], lots: NDArray[np.float32] | None) -> NDArray[np.float32]:
        return self.sample(outputs, None if lots is None else lots[..., : self._actions])

    @classmethod
    def acting(
        cls, network: nn.Module, tensors: Mapping[str, Tensor]
    ) -> Callable[[NDArray[np.float32], np.random.Generator | None], NDArray[np.float32]]:
        """`sample` of the actor's outputs; see `Agents.acting`."""
        actor, start = network.get_submodule(ACTOR), f"{ACTOR}."
        own = {name.removeprefix(start): value[0] for name, value in tensors.items() if name.startswith(start)}

        def act(states: NDArray[np.float32], lots: np.random.Generator | None) -> NDArray[np.float32]:
            outputs = functional_call(actor, own, (torch.from_numpy(states[0]),)).numpy()
            shape = (len(outputs), outputs.shape[-1] // 2)
            return cls.sample(outputs, None if lots is None else lots.standard_normal(shape, dtype=np.float32))[None]

        return act

    def _random(self, lots: NDArray[np.float32]) -> NDArray[np.float32]:
        return lots[..., self._actions :]

    def inputs(self, states: Tensor) -> Any:
        """States for the actor, and for the critics with the actions that the actor prefers; see `Agents`."""
        states = states.to(self._dtype)
        actions = torch.from_numpy(self._chosen(self._policy(states.float().cpu().numpy()), None)).to(self._dtype)
        return {name: (states, actions) if name == CRITIC else states for name in self._example()}


class SAC(GaussianAgents):
    """R independent agents of soft actor-critic; see `ReplayAgents` for the arguments, and `SACSettings` for variants.

    The networks are a `neoteny.nn.SoftActorCritic`, or others with the same names and outputs.

    >>> import gymnasium
    >>> from neoteny.rl import SAC, OneByOne, SACSettings
    >>> pendulum = OneByOne(lambda: gymnasium.make("Pendulum-v1"), 2)
    >>> settings = SACSettings(learning_starts=190, segment=200, batch_size=16, capacity=1_000)
    >>> agents = SAC(pendulum, settings=settings, compile=False)
    >>> made = agents.iterate()
    >>> made.step, sorted(made.losses)[:2]
    (200, ['actor_loss', 'critic_loss'])

    Source: Haarnoja et al., arXiv 1812.05905, 2018, Algorithm 1.
    """

    settings: SACSettings

    def _networks(self) -> nn.Module:
        s = self.settings
        return SoftActorCritic(self._observations, self._actions, critics=s.critics, temperature=s.initial_temperature)

    def _example(self) -> Any:
        rows = self.settings.batch_size
        states = torch.zeros(rows, self._observations, dtype=self._dtype)
        return {ACTOR: states, CRITIC: (states, torch.zeros(rows, self._actions, dtype=self._dtype))}

    def _objective(self, optimizer: Optimizer) -> Objective:
        s = self.settings
        aim = -self._actions / 2 if s.target_entropy is None else s.target_entropy
        critics = Critics(entropy=s.entropy_in_target)
        actor, temperature = Actor(value=s.actor_value), Temperature(target=aim, learned=s.learned_temperature)
        stays: Any = {} if s.learned_temperature or not hasattr(optimizer, "weight_decay") else {"weight_decay": 0.0}
        return Objective(
            phases=(
                Phase(
                    name="critic", evaluate=critics, group=(f"{CRITIC}.",), optimizer=optimizer, metrics=critics.metrics
                ),
                Phase(
                    name="actor",
                    evaluate=actor,
                    group=(f"{ACTOR}.",),
                    optimizer=optimizer,
                    metrics=actor.metrics,
                    signals=actor.signals,
                    when=ACTS if s.actor_every > 1 else None,
                ),
                Phase(
                    name="temperature",
                    evaluate=temperature,
                    group=(TEMPERATURE,),
                    optimizer=replace(optimizer, **stays),
                    metrics=temperature.metrics,
                    when=ACTS if s.actor_every > 1 else None,
                ),
            ),
            slow={TARGET: Slow(of=(f"{CRITIC}.",), rate=s.tau)},
            inputs="states",
        )

    @property
    def _actor_every(self) -> int:
        return self.settings.actor_every

    def _phase_names(self) -> Sequence[str]:
        return ("critic", "actor", "temperature") if self.settings.learned_temperature else ("critic", "actor")

    def _batches(self, count: int, generators: Sequence[np.random.Generator]) -> dict[str, Tensor]:
        """Batches with the noise of their actions; half of them from the data set, where there is one."""
        s = self.settings
        offline = round(s.batch_size * s.offline_share) if self._offline else 0
        found = self._drawn(self.buffer, count, s.batch_size - offline, generators)
        if self._offline and offline:
            old = self._drawn(self._offline, count, offline, generators)
            found = {name: torch.cat([value, old[name]], dim=2) for name, value in found.items()}
        shape = (2, count, s.batch_size, self._actions)
        noise = torch.from_numpy(np.stack([rng.standard_normal(shape, dtype=np.float32) for rng in generators]))
        found["noise"], found["next_noise"] = noise.to(self.learner.device, self._dtype).unbind(1)
        if s.target_critics < s.critics:
            rank = np.stack([rng.random((count, s.critics)).argsort(-1).argsort(-1) for rng in generators])
            left_out = np.where(rank < s.target_critics, 0.0, np.inf)
            found["left_out"] = torch.from_numpy(left_out).to(self.learner.device, self._dtype)
        return found

    def _take_in(self, data: Mapping[str, Any]) -> None:
        self._offline = self._buffer(1, max(len(data.get("rewards", ())), 1), environments=1)
        self._offline.fill(self._scaled(data))

    @staticmethod
    def sample(outputs: NDArray[np.float32], noise: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """The hyperbolic tangent of the mean, or of a sample."""
        mean, log_std = (value.numpy() for value in spread_of(torch.from_numpy(outputs)))
        return np.tanh(mean if noise is None else mean + np.exp(log_std) * noise)

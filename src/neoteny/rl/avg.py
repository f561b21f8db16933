"""Action value gradient (AVG): a soft actor-critic that learns from every step once, without replay or target networks.

Vasan, Elsayed, Azimi, He, Shahriar, Bellinger, White & Mahmood, "Deep policy gradient methods without batch updates,
target networks, or replay buffers", NeurIPS 2024, Algorithm 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import softplus

from neoteny.errors import SettingError
from neoteny.lab.objective import Batch, Evaluation, Forward, Objective, Phase
from neoteny.optim import Optimizer
from neoteny.rl.continuous import ACTOR, CRITIC, ContinuousAgents
from neoteny.rl.experience import Experience
from neoteny.rl.scaling import ReturnScale
from neoteny.rl.stream_settings import AVGSettings

__all__ = ["AVG"]

Tensors = dict[str, Tensor]
LEAST, MOST = -20.0, 2.0
"""Bounds of log sigma."""


def squashed(outputs: Tensor, lots: Tensor) -> tuple[Tensor, Tensor]:
    """The action tanh(mu + sigma xi), [..., A], and its log-probability, [...].

    Args:
        outputs: of the actor, mu and log sigma, [..., 2 A].
        lots: xi, normal numbers, [..., A].
    """
    mean, log_std = outputs.chunk(2, dim=-1)
    log_std = log_std.clamp(LEAST, MOST)
    free = mean + log_std.exp() * lots
    # log (1 - tanh^2 u) = 2 (log 2 - u - softplus(-2 u)), without the rounding of tanh near 1
    slope = 2 * (math.log(2) - free - softplus(-2 * free))
    normal = -0.5 * lots.square() - log_std - 0.5 * math.log(2 * math.pi)
    return free.tanh(), (normal - slope).sum(-1)


class Squashed(Experience):
    """Draws an action for what is seen; and another for what was reached, from the weights before the step.

    Lots are 2 A normal numbers: those of the action that is taken next, and those of the one that is only judged.
    """

    settings: AVGSettings  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(
        self, settings: AVGSettings, observations: int, time_limit: int | None, dtype: torch.dtype, actions: int
    ):
        super().__init__(settings, observations, time_limit, dtype)
        self.actions, self._returns = actions, ReturnScale(settings.gamma)

    def no_action(self) -> Tensors:
        """The action, which the environment takes as it is; the lots that it was drawn with; its log-probability."""
        zeros = {name: torch.zeros(self.actions, dtype=self.dtype) for name in ("action", "given", "drawn")}
        return {**zeros, "likely": torch.zeros((), dtype=self.dtype)}

    def init(self) -> Tensors:
        """The state before the first observation."""
        return {**super().init(), **self._returns.init()}

    def choose(self, forward: Callable[..., Any], seen: Tensor, lots: Tensor) -> Tensors:
        """The same entries, for what is seen."""
        drawn = lots[: self.actions].to(self.dtype)
        action, likely = squashed(forward(seen.unsqueeze(0), network=ACTOR)[0], drawn)
        return {"action": action, "given": action, "drawn": drawn, "likely": likely}

    def before(self, forward: Callable[..., Any], state: Tensors, batch: Batch) -> tuple[Tensors, Tensors]:
        """The transition, with an action for what was reached, and sigma."""
        drawn, likely = state["drawn"], state["likely"]
        state, transition = super().before(forward, state, batch)
        outputs = forward(transition["next_states"], network=ACTOR)[0]
        planned, planned_likely = squashed(outputs, batch["lots"][self.actions :].to(self.dtype))
        over = transition["ended"][0] if self.settings.returns == "episode" else batch["outcomes"][1] > 0
        reward = transition["rewards"][0] - self.settings.entropy * likely
        state, sigma = self._returns(state, reward, over)
        own = {"drawn": drawn, "next_actions": planned, "next_likely": planned_likely, "sigma": sigma}
        return state, {**transition, **{name: value.unsqueeze(0) for name, value in own.items()}}


def value_of(forward: Forward, states: Tensor, actions: Tensor, observed: bool = True) -> Tensor:
    """q(s, a), []."""
    return forward(torch.cat([states, actions], -1), network=CRITIC, observed=observed)[0, 0]


@dataclass(frozen=True)
class ActionValueGradient:
    """The actor's phase: it descends eta log pi(a|s) - q(s, a), where a = tanh(mu + sigma xi) moves with mu and sigma.

    Args:
        entropy: eta.
    """

    entropy: float

    def __call__(self, forward: Forward, batch: Tensors, key: Tensor) -> Evaluation:
        """The loss of the action that was taken, and its negative log-probability as a sample of the entropy."""
        states = batch["states"]
        action, likely = squashed(forward(states, network=ACTOR)[0], batch["drawn"][0])
        value = value_of(forward, states, action.unsqueeze(0), observed=False)
        return Evaluation(self.entropy * likely - value, {"entropy": -likely.detach()})


@dataclass(frozen=True)
class SoftValue:
    """The critic's phase: it descends (delta / sigma)^2, delta = r + gamma (q(s', a') - eta log pi(a'|s')) - q(s, a).

    Args:
        entropy: eta.
    """

    entropy: float

    def __call__(self, forward: Forward, batch: Tensors, key: Tensor) -> Evaluation:
        """The loss, and |delta|."""
        following = value_of(forward, batch["next_states"], batch["next_actions"], observed=False).detach()
        soft = following - self.entropy * batch["next_likely"][0]
        value = value_of(forward, batch["states"], batch["actions"])
        error = batch["rewards"][0] + batch["discounts"][0] * soft - value
        return Evaluation((error / batch["sigma"][0]).square(), {"td_error": error.detach().abs()})


class AVG(ContinuousAgents):
    """R independent agents of action value gradient; see `StreamingAgents` for the arguments.

    With a = tanh(mu(s) + sigma(s) xi), a' drawn for s' likewise, and sigma_d of `neoteny.rl.scaling.ReturnScale`:

        delta = r + gamma (q(s', a') - eta log pi(a'|s')) - q(s, a)
        actor:  descends eta log pi(a|s) - q(s, a), through a
        critic: descends (delta / sigma_d)^2

    Both gradients are taken at the weights with which a was chosen. Observations are normalised. The optimizer is one
    that descends losses: Adam with betas (0, 0.999) in the paper. The networks are a `neoteny.nn.networks.Networks` of
    an `actor` of s with 2 A outputs and a `critic` of s and a with one.

    Differences from the authors' code: log sigma is cut off at -20 and 2; a return ends with every episode
    (`returns="termination"` for theirs, which goes on over time-outs).

    Raises:
        SettingError: an optimizer that follows predictions; actions whose bounds are not -1 and 1.

    >>> from neoteny.envs import MujocoVectorEnv
    >>> from neoteny.nn import MLP
    >>> from neoteny.nn.networks import Networks
    >>> from neoteny.optim import Adam
    >>> agents = AVG(
    ...     MujocoVectorEnv("Hopper-v5", 2),
    ...     settings=AVGSettings(segment=50),
    ...     network=lambda: Networks({"actor": MLP(11, [16], 6), "critic": MLP(14, [16], 1)}),
    ...     optimizer=Adam(step_size=1e-3, betas=(0.0, 0.999)),
    ...     compile=False,
    ... )
    >>> agents.iterate().step
    50
    """

    settings: AVGSettings

    def _make_experience(self, time_limit: int | None, dtype: torch.dtype) -> Experience:
        space = self.environments.single_action_space
        low, high = np.min(space.low), np.max(space.high)
        if not (np.all(space.low == -1) and np.all(space.high == 1)):
            raise SettingError(
                f"actions between {low:g} and {high:g}: AVG's lie between -1 and 1; rescale the environment's "
                "(gymnasium.wrappers.RescaleAction), or take StreamAC."
            )
        return Squashed(self.settings, self._observations, time_limit, dtype, self._actions)

    def _objective(self, optimizer: Optimizer, experience: Experience) -> Objective:
        if optimizer.follows == "prediction":
            raise SettingError(
                f"{type(optimizer).__name__} follows predictions, and AVG descends losses: give Adam with betas "
                "(0, 0.999), or take StreamAC."
            )
        s = self.settings
        actor = Phase(
            name=ACTOR,
            group=(f"{ACTOR}.",),
            evaluate=ActionValueGradient(s.entropy),
            optimizer=replace(optimizer, step_size=s.actor_step_size),
            metrics=("entropy",),
        )
        critic = Phase(
            name=CRITIC,
            group=(f"{CRITIC}.",),
            evaluate=SoftValue(s.entropy),
            optimizer=optimizer,
            metrics=("td_error",),
        )
        return Objective(phases=(actor, critic), inputs="states", interaction=experience)

    def inputs(self, states: Tensor) -> dict[str, Tensor]:
        """The critic sees the actions too."""
        return {ACTOR: states[..., : self._experience.inputs], CRITIC: states}

    @property
    def _looked(self) -> int:
        return self._experience.inputs + self._actions

    def _look(self, state: dict[str, NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate([state["seen"], state["action"]], -1)

    def _draw(self, rng: np.random.Generator, step: int, steps: int) -> NDArray[np.float32]:
        return rng.standard_normal((steps, 2 * self._actions), dtype=np.float32)

    @classmethod
    def acting(
        cls, network: nn.Module, tensors: Mapping[str, Tensor]
    ) -> Callable[[NDArray[np.float32], np.random.Generator | None], NDArray[np.float32]]:
        """tanh(mu), or a sample; see `Agents.acting`."""
        own = {name: value[0] for name, value in tensors.items()}

        def act(states: NDArray[np.float32], lots: np.random.Generator | None) -> NDArray[np.float32]:
            outputs = functional_call(network, own, (ACTOR, torch.from_numpy(states[0])))
            shape = (len(outputs), outputs.shape[-1] // 2)
            drawn = np.zeros(shape) if lots is None else lots.standard_normal(shape)
            return squashed(outputs, torch.from_numpy(drawn.astype(np.float32)))[0].numpy()[None]

        return act

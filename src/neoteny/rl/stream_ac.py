"""Stream AC(lambda): an actor and a critic with traces, for continuous actions.

Elsayed, Vasan & Mahmood, "Streaming deep reinforcement learning finally works", arXiv 2410.14606, 2024, Algorithm 9.
"""

from __future__ import annotations

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
from neoteny.lab.objective import Evaluation, Forward, Objective, Phase
from neoteny.optim import Optimizer
from neoteny.optim.signals import DELTA, ENDED, SIGNALS, TRACE_DECAY, decay_of
from neoteny.rl.continuous import ACTOR, CRITIC, ContinuousAgents
from neoteny.rl.experience import Experience
from neoteny.rl.kernel import kernel_of
from neoteny.rl.ppo_loss import log_probability
from neoteny.rl.stream_settings import StreamACSettings

__all__ = ["StreamAC"]

Tensors = dict[str, Tensor]


def policy(outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the actions, [..., A] each, of the actor's outputs [..., 2 A]."""
    mean, width = outputs.chunk(2, dim=-1)
    return mean, softplus(width)


@dataclass(frozen=True)
class TemporalDifference:
    """The critic's phase: v(s), and its error delta = r + gamma v(s') - v(s).

    Args:
        decay: gamma lambda of the traces.
        traces: whether the optimizer follows predictions with traces; otherwise it descends delta^2 / 2.
    """

    decay: float
    traces: bool

    def __call__(self, forward: Forward, batch: Tensors, key: Tensor) -> Evaluation:
        """The value of the state, and its error."""
        value = forward(batch["states"], network=CRITIC)[0, 0]
        following = forward(batch["next_states"], network=CRITIC, observed=False)[0, 0].detach()
        target = batch["rewards"][0] + batch["discounts"][0] * following
        error = target - value.detach()
        said = {"td_error": error.abs()}
        if not self.traces:
            return Evaluation((target - value).square() / 2, said, {"td": error})
        return Evaluation(value, said, {"td": error, **signals(error, self.decay, batch["ended"][0])})


def signals(delta: Tensor, decay: float | Tensor, ended: Tensor) -> Tensors:
    """What a rule with traces reads."""
    return {DELTA: delta, TRACE_DECAY: torch.zeros_like(delta) + decay, ENDED: ended}


@dataclass(frozen=True)
class PolicyGradient:
    """The actor's phase: log pi(a|s) + c sign(delta) H(pi), with the critic's error delta.

    So the trace follows grad log pi + c sign(delta) grad H, and the entropy always grows.

    Args:
        decay: gamma lambda of the traces.
        traces: whether the optimizer follows predictions with traces; otherwise it descends -delta log pi - c H.
        entropy: c.
    """

    decay: float
    traces: bool
    entropy: float

    def __call__(self, forward: Forward, batch: Tensors, key: Tensor) -> Evaluation:
        """The log-probability of the action, and its error."""
        mean, std = policy(forward(batch["states"], network=ACTOR))
        log_std, delta = std.log(), batch["td"]
        likely = log_probability(batch["actions"], mean, log_std)[0]
        entropy = log_std.sum() + 0.5 * log_std.numel() * (1 + np.log(2 * np.pi))
        said = {"entropy": entropy.detach()}
        if not self.traces:
            return Evaluation(-delta * likely - self.entropy * entropy, said)
        value = likely + self.entropy * delta.sign() * entropy
        return Evaluation(value, said, signals(delta, self.decay, batch["ended"][0]))


class Gaussian(Experience):
    """Draws continuous actions from the actor's Gaussian.

    Args:
        settings: of the agent.
        observations: O.
        time_limit: the greatest length of an episode.
        low: bounds of what environments take, [A] each.
        high: see `low`.
    """

    def __init__(
        self,
        settings: StreamACSettings,
        observations: int,
        time_limit: int | None,
        dtype: torch.dtype,
        low: Tensor,
        high: Tensor,
    ):
        super().__init__(settings, observations, time_limit, dtype)
        self.bounds = self._low, self._high = low.to(dtype), high.to(dtype)

    def no_action(self) -> Tensors:
        """The action as it was drawn, and as the environment takes it."""
        return {"action": torch.zeros_like(self._low), "given": torch.zeros_like(self._low)}

    def choose(self, forward: Callable[..., Any], seen: Tensor, lots: Tensor) -> Tensors:
        """Mu + sigma times normal lots [A]."""
        mean, std = policy(forward(seen.unsqueeze(0), network=ACTOR)[0])
        action = mean + std * lots
        given = action
        if self.settings.clip_actions:
            given = torch.minimum(torch.maximum(action, self._low.to(action.device)), self._high.to(action.device))
        return {"action": action, "given": given}


class StreamAC(ContinuousAgents):
    """R independent agents of stream AC(lambda); see `StreamingAgents` for the arguments.

    With z the traces of each network, of decay gamma lambda, and delta = r + gamma v(s') - v(s):

        critic: z <- gamma lambda z + grad v(s);   w moves along delta z
        actor:  z <- gamma lambda z + grad log pi(a|s) + c sign(delta) grad H(pi);   w moves along delta z

    by ObGD with kappa 2 and 3. The actor's outputs are mean and softplus^-1 of the standard deviation of each action.
    Given an optimizer without traces, such as Adam, it is the classic one-step actor-critic.

    The networks are a `neoteny.nn.networks.Networks` of an `actor` with 2 A outputs and a `critic` with one.

    >>> from neoteny.envs import MujocoVectorEnv
    >>> from neoteny.nn import MLP
    >>> from neoteny.nn.networks import Networks
    >>> from neoteny.optim import ObGD
    >>> usual = {"activation": "leaky_relu", "initialisation": "sparse", "normalisation": "plain_layer"}
    >>> agents = StreamAC(
    ...     MujocoVectorEnv("Hopper-v5", 2),
    ...     settings=StreamACSettings(segment=50),
    ...     network=lambda: Networks({"actor": MLP(12, [16], 6, **usual), "critic": MLP(12, [16], 1, **usual)}),
    ...     optimizer=ObGD(),
    ...     time_limit=1000,
    ...     compile=False,
    ... )
    >>> agents.iterate().step
    50
    """

    settings: StreamACSettings

    def _make_experience(self, time_limit: int | None, dtype: torch.dtype) -> Experience:
        space = self.environments.single_action_space
        low, high = (torch.from_numpy(np.asarray(bound, np.float32)) for bound in (space.low, space.high))
        return Gaussian(self.settings, self._observations, time_limit, dtype, low, high)

    def _objective(self, optimizer: Optimizer, experience: Experience) -> Objective:
        s, traces, usual = self.settings, optimizer.follows != "loss", StreamACSettings()
        kind = type(optimizer).__name__
        if not traces and s.actor_step_size != usual.actor_step_size:
            raise SettingError(
                f"actor_step_size = {s.actor_step_size!r}: without traces actor and critic have one step size, that of "
                f"{kind}; leave it out."
            )
        if not hasattr(optimizer, "kappa") and s.actor_kappa != usual.actor_kappa:
            raise SettingError(f"actor_kappa = {s.actor_kappa!r}: {kind} has no kappa; leave it out, or take ObGD.")
        decay = decay_of(s.gamma, s.trace_lambda)
        own = {"step_size": s.actor_step_size} if traces else {}
        own |= {"kappa": s.actor_kappa} if hasattr(optimizer, "kappa") else {}
        own |= {"policy": True} if hasattr(optimizer, "policy") else {}  # of intentional updates
        given = SIGNALS if traces else ()
        critic = Phase(
            name=CRITIC,
            group=(f"{CRITIC}.",),
            evaluate=TemporalDifference(decay, traces),
            optimizer=optimizer,
            metrics=("td_error",),
            signals=given,
        )
        actor = Phase(
            name=ACTOR,
            group=(f"{ACTOR}.",),
            evaluate=PolicyGradient(decay, traces, s.entropy),
            optimizer=replace(optimizer, **own),
            metrics=("entropy",),
            signals=given,
        )
        return Objective(phases=(critic, actor), inputs="states", interaction=experience, kernel=self._kernel)

    def _kernel(self, step: Any, module: nn.Module) -> Any:
        s = self.settings
        reals = (s.entropy, float(self._experience.limit or 1))
        return kernel_of(step, module, (CRITIC, ACTOR), reals, {"clips": s.clip_actions, "before": False})

    def _draw(self, rng: np.random.Generator, step: int, steps: int) -> NDArray[np.float32]:
        return rng.standard_normal((steps, self._actions), dtype=np.float32)

    @classmethod
    def acting(
        cls, network: nn.Module, tensors: Mapping[str, Tensor]
    ) -> Callable[[NDArray[np.float32], np.random.Generator | None], NDArray[np.float32]]:
        """The mean of the policy, or a sample; see `Agents.acting`."""
        own = {name: value[0] for name, value in tensors.items()}

        def act(states: NDArray[np.float32], lots: np.random.Generator | None) -> NDArray[np.float32]:
            mean, std = policy(functional_call(network, own, (ACTOR, torch.from_numpy(states[0]))))
            noise = 0.0 if lots is None else torch.from_numpy(lots.standard_normal(mean.shape).astype(np.float32))
            return (mean + std * noise).numpy()[None]

        return act

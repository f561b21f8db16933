"""Proximal policy optimisation of many agents side by side, on the laboratory's learner.

Schulman, Wolski, Dhariwal, Radford & Klimov, "Proximal policy optimization algorithms", arXiv 1707.06347, 2017.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from neoteny.errors import SettingError
from neoteny.lab.learner import Learner
from neoteny.lab.objective import Objective, Phase
from neoteny.methods.base import Method
from neoteny.methods.shared.clip_grad_norm import ClipGradNorm
from neoteny.nn.actor_critic import ActorCritic
from neoteny.optim import Adam, Optimizer
from neoteny.rl.agents import Agents, Iteration
from neoteny.rl.environments import Environments
from neoteny.rl.gae import gae
from neoteny.rl.policy import Policy
from neoteny.rl.ppo_loss import PPOLoss, log_probability
from neoteny.rl.rollout import Rollout, collect
from neoteny.rl.settings import PPOSettings
from neoteny.seeds import DATA, ENVIRONMENT, generator

__all__ = ["PPO"]

_NOISE = 1  # which of a run's generators for its environment


class PPO(Agents):
    """R independent agents, each with its own environments, seed, network and minibatches.

    An iteration collects T steps in each of an agent's E environments, then makes K epochs of updates on minibatches of
    the T E steps, with the loss of `PPOLoss` and the advantages of `gae`. Agents differ in nothing but their seeds (and
    in what is `varied`): agent k learns the same alone and beside others, up to rounding. Methods act on actor and
    critic as they do on any network, after every update.

    Args:
        environments: R * E of them, those of the first agent first; their number divided by `settings.environments` is
            R. Such as `neoteny.envs.MujocoVectorEnv("Ant-v5", 8)`, or `neoteny.rl.OneByOne` for any other.
        seeds: a seed an agent; by default 0 to R - 1.
        settings: how the agents learn.
        methods: one, or several in the order in which they act.
        optimizer: of both networks, one of `neoteny.optim`.
        hidden: sizes of the hidden layers.
        activation: of the hidden layers.
        network: makes an agent's networks, where `ActorCritic(hidden, activation)` is not what is wanted; its outputs
            are to be those of an `ActorCritic`, with a submodule `actor` that gives the mean.
        varied: settings that differ between agents, a value each: `step_size`, `cbp.replacement_rate`.
        total: steps of an agent in all, for a step size that is annealed.
        strategy: how the agents' updates are laid out, as for `neoteny.lab.Learner`.
        compile: whether updates are compiled.
        precision: of products in updates, `float32` or `bfloat16`.

    Raises:
        SettingError: environments that do not step in arrays or have no continuous actions, a number of environments
            or seeds that does not fit, a method or optimizer that is none of the library's.

    >>> import gymnasium
    >>> from neoteny.rl import PPO, OneByOne, PPOSettings
    >>> pendulum = OneByOne(lambda: gymnasium.make("Pendulum-v1"), 2)
    >>> agents = PPO(pendulum, settings=PPOSettings(rollout_steps=256, epochs=1), compile=False)
    >>> agents.iterate().episodes.length
    array([200, 200])
    """

    settings: PPOSettings

    def __init__(
        self,
        environments: Environments,
        *,
        seeds: Sequence[int] | None = None,
        settings: PPOSettings | None = None,
        methods: Method | Sequence[Method] = (),
        optimizer: Optimizer | None = None,
        hidden: Sequence[int] = (256, 256),
        activation: str = "relu",
        network: Any = None,
        varied: Mapping[str, Sequence[float]] | None = None,
        total: int | None = None,
        strategy: str = "auto",
        compile: bool = True,
        device: torch.device | str = "cpu",
        precision: str = "float32",
    ):
        settings = settings or PPOSettings()
        super().__init__(environments, settings, seeds, total)
        optimizer = optimizer or Adam(step_size=1e-4)
        own_methods = [methods] if isinstance(methods, Method) else list(methods)
        _require_instances("methods", own_methods, Method, "neoteny.L2()")
        _require_instances("optimizer", [optimizer], Optimizer, "neoteny.optim.Adam(step_size=1e-4)")
        clipping = [ClipGradNorm(max_norm=settings.max_grad_norm)] if math.isfinite(settings.max_grad_norm) else []
        loss = PPOLoss(clip_coef=settings.clip_coef, vf_coef=settings.vf_coef, ent_coef=settings.ent_coef)
        phase = Phase(evaluate=loss, optimizer=optimizer, metrics=loss.metrics)
        self.learner = Learner(
            network or partial(ActorCritic, self._observations, self._actions, tuple(hidden), activation),
            torch.zeros(settings.batch_size, self._observations),
            objective=Objective(phases=(phase,), inputs="states"),
            methods=[*clipping, *own_methods],
            seeds=self.seeds,
            varied=varied,
            strategy=strategy,
            compile=compile,
            device=device,
            precision=precision,
            rated=settings.anneal_step_size,
            watch_updates=True,
        )
        if "log_std" not in self.learner.parameters or not self.learner.tensors("actor."):
            raise SettingError("network makes no agent: it lacks a parameter log_std, or a submodule actor.")
        self.policy = Policy(self.learner.module("actor"))

    def iterate(self) -> Iteration:
        """Collect a batch, and learn from it.

        Raises:
            SettingError: an environment gave an observation that is not a number.
        """
        began, physics = time.perf_counter(), self.actors.physics
        s, number = self.settings, self.step // self.settings.iteration_steps
        self._anneal()
        rollout = self._collect(number)
        collected = time.perf_counter()
        sums = self.learner.advance(self._minibatches(rollout, number))
        losses = {name: value.double().cpu().numpy() / s.updates for name, value in sums.items()}
        self._drop_broken()
        self._seconds["policy"] += collected - began - (self.actors.physics - physics)
        self._seconds["update"] += time.perf_counter() - collected
        return Iteration(self.step, self.actors.episodes.flush(), losses, self.actors.friction)

    def _collect(self, iteration: int) -> Rollout:
        """T steps in every environment."""
        shape = (self.settings.rollout_steps, self.settings.environments, self._actions)
        self.policy.use(self.learner.tensors("actor."))
        spread = self.learner.tensors("log_std")[""].exp().cpu().numpy()
        noise = [
            generator(seed, ENVIRONMENT, _NOISE, iteration).standard_normal(shape).astype(np.float32) * own
            for seed, own in zip(self.seeds, spread, strict=True)
        ]
        return collect(self.actors, self.policy, np.stack(noise, axis=1))

    @classmethod
    def acting(
        cls, network: nn.Module, tensors: Mapping[str, Tensor]
    ) -> Callable[[NDArray[np.float32], np.random.Generator | None], NDArray[np.float32]]:
        """The mean of the policy, or a sample; see `Agents.acting`."""
        policy = Policy(network.get_submodule("actor"))
        policy.use({name[6:]: value for name, value in tensors.items() if name.startswith("actor.")})
        spread = tensors["log_std"].exp().cpu().numpy()[0]

        def act(states: NDArray[np.float32], lots: np.random.Generator | None) -> NDArray[np.float32]:
            mean = policy(states)
            return mean if lots is None else mean + spread * lots.standard_normal(mean.shape).astype(np.float32)

        return act

    def _judge(self, made: Rollout) -> tuple[Tensor, NDArray[np.float64], NDArray[np.float64]]:
        """Of what was met the log-probabilities, values and values of what followed, by the networks that acted."""
        mean, log_std, value = ActorCritic.split(self._outputs(made.states))
        actions = torch.from_numpy(made.actions).to(self.learner.device)
        log_probs = log_probability(actions, mean[:-1], log_std[:-1])
        values = value.double().cpu().numpy()
        follows = np.where(made.ended, 0.0, values[1:])
        for final in made.finals if self.settings.bootstrap_timeouts else ():
            states = np.zeros((1, *made.states.shape[1:]), dtype=np.float32)
            states[0, final.agents, final.numbers] = final.states
            *_, beyond = ActorCritic.split(self._outputs(states))
            reached = beyond[0].double().cpu().numpy()
            follows[final.step, final.agents, final.numbers] = reached[final.agents, final.numbers]
        return log_probs, values[:-1], follows

    def _outputs(self, seen: NDArray[np.float32]) -> Tensor:
        """The networks' outputs for [T, R, E, observations], [T, R, E, 2 A + 1]."""
        rows = torch.from_numpy(np.ascontiguousarray(np.moveaxis(seen, 1, 0)))
        outputs = self.learner.outputs(rows.flatten(1, 2), trained=True)  # as in `_collect`
        return outputs.unflatten(1, rows.shape[1:3]).movedim(0, 1)

    def _minibatches(self, made: Rollout, iteration: int) -> dict[str, Tensor]:
        """What was met, shuffled into minibatches anew each epoch: [R, updates, batch_size, ...] by name."""
        s, device = self.settings, self.learner.device
        log_probs, values, follows = self._judge(made)
        estimates = gae(made.rewards, values, follows, made.ended, s.gamma, s.gae_lambda)
        advantages, returns = (torch.from_numpy(value).to(device, torch.float32) for value in estimates)
        if s.normalise_advantages == "batch":
            advantages = _standardised(advantages, (0, 2))
        met = {
            "states": torch.from_numpy(made.states[:-1]).to(device),
            "actions": torch.from_numpy(made.actions).to(device),
            "log_probs": log_probs,
            "advantages": advantages,
            "returns": returns,
        }
        # [T, R, E, ...] to [R, T E, ...], in order of time
        met = {name: value.movedim(0, 1).flatten(1, 2) for name, value in met.items()}
        self.states = met["states"]
        orders = [
            [generator(seed, DATA, iteration, epoch).permutation(s.iteration_steps) for epoch in range(s.epochs)]
            for seed in self.seeds
        ]
        places = torch.from_numpy(np.array(orders)).flatten(1).to(device)

        def cut(values: Tensor) -> Tensor:
            rows = torch.stack([own[chosen] for own, chosen in zip(values, places, strict=True)])
            return rows.unflatten(1, (s.updates, s.batch_size))

        batches = {name: cut(value) for name, value in met.items()}
        if s.normalise_advantages == "minibatch":
            batches["advantages"] = _standardised(batches["advantages"], -1)
        return batches


def _require_instances(name: str, values: Sequence[Any], kind: type, example: str) -> None:
    for value in values:
        if not isinstance(value, kind):
            raise SettingError(f"{name}: {value!r} is none of the library's; give an instance such as {example}.")


def _standardised(values: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """(a - mean a) / (std a + 1e-8), over some dimensions."""
    return (values - values.mean(dim, keepdim=True)) / (values.std(dim, keepdim=True) + 1e-8)

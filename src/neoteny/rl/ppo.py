"""Proximal policy optimisation of many agents side by side, on the laboratory's learner.

Schulman, Wolski, Dhariwal, Radford & Klimov, "Proximal policy optimization algorithms", arXiv 1707.06347, 2017.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neoteny.errors import CheckpointError, SettingError
from neoteny.lab.learner import Learner
from neoteny.methods.base import Method
from neoteny.nn.actor_critic import ActorCritic
from neoteny.optim import Adam, Optimizer
from neoteny.rl.environments import Environments, check_spaces
from neoteny.rl.gae import gae
from neoteny.rl.gradient_norm import GradientNorm
from neoteny.rl.loss import PPOLoss, log_probability, pack
from neoteny.rl.normalise import ObservationNorm, RewardNorm
from neoteny.rl.policy import Policy
from neoteny.rl.settings import PPOSettings
from neoteny.seeds import DATA, ENVIRONMENT, generator, run_seeds

__all__ = ["PPO", "Episodes", "Iteration"]

_NOISE, _RESETS = 1, 2  # which of a run's generators for its environment


@dataclass(frozen=True)
class Episodes:
    """Episodes that ended, in the order in which they did.

    Attributes:
        agent: int [n].
        step: steps of the agent from its beginning to the end of the episode, int [n].
        total: sum of the rewards, [n].
        length: steps of the episode, int [n].
        unstable: whether it ended since the simulation did not hold, bool [n].
    """

    agent: NDArray[np.int64]
    step: NDArray[np.int64]
    total: NDArray[np.float64]
    length: NDArray[np.int64]
    unstable: NDArray[np.bool_]


@dataclass(frozen=True)
class Iteration:
    """What came of collecting a batch and learning from it.

    Attributes:
        step: steps of each agent so far.
        episodes: those that ended.
        losses: means over the updates, [R], by name: `loss`, `policy_loss`, `value_loss`, `entropy`, `clip_share`, `kl`
            and `weight_change`, the mean |dw| of an update.
        friction: at the end, NaN where there is none, [R].
    """

    step: int
    episodes: Episodes
    losses: dict[str, NDArray[np.float64]]
    friction: NDArray[np.float64]


class PPO:
    """R independent agents, each with its own environments, seed, network and minibatches.

    An iteration collects T steps in each of an agent's E environments, then makes K epochs of updates on minibatches of
    the T E steps, with the loss of `PPOLoss` and the advantages of `gae`. Agents differ in nothing but their seeds (and
    in what is `varied`): agent k learns the same alone and beside others, up to rounding. Methods act on actor and
    critic as they do on any network, after every update.

    Arguments:
        environments: R * E of them, those of the first agent first; their number divided by `settings.environments` is
            R. Such as `neoteny.envs.MujocoVectorEnv("Ant-v5", 8)`, or `neoteny.rl.OneByOne` for any other.
        seeds: a seed an agent; by default 0 to R - 1.
        settings: how the agents learn.
        methods: in the order in which they act.
        optimizer: of both networks.
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
        SettingError: environments without continuous actions, a number of environments or seeds that does not fit.

    >>> import gymnasium
    >>> from neoteny.rl import PPO, OneByOne, PPOSettings
    >>> pendulum = OneByOne(lambda: gymnasium.make("Pendulum-v1"), 2)
    >>> agents = PPO(pendulum, settings=PPOSettings(rollout_steps=256, epochs=1), compile=False)
    >>> agents.iterate().episodes.length
    array([200, 200])
    """

    def __init__(
        self,
        environments: Environments,
        *,
        seeds: Sequence[int] | None = None,
        settings: PPOSettings | None = None,
        methods: Sequence[Method] = (),
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
        self.settings = settings = settings or PPOSettings()
        self.environments = environments
        self._observations, self._actions = check_spaces(environments)
        own = settings.environments
        agents, rest = divmod(environments.num_envs, own)
        if rest:
            raise SettingError(
                f"{environments.num_envs} environments cannot be shared by agents of {own} each; give a multiple."
            )
        self.seeds = tuple(run_seeds(0, agents) if seeds is None else seeds)
        if len(self.seeds) != agents:
            raise SettingError(f"{len(self.seeds)} seeds were given for {agents} agents; give one each.")
        self._total = total
        if settings.anneal_step_size and (total or 0) < 1:
            raise SettingError("anneal_step_size = True needs the length of the run: give total, in steps of an agent.")
        clipping = [GradientNorm(limit=settings.gradient_norm)] if math.isfinite(settings.gradient_norm) else []
        self.learner = Learner(
            network or partial(ActorCritic, self._observations, self._actions, tuple(hidden), activation),
            torch.zeros(settings.batch_size, self._observations),
            loss=PPOLoss(
                clip=settings.clip, value_weight=settings.value_weight, entropy_weight=settings.entropy_weight
            ),
            optimizer=optimizer or Adam(step_size=1e-4),
            methods=[*clipping, *methods],
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
        shape = (agents, own)
        self._observation_norm = (
            ObservationNorm(agents, self._observations) if settings.normalise_observations else None
        )
        self._reward_norm = RewardNorm(agents, own, settings.discount) if settings.normalise_rewards else None
        self._totals, self._lengths = np.zeros(shape), np.zeros(shape, dtype=np.int64)
        self.iteration = 0
        self.alive = np.ones(agents, dtype=bool)
        """Agents whose networks are finite; the others stand still."""
        self.seconds = {"physics": 0.0, "policy": 0.0, "update": 0.0}
        """Seconds spent so far."""
        space = environments.single_action_space
        self._low, self._high = (np.asarray(bound, dtype=np.float32) for bound in (space.low, space.high))
        firsts = [
            int(lot) for seed in self.seeds for lot in generator(seed, ENVIRONMENT, _RESETS).integers(2**31, size=own)
        ]
        first, _ = environments.reset(seed=firsts)
        self._observed = self._normalised(np.asarray(first, dtype=np.float64))
        self.states = torch.zeros(agents, 0, self._observations)
        """What the agents saw in the last batch, as they see it, in order of time, [R, T E, observations]."""

    @property
    def agents(self) -> int:
        """R."""
        return len(self.seeds)

    @property
    def step(self) -> int:
        """Steps of each agent so far."""
        return self.iteration * self.settings.batch

    def iterate(self) -> Iteration:
        """Collect a batch, and learn from it.

        Raises:
            SettingError: an environment gave an observation that is not a number.
        """
        begun = time.perf_counter()
        if self.settings.anneal_step_size:
            assert self._total is not None
            self.learner.scale_step_size(max(1 - self.step / self._total, 0.0))
        collected, episodes, friction = self._collect()
        x, y = self._minibatches(*collected)
        sums = self.learner.advance(x, y)
        losses = {name: value.double().cpu().numpy() / self.settings.updates for name, value in sums.items()}
        finite = np.stack(
            [torch.isfinite(value).flatten(1).all(1).cpu().numpy() for value in self.learner.weights().values()]
        )
        ended = self.alive & ~finite.all(0)
        self.alive &= ~ended
        for agent in np.flatnonzero(ended):
            self.learner.drop(int(agent))
        self.iteration += 1
        self.seconds["update"] += time.perf_counter() - begun - self._collecting
        return Iteration(self.step, episodes, losses, friction)

    def _collect(self) -> tuple[tuple[NDArray[Any], ...], Episodes, NDArray[np.float64]]:
        """T steps in every environment: states, actions, rewards, values of what followed, ends, [R, E, T, ...]."""
        s, (agents, own) = self.settings, (self.agents, self.settings.environments)
        steps = s.rollout_steps
        states = np.empty((steps, agents, own, self._observations), dtype=np.float32)
        actions = np.empty((steps, agents, own, self._actions), dtype=np.float32)
        rewards = np.empty((steps, agents, own))
        terminated, ended = np.empty((2, steps, agents, own), dtype=bool)
        finals: list[tuple[int, NDArray[np.intp], NDArray[np.float64]]] = []
        done: list[tuple[int, int, float, int, bool]] = []
        weights = self.learner.tensors("actor.")
        self.policy.use(weights)
        spread = np.exp(self.learner.tensors("log_std")[""].cpu().numpy())[:, None]
        noise = np.stack(
            [
                generator(seed, ENVIRONMENT, _NOISE, self.iteration).standard_normal((steps, own, self._actions))
                for seed in self.seeds
            ],
            axis=1,
        ).astype(np.float32)
        noise *= spread
        still = np.flatnonzero(~self.alive)
        device = self.learner.device
        begun = time.perf_counter()
        physics = 0.0
        transition = None
        for t in range(steps):
            states[t] = self._observed
            chosen = actions[t]
            np.add(self.policy(torch.from_numpy(states[t]).to(device)).cpu().numpy(), noise[t], out=chosen)
            chosen[still] = 0.0
            if not np.isfinite(chosen).all():  # finite weights may overflow: that agent ends with this batch, alone
                chosen[~np.isfinite(chosen).all((1, 2))] = 0.0
            given = chosen.reshape(-1, self._actions)
            if s.clip_actions:
                given = np.clip(given, self._low, self._high)
            before = time.perf_counter()
            transition = self.environments.step_arrays(given)
            physics += time.perf_counter() - before
            over = transition.terminations | transition.truncations
            reward = transition.rewards.reshape(agents, own)
            terminated[t], ended[t] = transition.terminations.reshape(agents, own), over.reshape(agents, own)
            self._totals += reward
            self._lengths += 1
            rewards[t] = reward if self._reward_norm is None else self._reward_norm(reward, ended[t])
            self._observed = self._normalised(transition.observations)
            if over.any():
                places = np.flatnonzero(over)
                if s.bootstrap_timeouts:
                    self._require_finite(transition.final_observations)
                    finals.append((t, places, transition.final_observations[places]))
                for place in places.tolist():
                    agent, number = divmod(place, own)
                    total, length = float(self._totals[agent, number]), int(self._lengths[agent, number])
                    done.append((agent, self.step + (t + 1) * own, total, length, bool(transition.unstable[place])))
                    self._totals[agent, number], self._lengths[agent, number] = 0.0, 0
        assert transition is not None
        values, log_probs, next_values = self._judge(states, actions, terminated, ended, finals)
        self._collecting = time.perf_counter() - begun
        self.seconds["physics"] += physics
        self.seconds["policy"] += self._collecting - physics
        advantages, returns = gae(rewards, values, next_values, ended, s.discount, s.trace_decay)
        collected = tuple(np.moveaxis(array, 0, 2) for array in (states, actions, log_probs, advantages, returns))
        columns = list(zip(*done, strict=True)) or [()] * 5
        episodes = Episodes(
            agent=np.array(columns[0], dtype=np.int64),
            step=np.array(columns[1], dtype=np.int64),
            total=np.array(columns[2], dtype=np.float64),
            length=np.array(columns[3], dtype=np.int64),
            unstable=np.array(columns[4], dtype=np.bool_),
        )
        return collected, episodes, transition.friction.reshape(agents, own)[:, 0]

    def _judge(
        self,
        states: NDArray[np.float32],
        actions: NDArray[np.float32],
        terminated: NDArray[np.bool_],
        ended: NDArray[np.bool_],
        finals: Sequence[tuple[int, NDArray[np.intp], NDArray[np.float64]]],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Values, log-probabilities and values of what followed, [T, R, E], by the networks that acted."""
        seen = np.concatenate([states, self._observed[None].astype(np.float32)])
        mean, log_std, value = ActorCritic.split(self._outputs(seen))
        values = value.double().cpu().numpy()
        device = self.learner.device
        log_probs = log_probability(torch.from_numpy(actions).to(device), mean[:-1], log_std[:-1])
        follows = np.where(ended, 0.0, values[1:])
        for t, places, observations in finals:
            # what an agent would have seen, had time not run out; a termination stays one
            row = np.zeros(self._observed.shape)
            row.reshape(-1, self._observations)[places] = observations
            normalised = row if self._observation_norm is None else self._observation_norm(row, learn=False)
            _, _, beyond = ActorCritic.split(self._outputs(normalised[None].astype(np.float32)))
            bootstrapped = ended[t] & ~terminated[t]
            follows[t][bootstrapped] = beyond[0].double().cpu().numpy()[bootstrapped]
        return values[:-1], log_probs.double().cpu().numpy(), follows

    def _outputs(self, seen: NDArray[np.float32]) -> Tensor:
        """The networks' outputs for [T, R, E, observations], [T, R, E, 2 A + 1]."""
        rows = torch.from_numpy(np.ascontiguousarray(np.moveaxis(seen, 1, 0)))
        return self.learner.outputs(rows.flatten(1, 2)).unflatten(1, rows.shape[1:3]).movedim(0, 1)

    def _minibatches(
        self,
        states: NDArray[np.float32],
        actions: NDArray[np.float32],
        log_probs: NDArray[np.float64],
        advantages: NDArray[np.float64],
        returns: NDArray[np.float64],
    ) -> tuple[Tensor, Tensor]:
        """The batch [R, E, T, ...] shuffled into minibatches, [R, updates, batch_size, ...], anew each epoch."""
        s = self.settings
        rows = (self.agents, s.batch)
        # in order of time, that the last steps are the last rows
        self.states = torch.from_numpy(np.ascontiguousarray(states.swapaxes(1, 2))).reshape(*rows, -1)
        if s.normalise_advantages == "batch":
            advantages = _standardised(advantages.reshape(rows), -1).reshape(advantages.shape)
        order = np.stack(
            [
                np.concatenate(
                    [generator(seed, DATA, self.iteration, epoch).permutation(s.batch) for epoch in range(s.epochs)]
                )
                for seed in self.seeds
            ]
        )
        scalars = [np.ascontiguousarray(a, np.float32).reshape(rows) for a in (log_probs, advantages, returns)]
        targets = pack(
            torch.from_numpy(np.ascontiguousarray(actions)).reshape(*rows, -1), *map(torch.from_numpy, scalars)
        )
        inputs = torch.from_numpy(np.ascontiguousarray(states)).reshape(*rows, -1)
        places = torch.from_numpy(order)

        def cut(values: Tensor) -> Tensor:
            return torch.stack([own[chosen] for own, chosen in zip(values, places, strict=True)]).unflatten(
                1, (s.updates, s.batch_size)
            )

        x, y = cut(inputs), cut(targets)
        if s.normalise_advantages == "minibatch":
            y[..., -2] = _standardised(y[..., -2], -1)
        return x, y

    def _normalised(self, observations: NDArray[np.float64]) -> NDArray[np.float64]:
        """Observations [N, observations] as the agents see them, [R, E, observations]."""
        self._require_finite(observations)
        rows = observations.reshape(self.agents, self.settings.environments, -1)
        return rows if self._observation_norm is None else self._observation_norm(rows)

    def _require_finite(self, observations: NDArray[np.float64]) -> None:
        if not np.isfinite(observations).all():
            place = int(np.flatnonzero(~np.isfinite(observations).all(1))[0])
            raise SettingError(
                f"Environment {place} (of agent {place // self.settings.environments}) gave an observation that is not "
                f"finite after {self.step} steps or later: {observations[place]}. Mend the environment: no agent can "
                "learn from it."
            )

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next iterations depend on, the environments' state included.

        Raises:
            SettingError: the environments' state cannot be read.
        """
        return {
            "learner": self.learner.state_dict(),
            "environments": self.environments.state(),
            "iteration": self.iteration,
            "observed": self._observed,
            "totals": self._totals.copy(),
            "lengths": self._lengths.copy(),
            "alive": self.alive.copy(),
            "states": self.states,
            "observation_norm": self._observation_norm and self._observation_norm.moments.state_dict(),
            "reward_norm": self._reward_norm and self._reward_norm.state_dict(),
            "seconds": dict(self.seconds),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`.

        Raises:
            CheckpointError: the state belongs to other agents.
        """
        if tuple(np.shape(state["observed"])) != self._observed.shape:
            raise CheckpointError(
                f"the checkpoint is of agents that observe {np.shape(state['observed'])}, these observe "
                f"{self._observed.shape}: resume with the settings that it was made with."
            )
        for name in ("observation_norm", "reward_norm"):
            if (state[name] is None) != (getattr(self, f"_{name}") is None):
                raise CheckpointError(
                    f"the checkpoint {'lacks' if state[name] is None else 'has'} a state of {name}, unlike these "
                    "agents: resume with the settings that it was made with."
                )
        self.learner.load_state_dict(state["learner"])
        self.environments.load_state(state["environments"])
        self.iteration = int(state["iteration"])
        self._observed = np.array(state["observed"])
        self._totals, self._lengths = np.array(state["totals"]), np.array(state["lengths"])
        self.alive, self.states = np.array(state["alive"]), state["states"].clone()
        if self._observation_norm is not None:
            self._observation_norm.moments.load_state_dict(state["observation_norm"])
        if self._reward_norm is not None:
            self._reward_norm.load_state_dict(state["reward_norm"])
        self.seconds = dict(state["seconds"])


def _standardised(values: Any, axis: int) -> Any:
    """(a - mean a) / (std a + 1e-8), along an axis, for arrays and tensors."""
    if isinstance(values, Tensor):
        return (values - values.mean(axis, keepdim=True)) / (values.std(axis, keepdim=True) + 1e-8)
    deviation = values.std(axis, keepdims=True, ddof=1)
    return (values - values.mean(axis, keepdims=True)) / (deviation + 1e-8)

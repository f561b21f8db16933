"""What agents that learn from replay have in common: a step of the environments, then updates on old transitions."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neoteny.errors import DataError, SettingError
from neoteny.lab.learner import Learner
from neoteny.lab.objective import Objective
from neoteny.methods.base import Method
from neoteny.methods.shared.clip_grad_norm import ClipGradNorm
from neoteny.optim import Adam, Optimizer
from neoteny.rl.agents import Agents, Iteration
from neoteny.rl.environments import Environments
from neoteny.rl.frames import FrameBuffer
from neoteny.rl.replay import ReplayBuffer
from neoteny.rl.replay_settings import ReplaySettings
from neoteny.seeds import DATA, ENVIRONMENT, generator
from neoteny.streams.base import fingerprint

__all__ = ["ReplayAgents"]

_LOTS, _PRIMING = 1, 2**31  # which of a run's generators; the number of priming among those of segments
ACTS = "acts"
"""The entry of a batch that lets phases of an actor act that learns less often than its critics."""


class ReplayAgents(Agents):
    """R independent agents that keep what they meet in a buffer, and learn from batches drawn from it.

    Agents differ in nothing but their seeds (and in what is `varied`): agent k learns the same alone and beside others,
    up to rounding. Methods act on every network, after every update; those that act at a change of task do so every
    `reset_every` steps. The buffer stays as it is; what a reset draws anew begins anew in the target networks and in
    the optimizer's state as well.

    Args:
        environments: R * E of them, those of the first agent first; such as `neoteny.envs.MujocoVectorEnv`, or
            `neoteny.rl.OneByOne` for any others.
        settings: how the agents learn.
        methods: one, or several in the order in which they act.
        optimizer: of every network, one of `neoteny.optim`.
        network: makes an agent's networks, where others are wanted than the usual ones.
        seeds: a seed an agent; by default 0 to R - 1.
        data: a data set of transitions, as `ReplayBuffer.fill` takes it, for agents that learn from one.
        varied: settings that differ between agents, a value each.
        total: steps of an agent in all, for what is annealed.
        strategy: as for `neoteny.lab.Learner`; `auto` is `one-call` on a CPU and `stack` elsewhere.
        compile: whether updates are compiled.
        device: where networks and buffers live.
        precision: of the products in updates, `float32` or `bfloat16`; or `float64` for everything.

    Attributes:
        buffer: what the agents have met.

    Raises:
        SettingError: environments, methods or settings that do not fit to the agents.
        DataError: a data set of other transitions.
    """

    PIXELS: ClassVar[bool] = True
    RAW: ClassVar[bool] = False
    """Whether the networks take bytes where observations are bytes."""
    CHUNK: ClassVar[int] = 32
    """Batches that are drawn at once."""
    settings: Any

    def __init__(
        self,
        environments: Environments,
        *,
        settings: ReplaySettings,
        methods: Method | Sequence[Method] = (),
        optimizer: Optimizer | None = None,
        network: Any = None,
        seeds: Sequence[int] | None = None,
        data: Mapping[str, Any] | None = None,
        varied: Mapping[str, Sequence[float]] | None = None,
        total: int | None = None,
        strategy: str = "auto",
        compile: bool = True,
        device: torch.device | str = "cpu",
        precision: str = "float32",
    ):
        super().__init__(environments, settings, seeds, total)
        self._dtype = torch.float64 if precision == "float64" else torch.float32
        self._pixels = environments.single_observation_space.dtype == np.uint8
        space = environments.single_action_space
        if not self.DISCRETE:
            low, high = (np.asarray(bound, dtype=np.float32) for bound in (space.low, space.high))
            if not np.isfinite([low, high]).all():
                raise SettingError(f"These agents need bounded actions, and these are {space}: give bounds.")
            self._centre, self._half = (low + high) / 2, (high - low) / 2
        clipping = [ClipGradNorm(max_norm=settings.max_grad_norm)] if math.isfinite(settings.max_grad_norm) else []
        own = [methods] if isinstance(methods, Method) else list(methods)
        build = network or self._networks
        if strategy == "auto":
            strategy = "one-call" if torch.device(device).type == "cpu" else "stack"
        self.learner = Learner(
            lambda: build().to(self._dtype),
            self._example(),
            objective=self._objective(optimizer or Adam(step_size=3e-4)),
            methods=[*clipping, *own],
            seeds=self.seeds,
            varied=self._varied(varied or {}),
            strategy=strategy,
            compile=compile,
            device=device,
            precision="float32" if precision == "float64" else precision,
            rated=settings.anneal_step_size,
        )
        self.buffer = self._buffer(self.agents, settings.capacity)
        self._offline: ReplayBuffer | None = None
        if data is not None:
            self._take_in(data)
            self.data = fingerprint(data[name] for name in sorted(data))
        self._made = 0  # updates, without priming
        self._sums: dict[str, Tensor] = {}

    def _scaled(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """A data set whose actions are as agents choose them, in [-1, 1].

        Raises:
            DataError: actions are outside the environment's bounds.
        """
        if np.shape(data.get("actions", ()))[1:] != (self._actions,):
            return data  # the buffer says what is wrong with it
        actions = (np.asarray(data["actions"], dtype=np.float32) - self._centre) / self._half
        most = float(np.abs(actions).max(initial=0.0))
        if most > 1 + 1e-3:  # NaN is refused with everything that is not finite
            raise DataError(
                f"the data set's actions reach {most:.3g} times the bounds of the environment's: it is of another "
                "environment; scale its actions to these bounds."
            )
        return {**data, "actions": actions}

    def _buffer(self, runs: int, capacity: int, environments: int | None = None) -> ReplayBuffer:
        s = self.settings
        given = (runs, capacity, self._observations, None if self.DISCRETE else self._actions)
        options: dict[str, Any] = {
            "environments": environments or s.environments,
            "shift": s.reward_shift,
            "clip": s.reward_clip,
            "raw": self.RAW,
            "device": self.learner.device,
        }
        if s.storage != "frames":
            return ReplayBuffer(*given, storage="uint8" if self._pixels else s.storage, **options)
        space = self.environments.single_observation_space
        if not self._pixels or len(space.shape) != 3:
            raise SettingError(
                "storage = 'frames' needs observations of several frames, bytes [frames, height, width], such as those "
                f"of neoteny.envs.AtariGame; these are {space}: give another storage."
            )
        return FrameBuffer(*given, stack=space.shape[0], **options)

    # What kinds of agents say

    @abstractmethod
    def _networks(self) -> Any:
        """The usual networks of an agent."""

    @abstractmethod
    def _example(self) -> Any:
        """Inputs of the networks."""

    @abstractmethod
    def _objective(self, optimizer: Optimizer) -> Objective:
        """What they learn from a batch."""

    @abstractmethod
    def _draw(self, rng: np.random.Generator, begun: int, steps: int) -> NDArray[np.float32]:
        """What an agent draws for its choices in some steps of its E environments, [steps, E, ...]."""

    @abstractmethod
    def _random(self, lots: NDArray[np.float32]) -> NDArray[np.float32]:
        """Random actions, [R, E, A] or [R, E, 1], of the draws of a step."""

    @abstractmethod
    def _chosen(self, outputs: NDArray[np.float32], lots: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """Actions of the policy's outputs [R, E, ...]; those that it prefers where nothing is drawn."""

    def _take_in(self, data: Mapping[str, Any]) -> None:
        raise SettingError(f"{type(self).__name__} learns from no data set: leave data out.")

    def _varied(self, varied: Mapping[str, Sequence[float]]) -> Mapping[str, Sequence[float]]:
        """Settings that differ between agents, by the names that the learner has for them.

        A setting of the optimizer is one of every phase's.
        """
        found = {}
        for name, values in varied.items():
            owner, _, setting = name.rpartition(".")
            if owner in ("", "optimizer"):
                found |= {f"{phase}.optimizer.{setting}" if phase else name: values for phase in self._phase_names()}
            else:
                found[name] = values
        return found

    def _phase_names(self) -> Sequence[str]:
        """Of the phases that `optimizer` trains."""
        return ("",)

    @property
    def _actor_every(self) -> int:
        """Updates for one of the phases that act only where a batch has the entry `ACTS`."""
        return 1

    POLICY = ""
    """The network whose outputs actions are chosen by."""

    def _remember(self, count: int) -> None:
        """Take note of transitions of each agent that were just written into the buffer."""

    # Acting and learning

    def iterate(self) -> Iteration:
        """Act and learn for a segment of steps.

        Methods that act at a change of task act first, where `reset_every` says so: an agent is looked at and evaluated
        before its reset.

        Raises:
            SettingError: an environment gave an observation or a reward that is not finite.
        """
        began, physics = time.perf_counter(), self.actors.physics
        s, begun = self.settings, self.step
        self._anneal()
        if s.reset_every and begun and not self._learns_offline and self.actors.steps % s.reset_every == 0:
            self.new_task()  # also at the first step after updates on a data set alone
        if self._learns_offline:
            self._learn(s.segment, self._generators(begun // s.segment))
            self._offline_steps += s.segment
            self.states = self._offline_states()
        else:
            self._act_and_learn(begun)
        self._drop_broken()
        losses = self._losses()
        self._seconds["update"] += time.perf_counter() - began - (self.actors.physics - physics)
        ended = self.actors.episodes.flush()
        ended = replace(ended, step=ended.step + self._offline_steps)
        return Iteration(self.step, ended, losses, self.actors.friction)

    _offline_steps = 0
    _learns_offline = False

    def _offline_states(self) -> Tensor:
        return self.states

    @property
    def step(self) -> int:
        """Steps of each agent so far; updates on a data set alone count as steps."""
        return self._offline_steps + self.actors.steps

    def _generators(self, segment: int) -> list[np.random.Generator]:
        """What each agent draws batches with."""
        return [generator(seed, DATA, segment) for seed in self.seeds]

    def _act_and_learn(self, begun: int) -> None:
        s, own = self.settings, self.settings.environments
        segment, steps = begun // s.segment, s.segment // own
        draws = [self._draw(generator(seed, ENVIRONMENT, _LOTS, segment), begun, steps) for seed in self.seeds]
        lots, generators = np.stack(draws, axis=1), self._generators(segment)
        kind = np.uint8 if self._pixels else np.float32
        seen = np.empty((self.agents, s.segment, self._observations), dtype=kind)
        for step in range(steps):
            states = self.actors.observations
            seen[:, step * own : (step + 1) * own] = states
            actions = self._actions_for(states, lots[step])
            made = self.actors.step(self._given(actions))
            self.buffer.add(
                made.observations,
                actions[..., 0] if self.DISCRETE else actions,
                made.rewards,
                made.next_observations,
                made.terminated,
                made.truncated,
            )
            self._remember(own)
            met = self.actors.steps
            if s.priming_updates and met == s.priming_steps:
                self._learn(s.priming_updates, self._generators(_PRIMING))
            due = s.updates(met) - self._made
            if due:
                self._made += due
                self._learn(due, generators)
        self.states = torch.from_numpy(seen)

    def _actions_for(self, states: NDArray[np.float32], lots: NDArray[np.float32]) -> NDArray[np.float32]:
        """The actions in the next step of the environments, in the agents' own range."""
        if self.actors.steps < self.settings.learning_starts:
            return self._random(lots)
        return self._chosen(self._policy(states), lots)

    def _policy(self, states: NDArray[np.float32], evaluated: bool = False) -> NDArray[np.float32]:
        """The outputs of the policy's network for states [R, n, observations]."""
        seen = torch.from_numpy(states).to(self._dtype)
        return self.learner.act(seen, network=self.POLICY, evaluated=evaluated).float().cpu().numpy()

    def prefer(self, observations: NDArray[Any]) -> NDArray[Any]:
        """The preferred actions for observations [R, n, observations], as environments take them."""
        outputs = self._policy(np.asarray(observations, dtype=np.float32), evaluated=True)
        return self._given(self._chosen(outputs, None))

    def _given(self, actions: NDArray[np.float32]) -> NDArray[Any]:
        """Actions as the environments take them."""
        return actions if self.DISCRETE else self._centre + self._half * actions

    def _learn(self, updates: int, generators: Sequence[np.random.Generator]) -> None:
        """Make some updates, each on a batch of its own."""
        every = self._actor_every
        while updates:
            left = every - 1 - self._phase % every  # updates of the critics alone
            count = min(updates, self.CHUNK, left or 1) if every > 1 else min(updates, self.CHUNK)
            batches = self._batches(count, generators)
            if every > 1 and not left:
                batches[ACTS] = torch.zeros(self.agents, 1, 1, dtype=self._dtype)
            self._phase += count
            if count == 1:
                self.learner.learn({name: value[:, 0] for name, value in batches.items()})
            else:
                for name, value in self.learner.advance(batches).items():
                    self._sums[name] = self._sums.get(name, 0.0) + value
            self._updates += count
            updates -= count

    _updates = 0  # since the last segment
    _phase = 0  # in all

    def _batches(self, count: int, generators: Sequence[np.random.Generator]) -> dict[str, Tensor]:
        """Batches of transitions, [R, count, batch_size, ...]."""
        return self._drawn(self.buffer, count, self.settings.batch_size, generators)

    def _drawn(
        self, buffer: ReplayBuffer, count: int, size: int, generators: Sequence[np.random.Generator]
    ) -> dict[str, Tensor]:
        """Batches of a buffer, each transition with equal probability."""
        places = np.stack([rng.integers(buffer.size, size=(count, size)) for rng in generators])
        return self._taken(buffer, places, generators)

    def _taken(self, buffer: ReplayBuffer, places: Any, generators: Sequence[np.random.Generator]) -> dict[str, Tensor]:
        """The batches of a buffer's transitions at these places, [R, count, size]."""
        return self._converted(buffer.take(places, self.settings.gamma, self.settings.n_step))

    def _converted(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        if self._dtype == torch.float32:
            return batch
        return {name: value.to(self._dtype) if value.is_floating_point() else value for name, value in batch.items()}

    def _losses(self) -> dict[str, NDArray[np.float64]]:
        """The means over the updates of this segment; nothing of phases that made none."""
        count, self._updates = self._updates, 0
        sums, self._sums = self._sums, {}
        if not count:
            return {}
        rest = self.learner.take_sums()
        rare = {
            name
            for phase in self.learner.objective.phases
            for name in (phase.loss_name, *phase.metrics, *phase.optimizer_metrics)
            if phase.when
        }
        acted = self._phase // self._actor_every - (self._phase - count) // self._actor_every
        found = {name: (value + sums.get(name, 0.0)).double().cpu().numpy() for name, value in rest.items()}
        counts = {name: acted if name in rare else count for name in found}
        return {name: value / counts[name] for name, value in found.items() if counts[name]}

    # Saving

    def state_dict(self, folder: Path | None = None) -> dict[str, Any]:
        """Everything that the next iterations depend on; see `Agents`.

        Args:
            folder: where the buffer's new transitions are appended as files; without it all are part of the state.
        """
        return {
            **super().state_dict(),
            "buffer": self.buffer.state_dict(folder),
            "updates": [self._made, self._phase],
            "offline": self._offline_steps,
        }

    def load_state_dict(self, state: Mapping[str, Any], folder: Path | None = None) -> None:
        """Go on from `state_dict(folder)`."""
        super().load_state_dict(state)
        self.buffer.load_state_dict(state["buffer"], folder)
        self._made, self._phase = (int(count) for count in state["updates"])
        self._offline_steps = int(state["offline"])

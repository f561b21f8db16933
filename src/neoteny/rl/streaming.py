"""What streaming agents have in common: a step of the environment, then one call that learns from it and acts."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neoteny.errors import SettingError
from neoteny.lab.learner import Learner
from neoteny.lab.objective import Objective
from neoteny.methods.base import Method
from neoteny.optim import Optimizer
from neoteny.rl.agents import Agents, Iteration
from neoteny.rl.environments import Environments
from neoteny.rl.experience import Experience
from neoteny.rl.scaling import RunningNorm
from neoteny.rl.stream_settings import StreamSettings
from neoteny.seeds import ENVIRONMENT, generator

__all__ = ["StreamingAgents"]

_LOTS = 1  # which of a run's generators for its environment


class StreamingAgents(Agents):
    """R independent agents that learn from every step once, without replay, each in one environment.

    Agents differ in nothing but their seeds (and in what is `varied`): agent k learns the same alone and beside others,
    up to rounding. Methods act on the networks as on any others, after every step.

    Args:
        environments: R of them; such as `neoteny.envs.MujocoVectorEnv("Ant-v5", 3)`, or `neoteny.envs.OneByOne`.
        settings: how the agents learn.
        network: makes an agent's networks.
        optimizer: one of `neoteny.optim`, as a rule one with traces such as `ObGD`.
        methods: one, or several in the order in which they act.
        seeds: a seed an agent; by default 0 to R - 1.
        varied: settings that differ between agents, a value each.
        total: steps of an agent in all, for what is annealed.
        time_limit: the greatest length of an episode, for the time input.
        strategy: as for `neoteny.lab.Learner`; `auto` is `one-call`.
        compile: whether steps are compiled.
        device: where the networks live.
        precision: of weights and observations, `float32` or `float64`.

    Raises:
        SettingError: environments, optimizer or settings that do not fit to the agents.
    """

    settings: Any

    def __init__(
        self,
        environments: Environments,
        *,
        settings: StreamSettings,
        network: Any,
        optimizer: Optimizer,
        methods: Method | Sequence[Method] = (),
        seeds: Sequence[int] | None = None,
        varied: Mapping[str, Sequence[float]] | None = None,
        total: int | None = None,
        time_limit: int | None = None,
        strategy: str = "auto",
        compile: bool = True,
        device: torch.device | str = "cpu",
        precision: str = "float32",
    ):
        super().__init__(environments, settings, seeds, total)
        if settings.time_input and (time_limit or 0) < 1:
            raise SettingError("time_input = True needs the greatest length of an episode: give time_limit, in steps.")
        if optimizer.follows == "loss" and settings.trace_lambda > 0:
            raise SettingError(
                f"trace_lambda = {settings.trace_lambda!r}, and {type(optimizer).__name__} keeps no traces: give "
                "trace_lambda = 0, or an optimizer with traces, such as neoteny.optim.ObGD."
            )
        if precision not in ("float32", "float64"):
            raise SettingError(f"precision = {precision!r} is not one of float32, float64.")
        dtype = getattr(torch, precision)
        self._experience = self._make_experience(time_limit, dtype)
        example = torch.zeros(1, self._looked, dtype=dtype)
        self.learner = Learner(
            lambda: network().to(dtype),
            self.inputs(example),
            objective=self._objective(optimizer, self._experience),
            methods=[methods] if isinstance(methods, Method) else list(methods),
            seeds=self.seeds,
            varied=self._varied(varied or {}),
            strategy="one-call" if strategy == "auto" else strategy,
            compile=compile,
            device=device,
            rated=settings.anneal_step_size,
        )
        shapes = {"observations": (2, self._observations), "outcomes": (3,), "lots": self._lots(0, 1).shape[2:]}
        self._arrays = {name: np.zeros((self.agents, *shape), precision) for name, shape in shapes.items()}
        self._batch = {name: torch.from_numpy(array) for name, array in self._arrays.items()}
        self._arrays["observations"][:, 1] = self.actors.first
        self._arrays["lots"][:] = self._lots(-1, 1)[0]
        self.learner.begin(self._batch)

    def _acting_settings(self, settings: Any) -> Any:
        """Normalising and clipping are parts of the learner's step."""
        return replace(settings, normalise_observations=False, normalise_rewards=False, clip_actions=False)

    @abstractmethod
    def _make_experience(self, time_limit: int | None, dtype: torch.dtype) -> Experience:
        """What the agents make of a step, and how they act."""

    @abstractmethod
    def _objective(self, optimizer: Optimizer, experience: Experience) -> Objective:
        """What they learn from a step."""

    @classmethod
    def seeing(
        cls, settings: Any, state: Mapping[str, Any], agent: int
    ) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
        """With the statistics at the end, in the middle of an episode; see `Agents.seeing`."""
        seen = {name: value[agent] for name, value in state["learner"]["carry"]["interaction"].items()}

        def see(rows: NDArray[np.float64]) -> NDArray[np.float64]:
            if settings.normalise_observations:
                rows = RunningNorm(rows.shape[-1])(seen, torch.from_numpy(rows)).numpy()
            return np.concatenate([rows, np.zeros((*rows.shape[:-1], 1))], -1) if settings.time_input else rows

        return see

    def _varied(self, varied: Mapping[str, Sequence[float]]) -> Mapping[str, Sequence[float]]:
        """Settings that differ between agents, by the names that the learner has for them."""
        return varied

    @abstractmethod
    def _draw(self, rng: np.random.Generator, step: int, steps: int) -> NDArray[np.float32]:
        """What one agent draws for its choices in the steps from `step` on, [steps, k]."""

    def _lots(self, segment: int, steps: int) -> NDArray[np.float32]:
        """What all agents draw in the steps of a segment, [steps, R, k]; segment -1 is the first choice."""
        begun = max(segment, 0) * self.settings.segment
        own = [self._draw(generator(seed, ENVIRONMENT, _LOTS, segment + 1), begun, steps) for seed in self.seeds]
        return np.stack(own, axis=1)

    def iterate(self) -> Iteration:
        """Act and learn for a segment of steps.

        Raises:
            SettingError: an environment gave an observation or a reward that is not finite.
        """
        began, physics = time.perf_counter(), self.actors.physics
        steps = self.settings.segment
        self._anneal()
        lots = self._lots(self.step // steps, steps)
        observations, outcomes, own = (self._arrays[name] for name in ("observations", "outcomes", "lots"))
        seen = np.empty((self.agents, steps, self._looked), dtype=observations.dtype)
        state = self._interaction()
        stays = self.learner.strategy.name == "one-call" and self.learner.device.type == "cpu"  # else it is a copy
        advance, learn, batch = self.actors.advance, self.learner.learn, self._batch
        for step in range(steps):
            seen[:, step] = self._look(state)
            made = advance(self._given(state))
            observations[:, 0], observations[:, 1] = made.final_observations, made.observations
            outcomes[:, 0], outcomes[:, 1], outcomes[:, 2] = made.rewards, made.terminations, made.truncations
            own[...] = lots[step]
            learn(batch)
            if not stays:
                state = self._interaction()
        self._drop_broken()
        self.states = torch.from_numpy(seen)
        losses = {name: value.double().cpu().numpy() / steps for name, value in self.learner.take_sums().items()}
        self._seconds["update"] += time.perf_counter() - began - (self.actors.physics - physics)
        return Iteration(self.step, self.actors.episodes.flush(), losses, self.actors.friction)

    @property
    def _looked(self) -> int:
        """Numbers of a row of `states`."""
        return self._experience.inputs

    def _look(self, state: dict[str, NDArray[Any]]) -> NDArray[Any]:
        """What the networks see at a step, a row of `states` for each agent."""
        return state["seen"]

    def _interaction(self) -> dict[str, NDArray[Any]]:
        return {name: value.cpu().numpy() for name, value in self.learner.interaction().items()}

    def _given(self, state: dict[str, NDArray[Any]]) -> NDArray[Any]:
        """The actions as the environments take them; an agent whose network broke does nothing."""
        return state["action"]

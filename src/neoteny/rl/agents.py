"""What every agent is, whatever it learns from: the interface that training, watching and the benchmarks know."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from neoteny.errors import CheckpointError, SettingError
from neoteny.lab.learner import Learner
from neoteny.rl.actors import Actors
from neoteny.rl.environments import Environments, check_spaces
from neoteny.rl.episodes import Episodes
from neoteny.rl.normalise import ObservationNorm
from neoteny.rl.settings import AgentSettings
from neoteny.seeds import ENVIRONMENT, checked_seed, generator, run_seeds

__all__ = ["Agents", "Iteration"]

_RESETS = 2  # which of a run's generators for its environment; 1 is for what a policy draws


@dataclass(frozen=True)
class Iteration:
    """What came of acting for a while and learning from it.

    Attributes:
        step: steps of each agent so far.
        episodes: those that ended.
        losses: what the learner records, as means over the updates, [R], by name.
        friction: at the end, NaN where there is none, [R].
    """

    step: int
    episodes: Episodes
    losses: dict[str, NDArray[np.float64]]
    friction: NDArray[np.float64]


class Agents(ABC):
    """R independent agents that learn side by side, each with its own environments, seed and networks.

    A subclass makes the `learner`, and says in `iterate` how agents act and learn. It steps the environments by
    `actors`: PPO collects a batch first, an agent with a replay buffer keeps each transition and learns from old
    ones, a streaming agent learns from each transition once.

    Args:
        environments: R * E of them, those of the first agent first; their number divided by `settings.environments` is
            R.
        settings: how the agents learn.
        seeds: a seed an agent; by default 0 to R - 1.
        total: steps of an agent in all, for a step size that is annealed.

    Attributes:
        actors: the agents in their environments.
        learner: what is trained.
        alive: agents whose networks are finite, bool [R]; the others stand still.
        states: what the agents saw last, in order of time, [R, n, observations]: their units are looked at on it.

    Raises:
        SettingError: environments that do not step in arrays or have no continuous actions, or a number of
            environments or seeds that does not fit.
    """

    DISCRETE: ClassVar[bool] = False
    """Whether actions are chosen from a few, instead of being vectors of real numbers."""
    PIXELS: ClassVar[bool] = False
    """Whether observations may also be bytes of any shape, such as pixels."""
    learner: Learner
    data: str = ""
    """The fingerprint of the data set that they learn from; empty where there is none."""

    def __init__(
        self,
        environments: Environments,
        settings: AgentSettings,
        seeds: Sequence[int] | None = None,
        total: int | None = None,
    ):
        self.environments, self.settings, self._total = environments, settings, total
        self._observations, self._actions = check_spaces(environments, self.DISCRETE, self.PIXELS)
        own = settings.environments
        agents, rest = divmod(environments.num_envs, own)
        if rest:
            raise SettingError(
                f"{environments.num_envs} environments cannot be shared by agents of {own} each; give a multiple."
            )
        self.seeds = tuple(run_seeds(0, agents) if seeds is None else (checked_seed(seed, "seeds") for seed in seeds))
        if len(self.seeds) != agents:
            raise SettingError(f"{len(self.seeds)} seeds were given for {agents} agents; give one each.")
        if settings.anneal_step_size and (total or 0) < 1:
            raise SettingError("anneal_step_size = True needs the length of the run: give total, in steps of an agent.")
        firsts = [
            int(lot) for seed in self.seeds for lot in generator(seed, ENVIRONMENT, _RESETS).integers(2**31, size=own)
        ]
        self.actors = Actors(environments, agents, self._acting_settings(settings), firsts)
        self.alive = np.ones(agents, dtype=bool)
        self.states = torch.zeros(agents, 0, self._observations)
        self._seconds = {"policy": 0.0, "update": 0.0}

    @property
    def agents(self) -> int:
        """R."""
        return len(self.seeds)

    @property
    def step(self) -> int:
        """Steps of each agent so far."""
        return self.actors.steps

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds spent so far, by phase."""
        return {"physics": self.actors.physics, **self._seconds}

    def _acting_settings(self, settings: AgentSettings) -> AgentSettings:
        """The settings that the actors read."""
        return settings

    @abstractmethod
    def iterate(self) -> Iteration:
        """Act for a while, `AgentSettings.iteration_steps`, and learn from it.

        Raises:
            SettingError: an environment gave an observation that is not finite.
        """

    @classmethod
    @abstractmethod
    def acting(
        cls, network: nn.Module, tensors: Mapping[str, Tensor]
    ) -> Callable[[NDArray[np.float32], np.random.Generator | None], NDArray[np.float32]]:
        """The policy of one trained agent.

        Args:
            network: as the learner was given it.
            tensors: the learner's, `[1, ...]` each, by their names.

        Returns:
            A function from states [1, n, observations] to actions [1, n, A]: those that the policy prefers, or, with a
            generator, draws as in training. It is called where gradients are off.
        """

    @classmethod
    def acting_tensors(cls, settings: Any, carry: Mapping[str, Any]) -> Mapping[str, Tensor]:
        """Of a learner's carry the tensors of the networks that act, for `acting`.

        Args:
            settings: of the agents.
            carry: see `neoteny.lab.step`.
        """
        return carry["tensors"]

    @classmethod
    def seeing(
        cls, settings: Any, state: Mapping[str, Any], agent: int
    ) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
        """How a trained agent sees observations [1, n, O] of its environment.

        Args:
            settings: of the agents.
            state: their `state_dict()`.
            agent: its number.
        """
        moments = state["actors"]["observation_norm"]
        if not moments:
            return lambda rows: rows
        own = slice(agent, agent + 1)
        norm = ObservationNorm(1, moments["mean"].shape[-1])
        norm.moments.load_state_dict({**moments, "mean": moments["mean"][own], "variance": moments["variance"][own]})
        return lambda rows: norm(rows, learn=False)

    def new_task(self) -> None:
        """Let methods act that act at a change of task."""
        self.learner.new_task()

    def inputs(self, states: Tensor) -> Any:
        """What the networks are given for states [R, n, observations], to look at their units."""
        return states

    def _anneal(self) -> None:
        """Let the step size fall linearly to 0 over the run, where that is asked for."""
        if self.settings.anneal_step_size and self._total:
            self.learner.scale_step_size(max(1 - self.step / self._total, 0.0))

    def _drop_broken(self) -> None:
        """Leave out agents whose networks are not finite any more."""
        broken = self.alive & ~self.learner.finite().cpu().numpy()
        self.alive = self.alive & ~broken
        for agent in np.flatnonzero(broken):
            self.learner.drop(int(agent))

    def state_dict(self, folder: Path | None = None) -> dict[str, Any]:
        """Everything that the next iterations depend on, the environments' state included.

        Args:
            folder: where agents may append what is too large to be written again each time.

        Raises:
            SettingError: the environments' state cannot be read.
        """
        return {
            "seeds": list(self.seeds),
            "learner": self.learner.state_dict(),
            "actors": self.actors.state_dict(),
            "alive": self.alive.copy(),
            "states": self.states.cpu().clone(),
            "seconds": dict(self._seconds),
        }

    def load_state_dict(self, state: Mapping[str, Any], folder: Path | None = None) -> None:
        """Go on from `state_dict(folder)`.

        Raises:
            CheckpointError: the state belongs to other agents.
        """
        if tuple(state["seeds"]) != self.seeds:
            raise CheckpointError(
                f"the checkpoint is of agents with seeds {list(state['seeds'])}, these have {list(self.seeds)}: "
                "resume with the seeds that it was made with."
            )
        self.learner.load_state_dict(state["learner"])
        self.actors.load_state_dict(state["actors"])
        self.alive = np.array(state["alive"])
        self.states = state["states"].to(self.learner.device)
        self._seconds = {name: state["seconds"][name] for name in self._seconds}

"""Robots that learn to walk: what the benchmarks of `ant.py` and `slippery_ant.py` share.

Dohare et al., "Loss of plasticity in deep continual learning", Nature 632, 2024, Figs. 3 and 4, Extended Data Figs. 5
and 6, and Methods.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from neoteny.checks import require, require_count
from neoteny.errors import SettingError
from neoteny.lab.benchmark import Benchmark, System
from neoteny.methods.continual_backprop import ContinualBackprop
from neoteny.methods.l2 import L2
from neoteny.methods.redo import ReDo
from neoteny.optim import Adam, Muon, Optimizer
from neoteny.rl.settings import AgentSettings, PPOSettings

if TYPE_CHECKING:
    from torch import nn

    from neoteny.rl.agents import Agents
    from neoteny.rl.environments import Environments
    from neoteny.rl.ppo import PPO
    from neoteny.streams.timeline import Timeline

__all__ = ["TINY", "Locomotion", "PPOLocomotion"]

ROBOTS = {"Ant-v5": (27, 8), "Hopper-v5": (11, 3), "Walker2d-v5": (17, 6), "HalfCheetah-v5": (17, 6)}
"""How many values each observes, and how many torques it has; the ant without its contact forces."""
TUNED = {"optimizer.betas": (0.99, 0.99)}


def _replacing(maturity_threshold: int) -> ContinualBackprop:
    return ContinualBackprop(replacement_rate=1e-4, maturity_threshold=maturity_threshold, replacement="drawn")


@dataclass(frozen=True, kw_only=True)
class Locomotion(AgentSettings, Benchmark):
    """Agents that control a robot of MuJoCo, by any way of learning. Everything is counted in steps of one agent.

    A benchmark of PPO is a `PPOLocomotion`. For other agents, derive from this class and from their settings.

    Raises:
        SettingError: a setting is outside its range.
    """

    KIND: ClassVar[Literal["examples", "agents"]] = "agents"
    ROBOT: ClassVar[str]
    """Gymnasium's name of the environment, one of `ROBOTS`."""
    MEASURES: ClassVar[tuple[str, ...]] = ("dormant_units", "dead_units", "weight_magnitude")
    """Measured on what the agent saw in its last 1,000 steps."""
    PROBED: ClassVar[tuple[str, ...]] = ("srank_99",)
    """Measured on fixed states: what the agent saw in its first 1,000 steps."""

    tasks: int = 1
    """stretches between two changes of the ground; a robot on unchanging ground has one"""
    task_length: int
    """steps of a stretch; the ground changes at the end of the current episode"""
    bin_size: int = 20_480
    """steps of a bin; a recorded return is the mean over the episodes that ended in it"""
    measure_every: int = 102_400
    """steps between two measurements of units and weights"""
    hidden: tuple[int, ...] = (256, 256)
    """units of the hidden layers, of the actor and of the critic"""
    activation: Literal["relu", "leaky_relu", "elu", "swish", "tanh", "sigmoid"] = "relu"
    """activation of the hidden layers"""
    precision: Literal["float32", "bfloat16"] = "float32"
    """of the products in updates; weights and acting stay in float32"""
    max_episode_steps: int = 1_000
    """steps after which an episode is cut off"""
    probe_size: int = 1_000
    """states that units are measured on: an agent's last ones, for ranks its first; at most those of an iteration"""
    optimizer: Optimizer = Adam(step_size=1e-4)
    """the optimizer and its settings"""

    def __post_init__(self) -> None:
        """Check the settings."""
        Benchmark.__post_init__(self)
        require_count(self, "task_length", "bin_size", "measure_every", "max_episode_steps", least=1)
        # Muon takes the first and the last matrix for input and output, but here are two networks side by side
        require(self, "optimizer", not isinstance(self.optimizer, Muon), "an optimizer for two networks at once")
        sizes = self.hidden if isinstance(self.hidden, (tuple, list)) else ()
        whole = all(isinstance(size, int) and not isinstance(size, bool) and size >= 1 for size in sizes)
        require(self, "hidden", whole and len(sizes) > 0, "a list of whole numbers >= 1, one a layer")
        each = self.iteration_steps
        for name in ("bin_size", "measure_every"):
            value = getattr(self, name)
            if rest := value % each:
                raise SettingError(
                    f"{self.ID}: {name} = {value} is not a multiple of the {each} steps that an agent takes at a time "
                    f"({self.ITERATION}); give one, such as {value - rest + each}."
                )
        require(self, "bin_size", self.bin_size <= self.steps, f"at most the run's {self.steps} steps")

    @property
    def observations(self) -> int:
        """The number of values that an agent observes."""
        return ROBOTS[self.ROBOT][0]

    @property
    def actions(self) -> int:
        """The number of its torques."""
        return ROBOTS[self.ROBOT][1]

    @property
    def options(self) -> dict[str, Any]:
        """How the environment is made."""
        return {"observation": "paper"} if self.ROBOT == "Ant-v5" else {}

    @property
    def steps(self) -> int:
        """Length of a run: whole iterations."""
        return math.ceil(self.tasks * self.task_length / self.iteration_steps) * self.iteration_steps

    def timeline(self) -> Timeline:
        """Stretches of ground, bins and measurements."""
        import numpy as np

        from neoteny.streams.timeline import Timeline, every

        ends = every(self.task_length, self.tasks * self.task_length)
        ends[-1] = self.steps
        # there is nothing to measure before the first iteration
        looks = np.unique(np.append(every(self.measure_every, self.steps), self.iteration_steps))
        return Timeline(tasks=ends, bins=every(self.bin_size, self.steps), looks=looks)

    def build_environments(self, seeds: Sequence[int], threads: int = 1) -> Environments:
        """The environments of some agents, those of the first agent first.

        Args:
            seeds: a run seed an agent; friction is drawn from it.
            threads: number of threads that step the physics.
        """
        from neoteny.envs import MujocoVectorEnv

        return MujocoVectorEnv(
            self.ROBOT,
            len(seeds) * self.environments,
            friction=self.friction(),
            friction_seeds=[seed for seed in seeds for _ in range(self.environments)],
            threads=threads,
            max_episode_steps=self.max_episode_steps,
            **self.options,
        )

    def friction(self) -> Any:
        """The schedule of the friction of the ground; None leaves it as it is."""
        return None

    @abstractmethod
    def agent_class(self) -> type[Agents]:
        """The class of the agents."""

    @abstractmethod
    def build_agents(self, seeds: Sequence[int], threads: int = 1, **learning: Any) -> Agents:
        """Agents in their environments.

        Args:
            seeds: a run seed an agent.
            threads: number of threads that step the physics.
            learning: optimizer, methods, strategy and the like, as for `neoteny.lab.learner.Learner`.
        """


@dataclass(frozen=True, kw_only=True)
class PPOLocomotion(Locomotion, PPOSettings):
    """Agents of proximal policy optimisation in a robot of MuJoCo; see `neoteny.rl.PPO`.

    Raises:
        SettingError: a setting is outside its range.
    """

    SYSTEMS: ClassVar[Mapping[str, System]] = {
        "backprop": System("standard PPO: Adam with its usual averages"),
        "tuned-adam": System("PPO, Adam with averages of equal length", overrides=TUNED),
        "l2": System("tuned Adam and L2 regularisation", (L2(strength=1e-3),), TUNED),
        "cbp": System(
            "tuned Adam, continual backpropagation and a little L2", (L2(strength=1e-4), _replacing(10_000)), TUNED
        ),
        "redo": System("tuned Adam and resets of dormant units", (ReDo(tau=0.1, period=100),), TUNED),
    }

    batch_size: int = 128
    """steps in a minibatch; each minibatch is one update"""

    def __post_init__(self) -> None:
        """Check the settings."""
        PPOSettings.__post_init__(self)
        Locomotion.__post_init__(self)

    @property
    def ppo(self) -> PPOSettings:
        """How the agents learn."""
        return PPOSettings(**{field.name: getattr(self, field.name) for field in fields(PPOSettings)})

    def network_settings(self) -> dict[str, Any]:
        """Actor and critic, of equal hidden layers."""
        return {
            "kind": "actor-critic",
            "sizes": [self.observations, *self.hidden, self.actions],
            "activation": self.activation,
            "initialisation": "lecun",
        }

    def build_network(self) -> nn.Module:
        """A fresh agent."""
        from neoteny.nn.actor_critic import ActorCritic

        return ActorCritic(self.observations, self.actions, self.hidden, self.activation)

    def agent_class(self) -> type[PPO]:
        """The class of the agents."""
        from neoteny.rl.ppo import PPO

        return PPO

    def build_agents(self, seeds: Sequence[int], threads: int = 1, **learning: Any) -> PPO:
        """Agents in their environments; see `Locomotion`."""
        return self.agent_class()(
            self.build_environments(seeds, threads),
            seeds=seeds,
            settings=self.ppo,
            network=self.build_network,
            total=self.steps,
            precision=self.precision,
            **learning,
        )


TINY: Mapping[str, Any] = {
    "task_length": 512,
    "rollout_steps": 128,
    "bin_size": 256,
    "measure_every": 256,
    "batch_size": 32,
    "epochs": 2,
    "hidden": (8, 8),
    "max_episode_steps": 50,
    "probe_size": 100,
}

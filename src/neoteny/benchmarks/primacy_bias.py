"""Primacy bias: agents that learn too much from the first that they meet, and resets that cure it.

Nikishin, Schwarzer, D'Oro, Bacon & Courville, "The primacy bias in deep reinforcement learning", ICML 2022.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from neoteny.benchmarks.replay import Replaying
from neoteny.checks import require, require_fraction
from neoteny.lab.benchmark import System
from neoteny.methods.base import Method
from neoteny.methods.continual_backprop import ContinualBackprop
from neoteny.methods.full_reset import FullReset
from neoteny.methods.head_reset import HeadReset
from neoteny.methods.redo import ReDo
from neoteny.methods.shrink_and_perturb import ShrinkAndPerturb
from neoteny.optim import Adam, Optimizer
from neoteny.rl.replay_settings import SACSettings

if TYPE_CHECKING:
    from torch import nn

    from neoteny.rl.agents import Agents
    from neoteny.rl.environments import Environments

__all__ = ["PrimacyBias", "ReplayRatio"]

ROBOTS = {"Ant-v5": (27, 8), "HalfCheetah-v5": (17, 6), "Hopper-v5": (11, 3), "Walker2d-v5": (17, 6)}
"""Gymnasium's robots: how many values each observes, and how many torques it has; the ant without contact forces."""
SUITE = {
    "acrobot-swingup": (6, 1),
    "cheetah-run": (17, 6),
    "finger-turn_hard": (12, 2),
    "fish-swim": (24, 5),
    "hopper-hop": (15, 4),
    "humanoid-run": (67, 21),
    "humanoid-stand": (67, 21),
    "quadruped-run": (78, 12),
    "quadruped-walk": (78, 12),
    "swimmer-swimmer15": (61, 14),
    "walker-run": (24, 6),
    "walker-walk": (24, 6),
}
"""The same of tasks of DeepMind's Control Suite."""
GOAL_ANT = "goal-ant"
SIZES = {**ROBOTS, **SUITE, GOAL_ANT: (29, 8)}
Task = Literal[
    "acrobot-swingup",
    "cheetah-run",
    "finger-turn_hard",
    "fish-swim",
    "hopper-hop",
    "humanoid-run",
    "humanoid-stand",
    "quadruped-run",
    "quadruped-walk",
    "swimmer-swimmer15",
    "walker-run",
    "walker-walk",
    "Ant-v5",
    "HalfCheetah-v5",
    "Hopper-v5",
    "Walker2d-v5",
    "goal-ant",
]


def primed(summary: str, *methods: Method) -> System:
    """A system that is primed: by fewer updates at smaller scales."""

    def own(steps: int, updates: int) -> System:
        return System(summary, methods, {"priming_steps": steps, "priming_updates": updates})

    return replace(own(100, 100_000), scaled={"small": own(100, 30_000), "tiny": own(10, 8)})


@dataclass(frozen=True, kw_only=True)
class PrimacyBias(Replaying, SACSettings):
    """A robot learns to move by soft actor-critic, after 100,000 updates on its first 100 transitions or without them.

    Methods that act at a change of task do so every `reset_every` steps, after an evaluation. `full-reset` makes the
    whole agent new, its temperature and the optimizers' state included, and keeps the buffer: the agent learns again,
    from all that it has met.

    Known (paper, quadruped-run, 10 runs, read off the figures): SAC reaches about 800 within 2 M steps; primed it stays
    near 100, and never recovers.

    Scales: `paper` is 2 M steps; `small` is 200,000 with 64 units a layer, batches of 64 and 30,000 priming updates;
    `tiny` is for tests.

    Versions:
        v1: as published; weights are drawn uniformly with the variance of the authors' orthogonal ones.

    Raises:
        SettingError: a setting is outside its range.

    >>> PrimacyBias(task="Hopper-v5").network_settings()["sizes"]
    [11, 256, 256, 6]
    """

    ID: ClassVar[str] = "primacy-bias-v1"
    SCALES: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "small": {
            "task": "cheetah-run",
            "task_length": 200_000,
            "hidden": (64, 64),
            "batch_size": 64,
            "capacity": 200_000,
            "learning_starts": 1_000,
            "reset_every": 50_000,
            "bin_size": 5_000,
            "evaluate_every": 10_000,
            "evaluation_episodes": 5,
            "measure_every": 20_000,
        },
        "tiny": {
            "task": "Hopper-v5",
            "task_length": 120,
            "hidden": (8, 8),
            "batch_size": 8,
            "capacity": 100,
            "learning_starts": 20,
            "segment": 20,
            "replay_ratio": 0.25,
            "reset_every": 60,
            "bin_size": 40,
            "evaluate_every": 60,
            "evaluation_episodes": 2,
            "measure_every": 40,
            "max_episode_steps": 15,
            "probe_size": 20,
        },
    }
    SYSTEMS: ClassVar[Mapping[str, System]] = {
        "backprop": System("soft actor-critic"),
        "full-reset": System("the whole agent begins anew, every 200,000 steps", (FullReset(),)),
        "primed": primed("100,000 updates on the first 100 transitions"),
        "primed-full-reset": primed("the same, and resets of the whole agent", FullReset()),
        "primed-head-reset": primed("the same, and resets of the last layers", HeadReset()),
        "primed-shrink-and-perturb": primed(
            "the same, and weights half way to new ones", ShrinkAndPerturb(when="at_task", shrink=0.5)
        ),
        "primed-redo": primed("the same, and resets of dormant units", ReDo(tau=0.025, period=1_000)),
        "primed-cbp": primed(
            "the same, and continual backpropagation",
            ContinualBackprop(replacement_rate=1e-4, maturity_threshold=1_000, replacement="drawn"),
        ),
    }

    task: Task = "quadruped-run"
    """a task of DeepMind's Control Suite, a robot of Gymnasium, or an ant that goes where it is told"""
    task_length: int = 2_000_000
    """steps of a run"""
    batch_size: int = 256
    """transitions in an update"""
    reset_every: int = 200_000
    """steps between two moments at which methods that act at a change of task do so; 0: never"""
    normalisation: Literal["none", "layer", "plain_layer"] = "none"
    """a layer norm in front of each activation of the critics, with gain and shift or plain"""
    dropout: float = 0.0
    """probability with which a hidden activation of the critics is dropped (DroQ: 0.01, with a layer norm)"""
    optimizer: Optimizer = Adam(step_size=3e-4)
    """the optimizer and its settings, of actor, critics and temperature"""

    def __post_init__(self) -> None:
        """Check the settings."""
        SACSettings.__post_init__(self)
        Replaying.__post_init__(self)
        require_fraction(self, "dropout")
        require(self, "dropout", self.dropout < 1, "a number in [0, 1)")

    @property
    def ROBOT(self) -> str:  # type: ignore[override]
        """The task."""
        return self.task

    @property
    def observations(self) -> int:
        """The number of values that an agent observes."""
        return SIZES[self.task][0]

    @property
    def actions(self) -> int:
        """The number of its torques."""
        return SIZES[self.task][1]

    def environments_of(self, number: int, threads: int) -> Environments:
        """Some environments."""
        if self.task in ROBOTS:
            return super().environments_of(number, threads)
        from neoteny.envs import ControlTask, GoalAnt, OneByOne

        if self.task == GOAL_ANT:
            return OneByOne(lambda: GoalAnt(max_episode_steps=self.max_episode_steps), number)
        limit = self.max_episode_steps
        return OneByOne(lambda: ControlTask(self.task, max_episode_steps=limit, render_mode="rgb_array"), number)

    def network_settings(self) -> dict[str, Any]:
        """Actor and critics, of equal hidden layers."""
        return {
            "kind": "soft-actor-critic",
            "sizes": [self.observations, *self.hidden, 2 * self.actions],
            "critics": self.critics,
            "activation": self.activation,
            "normalisation": self.normalisation,
            "dropout": self.dropout,
        }

    def build_network(self) -> nn.Module:
        """A fresh agent."""
        from neoteny.nn.soft_actor_critic import SoftActorCritic

        return SoftActorCritic(
            self.observations,
            self.actions,
            self.hidden,
            self.critics,
            self.activation,
            normalisation=None if self.normalisation == "none" else self.normalisation,
            dropout=self.dropout,
            temperature=self.initial_temperature,
        )

    def agent_class(self) -> type[Agents]:
        """The class of the agents."""
        from neoteny.rl.sac import SAC

        return SAC

    def build_agents(self, seeds: Sequence[int], threads: int = 1, **learning: Any) -> Agents:
        """Agents in their environments; see `Locomotion`."""
        return self.replaying_agents(SACSettings, seeds, threads, learning)


@dataclass(frozen=True, kw_only=True)
class ReplayRatio(PrimacyBias):
    """How often an agent learns from what it has met: once for every step, or 32 times, with resets and without.

    Known (authors' published curves, 10 tasks of DeepMind Control, 10 runs, interquartile mean at 1 M and 2 M steps):
    ratio 1: 501 and 578, with resets 401 and 481; ratio 32: 301 and 290, with resets 652 and 662. So resets help where
    much is learned from little.

    Scales: `paper` is 2 M steps; `small` is 20,000 with 64 units a layer and batches of 64; `tiny` is for tests.

    Versions:
        v1: as published, as for `primacy-bias-v1`.

    Raises:
        SettingError: a setting is outside its range.

    >>> ReplayRatio().reset_every
    200000
    """

    ID: ClassVar[str] = "replay-ratio-v1"
    SCALES: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **PrimacyBias.SCALES,
        "small": {
            **PrimacyBias.SCALES["small"],
            "task_length": 20_000,
            "reset_every": 5_000,
            "bin_size": 1_000,
            "evaluate_every": 1_000,
            "measure_every": 2_000,
            "capacity": 100_000,
        },
    }
    SYSTEMS: ClassVar[Mapping[str, System]] = {
        "backprop": System("soft actor-critic; `replay_ratio` says how often it learns"),
        "full-reset": System("the whole agent begins anew, every 200,000 steps", (FullReset(),)),
        "head-reset": System("the last layers begin anew", (HeadReset(),)),
        "shrink-and-perturb": System("weights half way to new ones", (ShrinkAndPerturb(when="at_task", shrink=0.5),)),
    }

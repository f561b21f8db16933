"""Offline to online: agents that learn in a maze, with a data set of it at hand.

Ball, Smith, Kostrikov & Levine, "Efficient online reinforcement learning with offline data" (RLPD), ICML 2023;
Kostrikov, Nair & Levine, "Offline reinforcement learning with implicit Q-learning" (IQL), ICLR 2022.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from neoteny.benchmarks.replay import Replaying
from neoteny.checks import require, require_count, require_nonnegative
from neoteny.lab.benchmark import System
from neoteny.methods.full_reset import FullReset
from neoteny.methods.head_reset import HeadReset
from neoteny.methods.shrink_and_perturb import ShrinkAndPerturb
from neoteny.optim import Adam, Optimizer
from neoteny.rl.replay_settings import BehaviourCloningSettings, IQLSettings, SACSettings
from neoteny.rl.settings import AgentSettings

if TYPE_CHECKING:
    from torch import nn

    from neoteny.rl.agents import Agents
    from neoteny.rl.environments import Environments

__all__ = ["OfflineToOnline"]

SIZES = {"point": (4, 2), "ant": (29, 8)}
"""Values observed and actions of each robot."""
IQL: Mapping[str, Any] = {
    "agent": "iql",
    "hidden": (256, 256),
    "normalisation": "none",
    "critics": 2,
    "replay_ratio": 1.0,
    "actor_every": 1,
    "learning_starts": 0,
}
"""What is otherwise for agents that learn from the data alone first."""


def pretrained(summary: str, *methods: Any, agent: str = "iql") -> System:
    """An agent that learns from the data alone first: with smaller networks at smaller scales."""
    own = {**IQL, "agent": agent}
    small = System(summary, methods, {**own, "hidden": (64, 64)})
    return System(summary, methods, own, {"small": small, "tiny": System(summary, methods, {**own, "hidden": (8, 8)})})


@dataclass(frozen=True, kw_only=True)
class OfflineToOnline(Replaying, IQLSettings, SACSettings):
    """A maze in which a robot looks for a goal, and a data set of a robot that went to and fro in it.

    Four agents: soft actor-critic with an ensemble, which has no data; the same with half of each batch from the data
    (RLPD), which is a reset of everything but the data; implicit Q-learning, trained on the data before it goes on
    online; behaviour cloning, which never goes online. The reward is 1 at the goal, where the episode ends, and agents
    learn from it less 1. Updates on the data alone are counted as steps. An evaluation's return is the share of
    episodes that reach the goal.

    For the point, the data are made when a run begins, in about a minute a million (`neoteny.rl.collecting`); for the
    ant give a file by `data`.

    Known (Ball et al. 2023, AntMaze of D4RL, 10 runs): RLPD solves all mazes within 300,000 steps, IQL with fine-tuning
    ends lower on the large ones, and soft actor-critic without data reaches none of these goals.

    Scales: `paper` has a million updates on the data, 300,000 steps online and 20 updates for each; `small` has 20,000,
    20,000 and 4, with 64 units a layer; `tiny` is for tests.

    Versions:
        v1: mazes of Gymnasium-Robotics (see `neoteny.envs.Maze` for how they differ from D4RL's).

    Raises:
        SettingError: a setting is outside its range; the ant without data.

    >>> OfflineToOnline(agent="iql").steps
    1300000
    """

    ID: ClassVar[str] = "offline-to-online-v1"
    ROBOT: ClassVar[str] = "maze"
    SCALES: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "small": {
            "transitions": 200_000,
            "offline_updates": 20_000,
            "task_length": 20_000,
            "capacity": 250_000,
            "hidden": (64, 64),
            "critics": 4,
            "batch_size": 64,
            "replay_ratio": 4.0,
            "actor_every": 4,
            "learning_starts": 1_000,
            "reset_every": 5_000,
            "bin_size": 1_000,
            "evaluate_every": 1_000,
            "measure_every": 5_000,
        },
        "tiny": {
            "transitions": 200,
            "offline_updates": 20,
            "task_length": 80,
            "segment": 20,
            "capacity": 300,
            "hidden": (8, 8),
            "critics": 3,
            "batch_size": 8,
            "replay_ratio": 0.5,
            "actor_every": 2,
            "learning_starts": 10,
            "reset_every": 40,
            "bin_size": 20,
            "evaluate_every": 40,
            "evaluation_episodes": 2,
            "measure_every": 40,
            "max_episode_steps": 15,
            "probe_size": 20,
        },
    }
    SYSTEMS: ClassVar[Mapping[str, System]] = {
        "backprop": System("soft actor-critic without data, of the same ensemble"),
        "rlpd": System("fresh weights, and half of each batch from the data", overrides={"agent": "rlpd"}),
        "iql": pretrained("implicit Q-learning, trained on the data before"),
        "iql-full-reset": pretrained("the same, and the whole agent begins anew", FullReset()),
        "iql-head-reset": pretrained("the same, and the last layers begin anew", HeadReset()),
        "iql-shrink-and-perturb": pretrained(
            "the same, and weights half way to new ones", ShrinkAndPerturb(when="at_task", shrink=0.5)
        ),
        "behaviour-cloning": pretrained("cloning of what was done in the data", agent="bc"),
    }

    robot: Literal["point", "ant"] = "point"
    """what looks for the goal"""
    maze: Literal["umaze", "medium", "large"] = "medium"
    """where"""
    agent: Literal["sac", "rlpd", "iql", "bc"] = "sac"
    """the way of learning: without data; with half of each batch from them; from them first; from them alone"""
    data: str = ""
    """file of a data set, as `neoteny.data.load_transitions` reads it; for the point it is made where none is given"""
    transitions: int = 1_000_000
    """transitions in a data set that is made"""
    data_noise: float = 0.5
    """standard deviation of the noise on the actions in it"""
    task_length: int = 300_000
    """steps of an agent online"""
    hidden: tuple[int, ...] = (256, 256, 256)
    """units of the hidden layers of every network"""
    normalisation: Literal["none", "layer", "plain_layer"] = "layer"
    """a layer norm in front of each activation of the critics, with gain and shift or plain"""
    critics: int = 10
    """critics that are trained"""
    target_critics: int = 1
    """how many of them, drawn anew at each update, give the least value of what follows"""
    actor_value: Literal["min", "mean"] = "mean"
    """whose value the actor climbs: the least of the critics', or their mean"""
    entropy_in_target: bool = False
    """whether the value of what follows counts the entropy"""
    batch_size: int = 256
    """transitions in an update"""
    capacity: int = 2_000_000
    """transitions that each agent's buffer holds"""
    replay_ratio: float = 20.0
    """updates for each step of an agent in its environments"""
    actor_every: int = 20
    """updates of the critics for one of the actor and the temperature"""
    learning_starts: int = 5_000
    """steps of an agent with random actions, before the first update online"""
    reward_shift: float = -1.0
    """added to every reward that is learned from"""
    reset_every: int = 50_000
    """steps between two moments at which methods that act at a change of task do so; 0: never"""
    optimizer: Optimizer = Adam(step_size=3e-4)
    """the optimizer and its settings, of every network"""

    def __post_init__(self) -> None:
        """Check the settings."""
        SACSettings.__post_init__(self)
        IQLSettings.__post_init__(self)
        Replaying.__post_init__(self)
        require_count(self, "transitions", least=1)
        require_nonnegative(self, "data_noise")
        file = "the file of a data set: only those of the point are made here"
        require(self, "data", bool(self.data) or self.robot == "point" or self.agent == "sac", file)

    @property
    def offline(self) -> bool:
        """Whether the agent learns from the data alone first."""
        return self.agent in ("iql", "bc")

    @property
    def steps(self) -> int:
        """Length of a run: updates on the data, where they come first, and steps online."""
        online = 0 if self.agent == "bc" else super().steps
        return online + self.offline_updates * self.offline

    @property
    def observations(self) -> int:
        """The number of values that an agent observes."""
        return SIZES[self.robot][0]

    @property
    def actions(self) -> int:
        """The number of its torques or forces."""
        return SIZES[self.robot][1]

    @property
    def options(self) -> dict[str, Any]:
        """How the environment is made."""
        return {"robot": self.robot, "maze": self.maze}

    def environments_of(self, number: int, threads: int) -> Environments:
        """Some mazes; episodes are as long as D4RL's, at most `max_episode_steps`."""
        from neoteny.envs import Maze, OneByOne
        from neoteny.envs.mazes import LENGTHS

        longest = min(self.max_episode_steps, LENGTHS[self.robot][self.maze])
        return OneByOne(lambda: Maze(self.robot, self.maze, max_episode_steps=longest), number)

    def network_settings(self) -> dict[str, Any]:
        """Actor and critics, of equal hidden layers."""
        sizes = [self.observations, *self.hidden, self.actions * (1 if self.offline else 2)]
        return {"kind": self.agent, "sizes": sizes, "critics": self.critics, "activation": self.activation}

    def build_network(self) -> nn.Module:
        """A fresh agent."""
        from neoteny.nn.networks import Networks
        from neoteny.nn.soft_actor_critic import GaussianActor, IQLNetworks, SoftActorCritic

        sizes = (self.observations, self.actions, self.hidden)
        if self.agent == "bc":
            return Networks({"actor": GaussianActor(*sizes, self.activation)})
        if self.agent == "iql":
            return IQLNetworks(*sizes, self.critics, self.activation)
        norm = None if self.normalisation == "none" else self.normalisation
        return SoftActorCritic(
            *sizes, self.critics, self.activation, normalisation=norm, temperature=self.initial_temperature
        )

    def agent_class(self) -> type[Agents]:
        """The class of the agents."""
        from neoteny.rl.iql import IQL, BehaviourCloning
        from neoteny.rl.sac import SAC

        return {"sac": SAC, "rlpd": SAC, "iql": IQL, "bc": BehaviourCloning}[self.agent]

    def build_agents(self, seeds: Sequence[int], threads: int = 1, **learning: Any) -> Agents:
        """Agents in their environments; see `Locomotion`."""
        kind: dict[str, type[AgentSettings]] = {"iql": IQLSettings, "bc": BehaviourCloningSettings}
        if self.agent != "sac":
            learning["data"] = self.load_data()
        return self.replaying_agents(kind.get(self.agent, SACSettings), seeds, threads, learning)

    def load_data(self) -> Mapping[str, Any]:
        """The data set."""
        from neoteny.data import load_transitions

        if self.data:
            return load_transitions(self.data)
        return _made(self.maze, self.transitions, self.data_noise)


@functools.lru_cache(maxsize=1)
def _made(maze: str, transitions: int, noise: float) -> Mapping[str, Any]:
    from neoteny.envs import Maze, push
    from neoteny.rl.collecting import collect

    return collect(Maze("point", maze), push, transitions, noise=noise)

"""Classic control, learned from every step once: quick runs of streaming agents.

After Elsayed, Vasan & Mahmood, "Streaming deep reinforcement learning finally works", arXiv 2410.14606, 2024.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from neoteny.benchmarks.streaming import AC_ABLATION, ON_TOP, Streaming
from neoteny.checks import require
from neoteny.lab.benchmark import System
from neoteny.rl.stream_settings import StreamACSettings, StreamQSettings, StreamSARSASettings

if TYPE_CHECKING:
    from torch import nn

    from neoteny.rl.agents import Agents
    from neoteny.rl.environments import Environments

__all__ = ["StreamControl"]

PROBLEMS = {
    "CartPole-v1": (4, 2, 500),
    "Acrobot-v1": (6, 3, 500),
    "MountainCar-v0": (2, 3, 200),
    "Pendulum-v1": (3, 1, 200),
    "MountainCarContinuous-v0": (2, 1, 999),
}
"""Values observed, actions, and the length of an episode."""
Problem = Literal["CartPole-v1", "Acrobot-v1", "MountainCar-v0", "Pendulum-v1", "MountainCarContinuous-v0"]
CONTINUOUS = ("Pendulum-v1", "MountainCarContinuous-v0")


@dataclass(frozen=True, kw_only=True)
class StreamControl(Streaming, StreamACSettings, StreamQSettings, StreamSARSASettings):
    """A problem of classic control, by stream Q or SARSA where actions are few, by stream AC where they are continuous.

    Known: not in the paper; the settings are those of its robots, with smaller networks.

    Scales: `paper` is 500,000 steps; `small` is 100,000; `tiny` is for tests.

    Versions:
        v1: the first.

    Raises:
        SettingError: a setting is outside its range.

    >>> StreamControl(problem="Pendulum-v1").network_settings()["sizes"]
    [4, 32, 32, 2]
    """

    ID: ClassVar[str] = "stream-control-v1"
    ROBOT: ClassVar[str] = "classic control"
    SCALES: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "small": {"task_length": 100_000, "bin_size": 2_000, "measure_every": 10_000},
        "tiny": {
            "task_length": 90,
            "segment": 30,
            "bin_size": 30,
            "measure_every": 30,
            "hidden": (8, 8),
            "max_episode_steps": 20,
            "probe_size": 30,
            "exploration": 0.5,
        },
    }
    SYSTEMS: ClassVar[Mapping[str, System]] = {
        "backprop": System("stream Q(lambda), or stream AC(lambda) for continuous actions"),
        "sarsa": System("stream SARSA(lambda), for problems with few actions", overrides={"agent": "stream-sarsa"}),
        **AC_ABLATION,
        **ON_TOP,
    }

    problem: Problem = "CartPole-v1"
    """the problem"""
    agent: Literal["usual", "stream-sarsa"] = "usual"
    """the way of learning: stream Q, or stream AC for continuous actions; or stream SARSA"""
    hidden: tuple[int, ...] = (32, 32)
    """units of the hidden layers, of each network"""
    task_length: int = 500_000
    """steps of a run"""
    time_input: bool = True
    """whether agents observe how much of an episode has passed, from -1/2 to 1/2"""
    max_episode_steps: int = 1_000
    """steps after which an episode is cut off, if that is before the problem's usual end"""

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the greatest action; see `AgentSettings`."""
        most = 2.0 if self.problem == "Pendulum-v1" else 1.0
        return -most, most

    def __post_init__(self) -> None:
        """Check the settings."""
        StreamACSettings.__post_init__(self)
        StreamQSettings.__post_init__(self)
        Streaming.__post_init__(self)
        require(self, "agent", not (self.continuous and self.agent == "stream-sarsa"), "usual for continuous actions")

    @property
    def continuous(self) -> bool:
        """Whether actions are continuous."""
        return self.problem in CONTINUOUS

    @property
    def time_limit(self) -> int:
        """The greatest length of an episode."""
        return min(self.max_episode_steps, PROBLEMS[self.problem][2])

    @property
    def observations(self) -> int:
        """The number of values that an agent observes."""
        return PROBLEMS[self.problem][0]

    @property
    def actions(self) -> int:
        """The number of its actions."""
        return PROBLEMS[self.problem][1]

    @property
    def options(self) -> dict[str, Any]:
        """How the environment is made."""
        return {"problem": self.problem}

    def network_settings(self) -> dict[str, Any]:
        """The values of the actions; or an actor and a critic."""
        if self.continuous:
            return self.described("actor-critic", [self.inputs, *self.hidden, 2 * self.actions])
        return self.described("mlp", [self.inputs, *self.hidden, self.actions])

    def build_network(self) -> nn.Module:
        """A fresh agent."""
        from neoteny.nn.mlp import MLP
        from neoteny.nn.networks import Networks

        if not self.continuous:
            return MLP(self.inputs, self.hidden, self.actions, **self.layers())
        sizes = {"actor": 2 * self.actions, "critic": 1}
        return Networks({name: MLP(self.inputs, self.hidden, size, **self.layers()) for name, size in sizes.items()})

    def build_environments(self, seeds: Sequence[int], threads: int = 1) -> Environments:
        """A problem for each agent."""
        from neoteny.envs import OneByOne, make_classic

        return OneByOne(lambda: make_classic(self.problem, self.time_limit), len(seeds))

    def agent_class(self) -> type[Agents]:
        """The class of the agents."""
        from neoteny.rl.stream_ac import StreamAC
        from neoteny.rl.stream_q import StreamQ
        from neoteny.rl.stream_sarsa import StreamSARSA

        if self.continuous:
            return StreamAC
        return StreamQ if self.agent == "usual" else StreamSARSA

    def build_agents(self, seeds: Sequence[int], threads: int = 1, **learning: Any) -> Agents:
        """Agents in their environments; see `Locomotion`."""
        few = StreamQSettings if self.agent == "usual" else StreamSARSASettings
        return self.streaming_agents(StreamACSettings if self.continuous else few, seeds, threads, learning)

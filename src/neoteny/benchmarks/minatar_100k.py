"""MinAtar's games in 100,000 steps: a small stand-in for Atari-100k, on which resets let agents learn more from little.

After D'Oro, Schwarzer, Nikishin, Bacon, Bellemare & Courville, "Sample-efficient reinforcement learning by breaking the
replay ratio barrier", ICLR 2023; Lee et al., ICML 2024, arXiv 2406.02596.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from neoteny.benchmarks.replay import Replaying
from neoteny.benchmarks.stream_minatar import GAMES, MinAtar
from neoteny.checks import require
from neoteny.lab.benchmark import System
from neoteny.methods.hare_and_tortoise import HareAndTortoise
from neoteny.methods.head_reset import HeadReset
from neoteny.methods.redo import ReDo
from neoteny.methods.shrink_and_perturb import ShrinkAndPerturb
from neoteny.optim import Adam, Optimizer
from neoteny.rl.replay_settings import DQNSettings

if TYPE_CHECKING:
    from torch import nn

    from neoteny.rl.agents import Agents
    from neoteny.rl.environments import Environments

__all__ = ["MinAtar100k"]


@dataclass(frozen=True, kw_only=True)
class MinAtar100k(MinAtar, Replaying, DQNSettings):
    """A game of MinAtar, learned by double DQN in 100,000 steps with two updates for each.

    Methods act every 20,000 steps. The target network is a moving average of the weights, so that it can be the
    tortoise of `hare-and-tortoise`.

    Known: not published. On Atari-100k (Lee et al. 2024) resets of the head and Hare & Tortoise raise the interquartile
    mean of DrQ.

    Scales: `paper` is 100,000 steps; `small` is 20,000; `tiny` is for tests.

    Versions:
        v1: the first.

    Raises:
        SettingError: a setting is outside its range.

    >>> MinAtar100k(game="seaquest").network_settings()["sizes"]
    [1000, 1024, 128, 6]
    """

    ID: ClassVar[str] = "minatar-100k-v1"
    ROBOT: ClassVar[str] = "MinAtar"
    SCALES: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "small": {
            "task_length": 20_000,
            "reset_every": 5_000,
            "exploration_steps": 5_000,
            "bin_size": 2_000,
            "evaluate_every": 5_000,
            "measure_every": 5_000,
        },
        "tiny": {
            "task_length": 120,
            "segment": 20,
            "replay_ratio": 0.25,
            "learning_starts": 20,
            "batch_size": 4,
            "capacity": 100,
            "hidden": (8,),
            "reset_every": 60,
            "exploration_steps": 50,
            "bin_size": 40,
            "evaluate_every": 60,
            "evaluation_episodes": 2,
            "measure_every": 40,
            "max_episode_steps": 15,
            "probe_size": 20,
        },
    }
    SYSTEMS: ClassVar[Mapping[str, System]] = {
        "backprop": System("double DQN"),
        "head-reset": System("the layers behind the convolution begin anew", (HeadReset(layers=2),)),
        "shrink-and-perturb": System(
            "weights shrink to 0.8 of themselves and 0.2 of new ones", (ShrinkAndPerturb(when="at_task", shrink=0.8),)
        ),
        "hare-and-tortoise": System("the network goes back to its target", (HareAndTortoise(tortoise="target"),)),
        "redo": System("resets of dormant units", (ReDo(tau=0.025, period=1_000),)),
    }

    game: Literal["asterix", "breakout", "freeway", "seaquest", "space_invaders"] = "breakout"
    """the game"""
    task_length: int = 100_000
    """steps of a run"""
    hidden: tuple[int, ...] = (128,)
    """units of the hidden layer behind the convolution"""
    batch_size: int = 32
    """transitions in an update"""
    replay_ratio: float = 2.0
    """updates for each step of an agent in its environments"""
    learning_starts: int = 1_000
    """steps of an agent with random actions, before the first update"""
    storage: Literal["float32", "uint8", "bits"] = "bits"
    """how observations are kept: as they are, as bytes, or as bits where they are 0 or 1"""
    double: bool = True
    """whether the network chooses the action whose value the target network gives (double DQN)"""
    dueling: bool = False
    """whether the network gives the value of a state, and by how much each action is better"""
    tau: float = 0.005
    """share of the way that the target network goes to the network at each update"""
    exploration_steps: int = 20_000
    """steps of an agent over which the share of random actions falls, linearly"""
    last_epsilon: float = 0.01
    """share of random actions in the end"""
    reset_every: int = 20_000
    """steps between two moments at which methods that act at a change of task do so; 0: never"""
    measure_every: int = 10_000
    """steps between two measurements of units and weights"""
    evaluate_every: int = 10_000
    """steps between two evaluations; one at a reset comes before it"""
    max_episode_steps: int = 2_500
    """steps after which a game is cut off"""
    optimizer: Optimizer = Adam(step_size=3e-4)
    """the optimizer and its settings"""

    def __post_init__(self) -> None:
        """Check the settings."""
        DQNSettings.__post_init__(self)
        Replaying.__post_init__(self)
        require(self, "hidden", len(self.hidden) == 1, "the size of one hidden layer")

    def network_settings(self) -> dict[str, Any]:
        """A convolution, and a hidden layer."""
        sizes = [self.observations, 1024, *self.hidden, self.actions]
        return {"kind": "minatar", "sizes": sizes, "activation": self.activation, "dueling": self.dueling}

    def build_network(self) -> nn.Module:
        """A fresh agent."""
        from neoteny.nn.dueling import Dueling
        from neoteny.nn.minatar import MinAtarNet

        outputs, channels = self.actions + self.dueling, GAMES[self.game][0]
        network = MinAtarNet(channels, outputs, self.hidden[0], self.activation, "kaiming_uniform", None)
        return Dueling(network) if self.dueling else network

    def environments_of(self, number: int, threads: int) -> Environments:
        """Some games."""
        from neoteny.envs import MinAtarGame, OneByOne

        return OneByOne(lambda: MinAtarGame(self.game, max_episode_steps=self.max_episode_steps), number)

    def agent_class(self) -> type[Agents]:
        """The class of the agents."""
        from neoteny.rl.dqn import DQN

        return DQN

    def build_agents(self, seeds: Sequence[int], threads: int = 1, **learning: Any) -> Agents:
        """Agents in their environments; see `Locomotion`."""
        return self.replaying_agents(DQNSettings, seeds, threads, learning)

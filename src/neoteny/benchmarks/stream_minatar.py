"""MinAtar's games, learned from every step once, without replay or target networks.

Elsayed, Vasan & Mahmood, "Streaming deep reinforcement learning finally works", arXiv 2410.14606, 2024.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from neoteny.benchmarks.streaming import ABLATION, ON_TOP, Streaming
from neoteny.checks import require
from neoteny.lab.benchmark import System
from neoteny.rl.stream_settings import StreamQSettings, StreamSARSASettings

if TYPE_CHECKING:
    from torch import nn

    from neoteny.rl.agents import Agents
    from neoteny.rl.environments import Environments

__all__ = ["GAMES", "MinAtar", "StreamMinAtar"]

GAMES = {"asterix": (4, 5), "breakout": (4, 3), "freeway": (7, 3), "seaquest": (10, 6), "space_invaders": (6, 4)}
"""Kinds of objects that each game shows, and its actions."""


class MinAtar:
    """What a game of MinAtar asks of its agents; a benchmark has `game`."""

    game: Any

    @property
    def observations(self) -> int:
        """The number of values that an agent observes."""
        return GAMES[self.game][0] * 100

    @property
    def actions(self) -> int:
        """The number of its actions."""
        return GAMES[self.game][1]

    @property
    def options(self) -> dict[str, Any]:
        """How the environment is made."""
        return {"game": self.game}


@dataclass(frozen=True, kw_only=True)
class StreamMinAtar(MinAtar, Streaming, StreamQSettings, StreamSARSASettings):
    """A game of MinAtar, learned by stream Q(lambda) or stream SARSA(lambda).

    Known (paper, 30 runs, 5 M steps, read off the figures; stream Q, classic Q, DQN): Asterix 12, 21, 17; Breakout
    11.5, 9, 10; Seaquest 18, 2, 20; Space Invaders 80, 39, 43. So classic Q learns here as well.

    Scales: `paper` is 5 M steps; `small` is 200,000; `tiny` is for tests.

    Versions:
        v1: as published.

    Raises:
        SettingError: a setting is outside its range.

    >>> StreamMinAtar(game="seaquest").network_settings()["sizes"]
    [1000, 1024, 128, 6]
    """

    ID: ClassVar[str] = "stream-minatar-v1"
    ROBOT: ClassVar[str] = "MinAtar"
    SCALES: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "small": {"task_length": 200_000, "bin_size": 4_000, "measure_every": 20_000},
        "tiny": {
            "task_length": 120,
            "segment": 40,
            "bin_size": 40,
            "measure_every": 40,
            "hidden": (8,),
            "probe_size": 20,
            "exploration": 0.5,
        },
    }
    SYSTEMS: ClassVar[Mapping[str, System]] = {
        "backprop": System("stream Q(lambda)"),
        "sarsa": System("stream SARSA(lambda)", overrides={"agent": "stream-sarsa"}),
        **ABLATION,
        "intentional": System(
            "stream Q(lambda) with intentional updates", overrides={"optimizer": "intentional", "step_size": 0.25}
        ),
        "classic-q": System(
            "one-step Q with Adam, as it was usual",
            overrides={
                "optimizer": "adam",
                "step_size": 1e-5,
                "trace_lambda": 0.0,
                "normalisation": "none",
                "initialisation": "default",
                "normalise_observations": False,
                "normalise_rewards": False,
            },
        ),
        **ON_TOP,
    }

    game: Literal["asterix", "breakout", "freeway", "seaquest", "space_invaders"] = "breakout"
    """the game"""
    agent: Literal["stream-q", "stream-sarsa"] = "stream-q"
    """the way of learning"""
    hidden: tuple[int, ...] = (128,)
    """units of the hidden layer behind the convolution"""
    task_length: int = 5_000_000
    """steps of a run"""
    max_episode_steps: int = 1_000_000
    """steps after which a game is cut off; none lasts that long"""

    def __post_init__(self) -> None:
        """Check the settings."""
        StreamQSettings.__post_init__(self)
        Streaming.__post_init__(self)
        require(self, "normalisation", self.normalisation != "unit", "none, layer or plain_layer")
        require(self, "hidden", len(self.hidden) == 1, "the size of one hidden layer")
        require(self, "time_input", not self.time_input, "False: games see no time")

    def network_settings(self) -> dict[str, Any]:
        """A convolution, and a hidden layer."""
        return self.described("minatar", [self.observations, 1024, *self.hidden, self.actions])

    def build_network(self) -> nn.Module:
        """A fresh agent."""
        from neoteny.nn.minatar import MinAtarNet

        return MinAtarNet(GAMES[self.game][0], self.actions, self.hidden[0], **self.layers())

    def build_environments(self, seeds: Sequence[int], threads: int = 1) -> Environments:
        """A game for each agent."""
        from neoteny.envs import MinAtarGame, OneByOne

        return OneByOne(lambda: MinAtarGame(self.game, max_episode_steps=self.max_episode_steps), len(seeds))

    def agent_class(self) -> type[Agents]:
        """The class of the agents."""
        from neoteny.rl.stream_q import StreamQ
        from neoteny.rl.stream_sarsa import StreamSARSA

        return StreamQ if self.agent == "stream-q" else StreamSARSA

    def build_agents(self, seeds: Sequence[int], threads: int = 1, **learning: Any) -> Agents:
        """Agents in their environments; see `Locomotion`."""
        kind = StreamQSettings if self.agent == "stream-q" else StreamSARSASettings
        return self.streaming_agents(kind, seeds, threads, learning)

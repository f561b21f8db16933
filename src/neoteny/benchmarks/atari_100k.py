"""Atari's games in 100,000 steps: agents that learn much from little, and what resets add.

Kaiser et al., "Model-based reinforcement learning for Atari", ICLR 2020, for the games and the steps; Agarwal et al.,
NeurIPS 2021, for how agents are evaluated; Lee et al., ICML 2024, arXiv 2406.02596, for resets and Hare & Tortoise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from neoteny.benchmarks.replay import Replaying
from neoteny.checks import require, require_count, require_fraction
from neoteny.lab.benchmark import System
from neoteny.methods.hare_and_tortoise import HareAndTortoise
from neoteny.methods.head_reset import HeadReset
from neoteny.methods.shrink_and_perturb import ShrinkAndPerturb
from neoteny.optim import Adam, Optimizer
from neoteny.rl.pixel_settings import BBF, SPR, PixelSettings

if TYPE_CHECKING:
    from torch import nn

    from neoteny.rl.agents import Agents
    from neoteny.rl.environments import Environments

__all__ = ["GAMES", "Atari100k"]

Game = Literal[
    "alien",
    "amidar",
    "assault",
    "asterix",
    "bank_heist",
    "battle_zone",
    "boxing",
    "breakout",
    "chopper_command",
    "crazy_climber",
    "demon_attack",
    "freeway",
    "frostbite",
    "gopher",
    "hero",
    "jamesbond",
    "kangaroo",
    "krull",
    "kung_fu_master",
    "ms_pacman",
    "pong",
    "private_eye",
    "qbert",
    "road_runner",
    "seaquest",
    "up_n_down",
]
GAMES = {
    "alien": 18,
    "amidar": 10,
    "assault": 7,
    "asterix": 9,
    "bank_heist": 18,
    "battle_zone": 18,
    "boxing": 18,
    "breakout": 4,
    "chopper_command": 18,
    "crazy_climber": 9,
    "demon_attack": 6,
    "freeway": 3,
    "frostbite": 18,
    "gopher": 8,
    "hero": 18,
    "jamesbond": 18,
    "kangaroo": 18,
    "krull": 18,
    "kung_fu_master": 14,
    "ms_pacman": 9,
    "pong": 6,
    "private_eye": 18,
    "qbert": 6,
    "road_runner": 18,
    "seaquest": 18,
    "up_n_down": 6,
}
"""The 26 games, and how many actions do something in each."""
FRAMES, SKIP = 4, 4
HEAD = HeadReset(layers=2)
SHRINK = ShrinkAndPerturb(when="at_task", shrink=0.8)
HALF = ShrinkAndPerturb(when="at_task", shrink=0.5)
HARE = HareAndTortoise(tortoise="target")


SMALL = {"width": 0.25, "hidden": (128,), "learning_starts": 1_000, "replay_ratio": 1.0}
TINY = {"width": 0.125, "hidden": (8,), "learning_starts": 20, "replay_ratio": 0.25}
"""What is smaller at these scales, also where a system has another size of its own."""


def every(steps: int, summary: str, *methods: Any, **own: Any) -> System:
    """A system whose methods act every so many of 100,000 steps, and as often in shorter runs.

    Args:
        steps: between two resets.
        summary: one line.
        methods: that act.
        own: settings in which the system differs.
    """
    small = {**own, **SMALL, "anneal": 3_000} if own else {}
    tiny = {**own, **TINY, "anneal": 10} if own else {}
    return System(
        summary,
        methods,
        {**own, "reset_every": steps},
        {
            "small": System(summary, methods, {**small, "reset_every": steps * 3 // 10}),
            "tiny": System(summary, methods, {**tiny, "reset_every": 60}),
        },
    )


_BBF = {**BBF, "optimizer.weight_decay": 0.1}
_NO_PREDICTION = {**_BBF, "jumps": 0}


@dataclass(frozen=True, kw_only=True)
class Atari100k(Replaying, PixelSettings):
    """A game of Atari, learned in 100,000 steps, two hours of play, with two updates for each.

    Agents are DrQ(eps), SPR and BBF. Methods act every 20,000 steps, or every 40,000. The target network is a moving
    average of the weights, so that it can be the tortoise of `hare-and-tortoise`: when the hare returns, targets stay
    where they are, the heads return as well, and the optimizer's state is kept. What a head reset draws anew begins
    anew in the target network and in the optimizer's state.

    In training lives are episodes and rewards are clipped to [-1, 1]. Evaluations are whole games, with the game's own
    rewards, and `evaluation_return` is their mean. `neoteny.report.papers.atari_100k` has the scores of random play and
    of people, by which they are compared over games.

    Known (Lee's talk, 26 games, 5 runs, IQM of human-normalised scores): DrQ 0.243, with shrink and perturb 0.139, with
    Hare & Tortoise 0.287, with a head reset every 20,000 steps 0.332, every 40,000 0.288, with both 0.328; BBF without
    self-prediction 0.826, with Hare & Tortoise 0.891, BBF 0.940. Not said there, and chosen here: the head is the two
    layers behind the encoder, weights shrink to 0.8, DrQ has a target network, and BBF's hare and tortoise take the
    place of its shrinking.

    Scales: `paper` is 100,000 steps; `small` is 30,000 with pictures of 42x42, shifted by up to 2 pixels, a quarter
    of the maps, 128 hidden units, one update a step and games that are cut off after 1,500 steps; `tiny` is for tests.

    Versions:
        v1: the first.

    Raises:
        SettingError: a setting is outside its range.

    >>> Atari100k(game="pong").network_settings()["sizes"]
    [28224, 512, 6]
    """

    ID: ClassVar[str] = "atari-100k-v1"
    ROBOT: ClassVar[str] = "Atari"
    SCALES: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "small": {
            "game": "assault",
            "size": 42,
            "shift": 2,
            "task_length": 30_000,
            "capacity": 30_000,
            **SMALL,
            "exploration_steps": 3_000,
            "reset_every": 6_000,
            "bin_size": 1_000,
            "measure_every": 6_000,
            "evaluate_every": 3_000,
            "evaluation_episodes": 4,
            "max_episode_steps": 1_500,
        },
        "tiny": {
            "game": "boxing",
            "size": 42,
            "task_length": 120,
            "segment": 20,
            **TINY,
            "batch_size": 4,
            "capacity": 100,
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
        "backprop": System("DrQ(eps)"),
        "head-reset": every(20_000, "DrQ(eps), the layers behind the encoder begin anew every 20,000 steps", HEAD),
        "head-reset-40k": every(40_000, "the same, every 40,000 steps", HEAD),
        "shrink-and-perturb": every(
            20_000, "DrQ(eps), weights shrink to 0.8 of themselves and 0.2 of new ones", SHRINK
        ),
        "hare-and-tortoise": every(20_000, "DrQ(eps), the network goes back to its target", HARE),
        "hare-and-tortoise-head-reset": every(40_000, "both, every 40,000 steps", HARE, HEAD),
        "spr": every(20_000, "DrQ(eps) with C51 and self-prediction", **SPR),
        "bbf": every(
            20_000, "BBF: half of all weights and all of the head new", HALF, HeadReset(layers=2, also=("predictor",)),
            **_BBF,
        ),
        "bbf-no-prediction": every(20_000, "BBF without self-prediction", HALF, HEAD, **_NO_PREDICTION),
        "bbf-hare-and-tortoise": every(
            20_000, "BBF without self-prediction, the network goes back to its target", HARE, HEAD, **_NO_PREDICTION
        ),
    }  # fmt: skip

    game: Game = "breakout"
    """the game"""
    task_length: int = 100_000
    """steps of a run, of four frames each"""
    size: int = 84
    """side of a picture"""
    life_loss: bool = True
    """whether losing a life ends an episode in training"""
    sticky: float = 0.0
    """the probability with which a frame repeats the last action in place of the one given"""
    full_actions: bool = False
    """whether all 18 actions can be chosen, not only those that do something in the game"""
    hidden: tuple[int, ...] = (512,)
    """units of the hidden layer behind the encoder; 2,048 in BBF"""
    n_step: int = 10
    """n: rewards that are summed before the value of a later state is added"""
    capacity: int = 100_000
    """transitions that each agent's buffer holds"""
    batch_size: int = 32
    """transitions in an update"""
    learning_starts: int = 1_600
    """steps of an agent with random actions, before the first update"""
    replay_ratio: float = 2.0
    """updates for each step of an agent in its environments"""
    storage: Literal["float32", "uint8", "bits", "frames"] = "frames"
    """how observations are kept: as they are, as bytes, as bits where they are 0 or 1, or each frame of a stack once"""
    reward_clip: float = 1.0
    """C: rewards that are learned from are clipped to [-C, C]"""
    tau: float = 0.005
    """share of the way that the target network goes to the network at each update"""
    reset_every: int = 20_000
    """steps between two moments at which methods that act at a change of task do so; 0: never"""
    segment: int = 500
    """steps of an agent between two moments at which it can be looked at, reset and saved"""
    measure_every: int = 20_000
    """steps between two measurements of units and weights"""
    probe_size: int = 256
    """states that units are measured on: an agent's last ones, for ranks its first; at most those of a segment"""
    evaluate_every: int = 50_000
    """steps between two evaluations; one at a reset comes before it"""
    evaluation_episodes: int = 100
    """games of an evaluation, apart from training, by the actions that an agent prefers"""
    evaluation_epsilon: float = 0.001  # type: ignore[misc] - a setting here
    """share of random actions in evaluations"""
    max_episode_steps: int = 27_000
    """steps after which a game is cut off"""
    optimizer: Optimizer = Adam(step_size=1e-4, eps=1.5e-4)
    """the optimizer and its settings"""

    def __post_init__(self) -> None:
        """Check the settings."""
        PixelSettings.__post_init__(self)
        Replaying.__post_init__(self)
        require_fraction(self, "sticky", "evaluation_epsilon")
        require_count(self, "size", least=36)
        require(self, "activation", self.activation == "relu", "'relu', as the networks for pixels have it")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an observation."""
        return (FRAMES, self.size, self.size)

    @property
    def observations(self) -> int:
        """The number of bytes that an agent observes."""
        return FRAMES * self.size**2

    @property
    def actions(self) -> int:
        """The number of its actions."""
        return 18 if self.full_actions else GAMES[self.game]

    @property
    def options(self) -> dict[str, Any]:
        """How the environment is made."""
        return {"game": self.game, "sticky": self.sticky, "full_actions": self.full_actions, "size": self.size}

    def network_settings(self) -> dict[str, Any]:
        """An encoder, and a hidden layer."""
        return {
            "kind": self.encoder,
            "sizes": [self.observations, *self.hidden, self.actions],
            "width": self.width,
            "dueling": self.dueling,
            "atoms": self.atoms,
            "activation": self.activation,
        }

    def build_network(self) -> nn.Module:
        """A fresh agent."""
        return self.network(self.shape, self.actions)

    def games(self, number: int, life_loss: bool) -> Environments:
        """Some games side by side."""
        from neoteny.envs import AtariGame, OneByOne

        frames = self.max_episode_steps * SKIP
        return OneByOne(lambda: AtariGame(life_loss=life_loss, max_frames=frames, **self.options), number)

    def build_environments(self, seeds: Sequence[int], threads: int = 1) -> Environments:
        """The games of some agents; see `Locomotion`."""
        return self.games(len(seeds) * self.environments, self.life_loss)

    def build_evaluation(self, seeds: Sequence[int], threads: int = 1) -> Environments:
        """The games in which some agents are evaluated, one an episode."""
        return self.games(len(seeds) * self.evaluation_episodes, life_loss=False)

    def agent_class(self) -> type[Agents]:
        """The class of the agents."""
        from neoteny.rl.pixel_dqn import PixelDQN

        return PixelDQN

    def build_agents(self, seeds: Sequence[int], threads: int = 1, **learning: Any) -> Agents:
        """Agents in their games; see `Locomotion`."""
        return self.replaying_agents(PixelSettings, seeds, threads, learning)

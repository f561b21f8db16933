"""Robots that learn to move from every step once, without replay or batches.

Elsayed, Vasan & Mahmood, "Streaming deep reinforcement learning finally works", arXiv 2410.14606, 2024; AVG: Vasan et
al., NeurIPS 2024.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from neoteny.benchmarks.streaming import AC_ABLATION, ON_TOP, Streaming
from neoteny.checks import require
from neoteny.lab.benchmark import System
from neoteny.rl.settings import AgentSettings, PPOSettings
from neoteny.rl.stream_settings import AVGSettings, StreamACSettings

if TYPE_CHECKING:
    from torch import nn

    from neoteny.rl.agents import Agents

__all__ = ["StreamMujoco"]

ROBOTS = {"Ant-v5": (27, 8), "HalfCheetah-v5": (17, 6), "Hopper-v5": (11, 3), "Walker2d-v5": (17, 6)}
"""How many values each observes, and how many torques it has; the ant without its contact forces."""
_AVG = {
    "agent": "avg",
    "optimizer": "adam",
    "optimizer.betas": (0.0, 0.999),
    "step_size": 0.0087,
    "actor_step_size": 0.0063,
    "entropy": 0.07,
    "trace_lambda": 0.0,
    "normalisation": "unit",
    "initialisation": "orthogonal",
    "normalise_rewards": False,
    "time_input": False,
    "bootstrap_timeouts": True,
}


@dataclass(frozen=True, kw_only=True)
class StreamMujoco(Streaming, StreamACSettings, AVGSettings):
    """A robot learns to move by stream AC(lambda), beside ablations, AVG, a classic actor-critic and PPO.

    Known (paper, 30 runs, v4 of the robots, read off the figures): at 2 M steps Ant 3,700 (SAC 5,000, PPO 2,000),
    Walker2d 2,600; at 20 M steps Ant 5,700, Walker2d 4,400. At 2 M steps nothing is learned without ObGD or without
    scaling of the data; without layer norm Hopper and Walker2d suffer most; without sparse initialisation all are
    slower.

    Scales: `paper` is 2 M steps; `small` is 200,000; `tiny` is for tests.

    Versions:
        v1: as published, on v5 of the robots.

    Raises:
        SettingError: a setting is outside its range.

    >>> StreamMujoco(robot="Hopper-v5").network_settings()["sizes"]
    [12, 128, 128, 6]
    """

    ID: ClassVar[str] = "stream-mujoco-v1"
    SCALES: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "small": {"task_length": 200_000, "bin_size": 4_000, "measure_every": 20_000},
        "tiny": {
            "robot": "Hopper-v5",
            "task_length": 96,
            "segment": 32,
            "bin_size": 32,
            "measure_every": 32,
            "hidden": (8, 8),
            "max_episode_steps": 20,
            "probe_size": 30,
        },
    }
    SYSTEMS: ClassVar[Mapping[str, System]] = {
        "backprop": System("stream AC(lambda)"),
        **AC_ABLATION,
        "intentional": System(
            "stream AC(lambda) with intentional updates",
            overrides={
                "optimizer": "intentional",
                "step_size": 0.5,
                "actor_step_size": 0.05,
                "time_input": False,
                "bootstrap_timeouts": True,
            },
        ),
        "avg": System(
            "action value gradient, a soft actor-critic without replay, with the settings for Ant and HalfCheetah",
            overrides={**_AVG, "hidden": (256, 256)},
            scaled={"tiny": System("action value gradient, small", overrides=_AVG)},
        ),
        "classic-ac": System(
            "a one-step actor-critic with Adam, as it was usual",
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
        "ppo": System(
            "PPO on batches, with usual settings",
            overrides={
                "agent": "ppo",
                "optimizer": "adam",
                "step_size": 3e-4,
                "trace_lambda": 0.0,
                "activation": "tanh",
                "normalisation": "none",
                "initialisation": "lecun",
                "time_input": False,
                "bootstrap_timeouts": True,
                "entropy": 0.0,
            },
        ),
        **ON_TOP,
    }

    robot: Literal["Ant-v5", "HalfCheetah-v5", "Hopper-v5", "Walker2d-v5"] = "Ant-v5"
    """the robot"""
    agent: Literal["stream-ac", "avg", "ppo"] = "stream-ac"
    """the way of learning; PPO collects `segment` steps, and makes ten epochs of updates on minibatches of 50"""
    time_input: bool = True
    """whether agents observe how much of an episode has passed, from -1/2 to 1/2"""
    task_length: int = 2_000_000
    """steps of a run"""

    def __post_init__(self) -> None:
        """Check the settings."""
        StreamACSettings.__post_init__(self)
        Streaming.__post_init__(self)
        time = "False for PPO, which bootstraps at time-outs"
        require(self, "time_input", not (self.agent == "ppo" and self.time_input), time)
        norm = "none, layer or plain_layer for PPO"
        require(self, "normalisation", not (self.agent == "ppo" and self.normalisation == "unit"), norm)

    @property
    def ROBOT(self) -> str:  # type: ignore[override]
        """Gymnasium's name of the robot."""
        return self.robot

    @property
    def observations(self) -> int:
        """The number of values that an agent observes."""
        return ROBOTS[self.robot][0]

    @property
    def actions(self) -> int:
        """The number of its torques."""
        return ROBOTS[self.robot][1]

    def network_settings(self) -> dict[str, Any]:
        """Actor and critic, of equal hidden layers."""
        return self.described("actor-critic", [self.inputs, *self.hidden, self.actions * (1 + (self.agent != "ppo"))])

    def build_network(self) -> nn.Module:
        """A fresh agent."""
        from neoteny.nn.actor_critic import ActorCritic
        from neoteny.nn.mlp import MLP
        from neoteny.nn.networks import Networks

        if self.agent == "ppo":
            return ActorCritic(self.observations, self.actions, self.hidden, **self.layers())
        seen = self.inputs + self.actions * (self.agent == "avg")
        sizes = {"actor": (self.inputs, 2 * self.actions), "critic": (seen, 1)}
        return Networks({name: MLP(n, self.hidden, out, **self.layers()) for name, (n, out) in sizes.items()})

    def agent_class(self) -> type[Agents]:
        """The class of the agents."""
        from neoteny.rl.avg import AVG
        from neoteny.rl.ppo import PPO
        from neoteny.rl.stream_ac import StreamAC

        return {"ppo": PPO, "avg": AVG, "stream-ac": StreamAC}[self.agent]

    @property
    def ppo(self) -> PPOSettings:
        """How PPO learns."""
        return PPOSettings(
            rollout_steps=self.segment,
            batch_size=next(size for size in (50, 32, 1) if self.segment % size == 0),
            gamma=self.gamma,
            vf_coef=0.5,
            max_grad_norm=0.5,
            normalise_advantages="minibatch",
            normalise_observations=self.normalise_observations,
            normalise_rewards=self.normalise_rewards,
            clip_actions=self.clip_actions,
            bootstrap_timeouts=self.bootstrap_timeouts,
            anneal_step_size=self.anneal_step_size,
            ent_coef=self.entropy,
        )

    def build_agents(self, seeds: Sequence[int], threads: int = 1, **learning: Any) -> Agents:
        """Agents in their environments; see `Locomotion`."""
        if self.agent != "ppo":
            settings: type[AgentSettings] = AVGSettings if self.agent == "avg" else StreamACSettings
            return self.streaming_agents(settings, seeds, threads, learning)
        make: Any = self.agent_class()
        environments = self.build_environments(seeds, threads)
        return make(
            environments, seeds=seeds, settings=self.ppo, network=self.build_network, total=self.steps, **learning
        )

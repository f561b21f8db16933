"""The settings of agents, for benchmarks and the command line; needs no torch."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from neoteny.checks import is_number, require, require_count, require_fraction, require_nonnegative
from neoteny.errors import SettingError
from neoteny.kinds import Settings

__all__ = ["AgentSettings", "PPOSettings"]

Advantages = Literal["batch", "minibatch", "none"]


class AgentSettings(Settings, ABC):
    """What the settings of every agent hold, whatever it learns from.

    Subclasses are dataclasses. Each lists these fields among its own, in its own order, as that decides the names of
    run folders.
    """

    ITERATION: ClassVar[str]
    """What `iteration_steps` is made of, for messages."""

    environments: int
    gamma: float
    max_grad_norm: float
    normalise_observations: bool
    normalise_rewards: bool
    clip_actions: bool
    anneal_step_size: bool

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the greatest action of the environments, where actions are continuous."""
        return -1.0, 1.0

    @property
    @abstractmethod
    def iteration_steps(self) -> int:
        """Steps of each agent in an iteration; between two iterations agents are looked at and saved."""

    def __post_init__(self) -> None:
        """Check the settings."""
        require_count(self, "environments", least=1)
        require_fraction(self, "gamma")
        require(self, "max_grad_norm", is_number(self.max_grad_norm) and self.max_grad_norm > 0, "a number > 0")


@dataclass(frozen=True, kw_only=True)
class PPOSettings(AgentSettings):
    """The settings of PPO; the defaults are those of the Nature paper's agents.

    Raises:
        SettingError: a setting is outside its range.

    >>> PPOSettings(rollout_steps=1000)
    Traceback (most recent call last):
    ...
    neoteny.errors.SettingError: rollout_steps * environments = 1000 is not a multiple of batch_size = 128: ...
    """

    ITERATION: ClassVar[str] = "rollout_steps * environments"

    rollout_steps: int = 2_048
    """steps in each environment between two phases of updates"""
    environments: int = 1
    """environments of each agent"""
    epochs: int = 10
    """passes over the collected steps in each phase of updates"""
    batch_size: int = 128
    """steps in a minibatch, of which one update is made"""
    gamma: float = 0.99
    """the discount"""
    gae_lambda: float = 0.95
    """lambda of the generalised advantage estimate (`gae`)"""
    clip_coef: float = field(default=0.2, metadata={"accepts": (math.inf,)})
    """eps, by which the ratio of new to old policy may leave 1 before it is clipped"""
    vf_coef: float = 1.0
    """c_v, weight of the value loss (R - v)^2"""
    ent_coef: float = 0.0
    """c_e, weight of the entropy bonus"""
    max_grad_norm: float = math.inf
    """the norm of all gradients together is clipped to it; inf: not at all"""
    normalise_advantages: Advantages = "batch"
    """over all collected steps, over each minibatch, or not at all"""
    normalise_observations: bool = False
    """whether observations are normalised by their running mean and variance"""
    normalise_rewards: bool = False
    """whether rewards are divided by the running standard deviation of the discounted return"""
    clip_actions: bool = False
    """whether environments get actions clipped to their range; the agent learns from the unclipped ones"""
    bootstrap_timeouts: bool = False
    """whether the value of the state after a time-out is bootstrapped; the paper treats time-outs as terminations"""
    anneal_step_size: bool = False
    """whether the step size falls linearly to 0 over the run"""

    def __post_init__(self) -> None:
        """Check the settings."""
        AgentSettings.__post_init__(self)
        require_count(self, "rollout_steps", "epochs", "batch_size", least=1)
        require_fraction(self, "gae_lambda")
        require_nonnegative(self, "vf_coef", "ent_coef")
        require(self, "clip_coef", is_number(self.clip_coef) and self.clip_coef > 0, "a number > 0")
        batch = self.iteration_steps
        of = {"batch": batch, "minibatch": self.batch_size}.get(self.normalise_advantages)
        if of == 1:
            raise SettingError(
                f"normalise_advantages = {self.normalise_advantages!r} divides by the standard deviation of a single "
                "step, which is not defined: give 'none', or a larger batch."
            )
        if batch % self.batch_size:
            raise SettingError(
                f"{self.ITERATION} = {batch} is not a multiple of batch_size = {self.batch_size}: "
                "give numbers that divide evenly."
            )

    @property
    def iteration_steps(self) -> int:
        """Steps that each agent collects before a phase of updates."""
        return self.rollout_steps * self.environments

    @property
    def updates(self) -> int:
        """Updates in a phase."""
        return self.epochs * self.iteration_steps // self.batch_size

"""The settings of proximal policy optimisation (PPO), for benchmarks and the command line; needs no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from neoteny.checks import is_number, require, require_choice, require_count, require_fraction, require_nonnegative
from neoteny.errors import SettingError

__all__ = ["PPOSettings"]

Advantages = Literal["batch", "minibatch", "none"]


@dataclass(frozen=True, kw_only=True)
class PPOSettings:
    """The settings of PPO; the defaults are those of the Nature paper's agents.

    Raises:
        SettingError: a setting is outside its range.

    >>> PPOSettings(rollout_steps=1000)
    Traceback (most recent call last):
    ...
    neoteny.errors.SettingError: rollout_steps * environments = 1000 is not a multiple of batch_size = 128: ...
    """

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
    clip_coef: float = 0.2
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
        require_count(self, "rollout_steps", "environments", "epochs", "batch_size", least=1)
        require_fraction(self, "gamma", "gae_lambda")
        require_nonnegative(self, "vf_coef", "ent_coef")
        for name in ("clip_coef", "max_grad_norm"):
            require(self, name, is_number(getattr(self, name)) and getattr(self, name) > 0, "a number > 0")
        require_choice(self, "normalise_advantages", get_args(Advantages))
        of = {"batch": self.batch, "minibatch": self.batch_size}.get(self.normalise_advantages)
        if of == 1:
            raise SettingError(
                f"normalise_advantages = {self.normalise_advantages!r} divides by the standard deviation of a single "
                "step, which is not defined: give 'none', or a larger batch."
            )
        if self.batch % self.batch_size:
            raise SettingError(
                f"rollout_steps * environments = {self.batch} is not a multiple of batch_size = {self.batch_size}: "
                "give numbers that divide evenly."
            )

    @property
    def batch(self) -> int:
        """Steps that each agent collects before a phase of updates."""
        return self.rollout_steps * self.environments

    @property
    def updates(self) -> int:
        """Updates in a phase."""
        return self.epochs * self.batch // self.batch_size

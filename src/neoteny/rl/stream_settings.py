"""The settings of streaming agents, which learn from every step once; needs no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from neoteny.checks import require, require_count, require_fraction, require_nonnegative, require_positive
from neoteny.rl.settings import AgentSettings

__all__ = ["AVGSettings", "StreamACSettings", "StreamQSettings", "StreamSARSASettings", "StreamSettings"]


@dataclass(frozen=True, kw_only=True)
class StreamSettings(AgentSettings):
    """What the settings of every streaming agent hold; the defaults are those of stream-x.

    Raises:
        SettingError: a setting is outside its range.
    """

    ITERATION: ClassVar[str] = "segment"

    environments: int = 1
    """environments of each agent: one, since a trace follows one stream"""
    gamma: float = 0.99
    """the discount"""
    trace_lambda: float = 0.8
    """lambda of the traces, which decay by gamma * lambda a step"""
    max_grad_norm: float = math.inf
    """not used: the optimizer bounds its steps itself"""
    normalise_observations: bool = True
    """whether observations are normalised by their running mean and variance"""
    normalise_rewards: bool = True
    """whether rewards are divided by the running root of `reward_moment`"""
    reward_moment: Literal["zero", "mean"] = "zero"
    """of the discounted sum of rewards: its second moment about zero (the paper) or its variance (the authors' code)"""
    time_input: bool = False
    """whether agents observe how much of an episode has passed, from -1/2 to 1/2"""
    bootstrap_timeouts: bool = False
    """whether the value of the state after a time-out is bootstrapped; else time-outs count as terminations"""
    clip_actions: bool = True
    """whether environments get continuous actions clipped to their range"""
    anneal_step_size: bool = False
    """whether the step size falls linearly to 0 over the run"""
    segment: int = 1_000
    """steps between two moments at which agents can be looked at and saved"""

    def __post_init__(self) -> None:
        """Check the settings."""
        AgentSettings.__post_init__(self)
        require(self, "environments", self.environments == 1, "1: traces add up the gradients of one stream")
        require(self, "max_grad_norm", self.max_grad_norm == math.inf, "inf: a streaming agent clips no gradients")
        require_fraction(self, "gamma", "trace_lambda")
        require_count(self, "segment", least=1)

    @property
    def iteration_steps(self) -> int:
        """Steps of each agent in an iteration."""
        return self.segment


@dataclass(frozen=True, kw_only=True)
class StreamACSettings(StreamSettings):
    """The settings of stream AC(lambda), with the paper's defaults for robots.

    Raises:
        SettingError: a setting is outside its range.

    >>> StreamACSettings(trace_lambda=1.2)
    Traceback (most recent call last):
    ...
    neoteny.errors.SettingError: StreamACSettings: trace_lambda = 1.2 is not a number in [0, 1]; ...
    """

    time_input: bool = True
    """whether agents observe how much of an episode has passed, from -1/2 to 1/2"""
    entropy: float = 0.01
    """weight of the policy's entropy"""
    actor_step_size: float = 1.0
    """step size of the actor's optimizer, where it keeps traces; the critic's is `step_size`"""
    actor_kappa: float = 3.0
    """kappa of the actor's ObGD; the critic's is the optimizer's own"""

    def __post_init__(self) -> None:
        """Check the settings."""
        StreamSettings.__post_init__(self)
        require_nonnegative(self, "entropy", "actor_step_size")
        require_positive(self, "actor_kappa")


@dataclass(frozen=True, kw_only=True)
class AVGSettings(StreamSettings):
    """The settings of action value gradient, with the authors' defaults for Ant, HalfCheetah and Humanoid.

    Raises:
        SettingError: a setting is outside its range.

    >>> AVGSettings().trace_lambda, AVGSettings().bootstrap_timeouts
    (0.0, True)
    """

    trace_lambda: float = 0.0
    """lambda of the traces: there are none"""
    normalise_rewards: bool = False
    """whether rewards are divided by their scale; here errors are"""
    bootstrap_timeouts: bool = True
    """whether the value of the state after a time-out is bootstrapped; else time-outs count as terminations"""
    entropy: float = 0.07
    """eta, the weight of the policy's entropy; 0.3 for Hopper and Walker2d"""
    actor_step_size: float = 0.0063
    """step size of the actor's optimizer; the critic's is `step_size`"""
    returns: Literal["episode", "termination"] = "episode"
    """where a return ends, whose square scales errors: with every episode, or (the authors' code) at terminations"""

    def __post_init__(self) -> None:
        """Check the settings."""
        StreamSettings.__post_init__(self)
        require_nonnegative(self, "entropy", "actor_step_size")


@dataclass(frozen=True, kw_only=True)
class Exploring(StreamSettings):
    """What agents with discrete actions have in common: exploration that fades.

    Raises:
        SettingError: a setting is outside its range.
    """

    first_epsilon: float = 1.0
    """share of random actions at first"""
    last_epsilon: float = 0.01
    """share of random actions in the end"""
    exploration: float = 0.05
    """share of the run in which epsilon falls, linearly: 0.05 in the paper, 0.2 in the authors' code for MinAtar"""

    def __post_init__(self) -> None:
        """Check the settings."""
        StreamSettings.__post_init__(self)
        require_fraction(self, "first_epsilon", "last_epsilon", "exploration")

    def epsilon(self, step: int, total: int) -> float:
        """The share of random actions after `step` of `total` steps.

        >>> StreamQSettings().epsilon(25, 1000), StreamQSettings().epsilon(900, 1000)
        (0.505, 0.01)
        """
        share = min(1.0, step / max(self.exploration * total, 1e-9))
        return self.first_epsilon + (self.last_epsilon - self.first_epsilon) * share


@dataclass(frozen=True, kw_only=True)
class StreamQSettings(Exploring):
    """The settings of stream Q(lambda).

    Raises:
        SettingError: a setting is outside its range.

    >>> StreamQSettings().cut
    'before'
    """

    cut: Literal["before", "after"] = "before"
    """when an action that is not greedy ends the traces: before its update, so that earlier actions are not credited
    with its error (Watkins; the paper), or after it (the authors' code)"""


@dataclass(frozen=True, kw_only=True)
class StreamSARSASettings(Exploring):
    """The settings of stream SARSA(lambda).

    Raises:
        SettingError: a setting is outside its range.

    >>> StreamSARSASettings().first_action
    'own'
    """

    first_action: Literal["own", "carried"] = "own"
    """the first action of an episode: chosen in its first state (the paper), or the one that was chosen in the last
    state of the episode before (the authors' code)"""

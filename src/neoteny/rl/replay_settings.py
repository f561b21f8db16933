"""The settings of agents that learn from replay; needs no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from neoteny.checks import (
    is_finite,
    is_number,
    require,
    require_count,
    require_fraction,
    require_nonnegative,
    require_positive,
)
from neoteny.errors import SettingError
from neoteny.rl.settings import AgentSettings

__all__ = ["BehaviourCloningSettings", "DQNSettings", "IQLSettings", "ReplaySettings", "SACSettings"]


@dataclass(frozen=True, kw_only=True)
class ReplaySettings(AgentSettings):
    """What the settings of every agent that learns from replay hold.

    Raises:
        SettingError: a setting is outside its range, or the buffer is smaller than a batch.
    """

    ITERATION: ClassVar[str] = "segment"

    environments: int = 1
    """environments of each agent"""
    gamma: float = 0.99
    """the discount"""
    n_step: int = 1
    """n: rewards that are summed before the value of a later state is added"""
    capacity: int = 1_000_000
    """transitions that each agent's buffer holds"""
    storage: Literal["float32", "uint8", "bits", "frames"] = "float32"
    """how observations are kept: as they are, as bytes, as bits where they are 0 or 1, or each frame of a stack once"""
    batch_size: int = 256
    """transitions in an update"""
    learning_starts: int = 10_000
    """steps of an agent with random actions, before the first update"""
    replay_ratio: float = 1.0
    """updates for each step of an agent in its environments"""
    priming_steps: int = 0
    """steps after which the agent is primed: updates on the few transitions that it has met by then"""
    priming_updates: int = 0
    """number of these updates; 0: no priming"""
    reward_shift: float = 0.0
    """added to every reward that is learned from; -1 in mazes, so that every step costs"""
    reward_clip: float = math.inf
    """C: rewards that are learned from are clipped to [-C, C], before that; 1 is usual in Atari's games"""
    reset_every: int = 0
    """steps of an agent between two moments at which methods that act at a change of task do so; 0: never"""
    max_grad_norm: float = math.inf
    """the norm of all gradients together is clipped to it; inf: not at all"""
    normalise_observations: bool = False
    """not used: what is in the buffer would be normalised by the statistics of another time"""
    normalise_rewards: bool = False
    """not used, for the same reason"""
    clip_actions: bool = False
    """not used: actions are within their range"""
    anneal_step_size: bool = False
    """whether the step size falls linearly to 0 over the run"""
    segment: int = 1_000
    """steps of an agent between two moments at which it can be looked at, reset and saved"""

    def __post_init__(self) -> None:
        """Check the settings."""
        AgentSettings.__post_init__(self)
        require_count(self, "n_step", "batch_size", "segment", "capacity", least=1)
        require_count(self, "learning_starts", "priming_steps", "priming_updates", "reset_every")
        require_positive(self, "replay_ratio")
        require(self, "reward_shift", is_finite(self.reward_shift), "a finite number")
        require(self, "reward_clip", is_number(self.reward_clip) and self.reward_clip > 0, "a number > 0")
        for name in ("normalise_observations", "normalise_rewards", "clip_actions"):
            require(self, name, not getattr(self, name), "False: agents that learn from replay have no use for it")
        if self.capacity < self.batch_size:
            raise SettingError(
                f"capacity = {self.capacity} is smaller than batch_size = {self.batch_size}: give a buffer that holds "
                "a batch."
            )
        for name in ("capacity", "segment", "reset_every", "priming_steps"):
            each = self.segment if name == "reset_every" else self.environments
            if rest := getattr(self, name) % each:
                what = "segment" if name == "reset_every" else "environments"
                raise SettingError(
                    f"{name} = {getattr(self, name)} is not a multiple of {what} = {each}; give one, such as "
                    f"{getattr(self, name) - rest + each}."
                )
        if self.priming_updates and not self.priming_steps:
            raise SettingError("priming_updates needs transitions to learn from: give priming_steps, such as 100.")

    @property
    def iteration_steps(self) -> int:
        """Steps of each agent in an iteration."""
        return self.segment

    def updates(self, step: int) -> int:
        """Updates that should have been made after `step` steps, without priming.

        >>> DQNSettings(learning_starts=100, replay_ratio=0.25).updates(110)
        2
        """
        return math.floor(max(step - self.learning_starts, 0) * self.replay_ratio + 1e-9)


@dataclass(frozen=True, kw_only=True)
class SACSettings(ReplaySettings):
    """The settings of soft actor-critic; the defaults are those of Nikishin et al. (2022).

    Raises:
        SettingError: a setting is outside its range.

    >>> SACSettings(critics=10, target_critics=11)
    Traceback (most recent call last):
    ...
    neoteny.errors.SettingError: SACSettings: target_critics = 11 is not at most critics = 10; ...
    """

    tau: float = 0.005
    """share of the way that target critics go to the critics at each update"""
    critics: int = 2
    """K: critics that are trained; 10 in REDQ and RLPD"""
    target_critics: int = 2
    """how many of them, drawn anew at each update, give the least value of what follows; 2 in REDQ, 1 in RLPD"""
    actor_value: Literal["min", "mean"] = "min"
    """whose value the actor climbs: the least of the critics', or their mean (REDQ, RLPD)"""
    entropy_in_target: bool = True
    """whether the value of what follows counts the entropy; False in RLPD"""
    initial_temperature: float = 1.0
    """alpha at first"""
    target_entropy: float | None = None
    """what the temperature aims at; None: -A / 2 for A actions"""
    learned_temperature: bool = True
    """whether alpha is learned"""
    actor_every: int = 1
    """updates of the critics for one of the actor and the temperature; 20 in RLPD and REDQ"""
    offline_share: float = 0.5
    """share of a batch that comes from a data set, where there is one"""

    def __post_init__(self) -> None:
        """Check the settings."""
        ReplaySettings.__post_init__(self)
        require(self, "tau", is_number(self.tau) and 0 < self.tau <= 1, "a number in (0, 1]")
        require_count(self, "critics", "target_critics", "actor_every", least=1)
        require(self, "target_critics", self.target_critics <= self.critics, f"at most critics = {self.critics}")
        require_positive(self, "initial_temperature")
        require_fraction(self, "offline_share")
        if self.target_entropy is not None:
            require(self, "target_entropy", is_finite(self.target_entropy), "a finite number")


@dataclass(frozen=True, kw_only=True)
class DQNSettings(ReplaySettings):
    """The settings of DQN; the defaults are those of Young and Tian (2019) for MinAtar.

    Raises:
        SettingError: a setting is outside its range.

    >>> DQNSettings().epsilon(50_000)
    0.55
    """

    capacity: int = 100_000
    """transitions that each agent's buffer holds"""
    batch_size: int = 32
    """transitions in an update"""
    learning_starts: int = 5_000
    """steps of an agent with random actions, before the first update"""
    target_every: int = 1_000
    """updates between two copies into the target network, where `tau` is 1"""
    tau: float = 1.0
    """share of the way that the target network goes to the network; below 1 it goes at each update"""
    double: bool = False
    """whether the network chooses the action whose value the target network gives (double DQN)"""
    huber: bool = True
    """whether errors beyond 1 count linearly"""
    first_epsilon: float = 1.0
    """share of random actions at first"""
    last_epsilon: float = 0.1
    """share of random actions in the end"""
    exploration_steps: int = 100_000
    """steps of an agent over which that falls, linearly"""
    priority: float = 0.0
    """alpha: transitions are drawn in proportion to their error to this power; 0: uniformly, 0.5 or 0.6 are usual"""
    priority_correction: float = field(default=0.4)
    """beta: how far weights of the loss correct for that; it rises to 1 over the run"""

    def __post_init__(self) -> None:
        """Check the settings."""
        ReplaySettings.__post_init__(self)
        require(self, "tau", is_number(self.tau) and 0 < self.tau <= 1, "a number in (0, 1]")
        require_count(self, "target_every", least=1)
        require_count(self, "exploration_steps")
        require_fraction(self, "first_epsilon", "last_epsilon", "priority", "priority_correction")

    def epsilon(self, step: int) -> float:
        """The share of random actions after `step` steps."""
        share = min(1.0, step / max(self.exploration_steps, 1))
        return self.first_epsilon + (self.last_epsilon - self.first_epsilon) * share

    def correction(self, share: float) -> float:
        """How far weights correct for priorities, beta, after a share of the run.

        >>> DQNSettings().correction(0.5)
        0.7
        """
        return self.priority_correction + (1 - self.priority_correction) * share


@dataclass(frozen=True, kw_only=True)
class OfflineSettings(ReplaySettings):
    """What the settings of agents hold that learn from a data set first, and in an environment after that.

    Raises:
        SettingError: a setting is outside its range.
    """

    learning_starts: int = 0
    """steps of an agent in its environments before the first update there"""
    offline_updates: int = 1_000_000
    """updates on the data set before the first step in the environments; they are counted as steps"""

    def __post_init__(self) -> None:
        """Check the settings."""
        ReplaySettings.__post_init__(self)
        require_count(self, "offline_updates")
        if self.offline_updates % self.segment:
            raise SettingError(
                f"offline_updates = {self.offline_updates} is not a multiple of segment = {self.segment}; give one."
            )
        require(self, "priming_updates", self.priming_updates == 0, "0: the data set is what these agents learn first")


@dataclass(frozen=True, kw_only=True)
class IQLSettings(OfflineSettings):
    """The settings of implicit Q-learning; the defaults are those of Kostrikov et al. (2021) for AntMaze.

    Raises:
        SettingError: a setting is outside its range.
    """

    expectile: float = 0.9
    """of the critics' values that the value of a state is"""
    advantage_scale: float = 10.0
    """beta: an action of the data counts exp(beta advantage), at most 100"""
    tau: float = 0.005
    """share of the way that target critics go to the critics at each update"""
    critics: int = 2
    """critics, of which the least counts"""

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        require(self, "expectile", is_number(self.expectile) and 0 < self.expectile < 1, "a number in (0, 1)")
        require(self, "tau", is_number(self.tau) and 0 < self.tau <= 1, "a number in (0, 1]")
        require_nonnegative(self, "advantage_scale")
        require_count(self, "critics", least=1)


@dataclass(frozen=True, kw_only=True)
class BehaviourCloningSettings(OfflineSettings):
    """The settings of behaviour cloning, which learns from the data set alone.

    Raises:
        SettingError: a setting is outside its range.
    """

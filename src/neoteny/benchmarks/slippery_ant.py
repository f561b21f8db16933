"""Robots that learn to walk on ground whose friction changes.

Dohare et al., "Loss of plasticity in deep continual learning", Nature 632, 2024, Fig. 3 and Methods.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from neoteny.benchmarks.locomotion import TINY, PPOLocomotion
from neoteny.checks import is_finite, require, require_positive

__all__ = ["SlipperyAnt", "SlipperyHalfCheetah"]


@dataclass(frozen=True, kw_only=True)
class SlipperyAnt(PPOLocomotion):
    """An ant learns to walk on ground whose friction changes, as between ice and rubber.

    Friction is drawn log-uniformly from [0.02, 2] for each agent separately. After `task_length` steps it changes at
    the end of the current episode. Ant and agents are those of `ant-v1`.

    Known (paper, 100 runs, 20 M steps): standard PPO fails, tuned Adam less severely; L2 and continual backpropagation
    with L2 go on improving.

    Scales: `paper` is 10 stretches of 2 M steps; `small` is 10 of 100,000 with 64 units a layer and a larger step size;
    `tiny` is for tests.

    Versions:
        v1: as published.

    Raises:
        SettingError: a setting is outside its range.

    >>> SlipperyAnt.preset("small").steps
    1001472
    """

    ID: ClassVar[str] = "slippery-ant-v1"
    ROBOT: ClassVar[str] = "Ant-v5"
    SCALES: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "small": {"task_length": 100_000, "hidden": (64, 64), "step_size": 1e-3},
        "tiny": {**TINY, "tasks": 3, "task_length": 300},
    }

    tasks: int = 10
    """stretches between two changes of the friction"""
    task_length: int = 2_000_000
    """steps of a stretch; the friction changes at the end of the current episode"""
    least_friction: float = 0.02
    """the smallest friction that is drawn"""
    greatest_friction: float = 2.0
    """the greatest friction that is drawn"""

    def __post_init__(self) -> None:
        """Check the friction as well."""
        super().__post_init__()
        least, greatest = self.least_friction, self.greatest_friction
        require_positive(self, "least_friction")
        range_ = f"a finite number >= least_friction = {least!r}"
        require(self, "greatest_friction", is_finite(greatest) and greatest >= least, range_)

    def friction(self) -> Any:
        """A new draw for every stretch."""
        from neoteny.envs import LogUniformFriction

        every = math.ceil(self.task_length / self.environments)
        return LogUniformFriction(self.least_friction, self.greatest_friction, every)


@dataclass(frozen=True, kw_only=True)
class SlipperyHalfCheetah(SlipperyAnt):
    """A robot with two legs in a plane learns to run on ground whose friction changes.

    Its physics cost a sixth of the ant's, so a laptop simulates many changes in an hour. It cannot fall, so all
    episodes have the same length.

    Known: not in the paper; the settings are those of `slippery-ant-v1`.

    Scales: `paper` as for the ant; `small` is 20 stretches of 100,000 steps with 64 units a layer and a larger step
    size; `table`, that of the leaderboard, is 10 of them; `tiny` is for tests.

    Versions:
        v1: the first.

    Raises:
        SettingError: a setting is outside its range.

    >>> SlipperyHalfCheetah().network_settings()["sizes"]
    [17, 256, 256, 6]
    """

    ID: ClassVar[str] = "slippery-half-cheetah-v1"
    ROBOT: ClassVar[str] = "HalfCheetah-v5"
    SCALES: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "small": {"tasks": 20, "task_length": 100_000, "hidden": (64, 64), "step_size": 1e-3},
        "table": {"tasks": 10, "task_length": 100_000, "hidden": (64, 64), "step_size": 1e-3},
        "tiny": {**TINY, "tasks": 3, "task_length": 300},
    }

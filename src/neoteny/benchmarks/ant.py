"""An ant, a hopper and a walker that learn to walk on ground that does not change, and go on learning.

Dohare et al., "Loss of plasticity in deep continual learning", Nature 632, 2024, Fig. 4, Extended Data Figs. 5 and 6,
and Methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from neoteny.benchmarks.locomotion import TINY, PPOLocomotion

__all__ = ["AntLocomotion", "HopperLocomotion", "Walker2dLocomotion"]


@dataclass(frozen=True, kw_only=True)
class AntLocomotion(PPOLocomotion):
    """An ant with eight torques learns to walk, and goes on learning long after that.

    It observes 27 values and pays no contact cost: in the Ant-v3 that the authors ran, contact forces were always 0.
    This is Gymnasium's Ant-v5 without them. Ant-v3 also gave the reward for being upright in the step of falling.

    Known (paper, 30 runs, 50 M steps, return an episode; read off the figures): standard PPO reaches about 2,600, then
    0 or less by 17 M steps; tuned Adam about 3,950, then 0 by 40 M; L2 ends at 4,000, continual backpropagation with L2
    at 4,900. Dormant units at the end 58, 57, 5.5 and 4.5 %, srank_99 83 % of the units with continual
    backpropagation, 71 % with L2 and below 27 % without, mean |w| 0.115, 0.104, 0.008 and 0.03.

    Scales: `paper` is 50 M steps; `small` is 2 M steps with 64 units a layer; `tiny` is for tests.

    Versions:
        v1: as published.

    Raises:
        SettingError: a setting is outside its range.

    >>> AntLocomotion.preset("small").network_settings()["sizes"]
    [27, 64, 64, 8]
    """

    ID: ClassVar[str] = "ant-v1"
    ROBOT: ClassVar[str] = "Ant-v5"
    SCALES: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "small": {"task_length": 2_000_000, "hidden": (64, 64), "step_size": 3e-4},
        "tiny": {**TINY, "task_length": 1_024},
    }

    task_length: int = 50_000_000
    """steps of a run"""


@dataclass(frozen=True, kw_only=True)
class HopperLocomotion(AntLocomotion):
    """A robot with one leg and three torques learns to hop, and goes on learning.

    Known (paper, 30 runs): as for the ant, standard PPO falls after a peak, less steeply; continual backpropagation
    with L2 does not. The settings are the ant's.

    Scales: as for the ant.

    Versions:
        v1: as published.

    Raises:
        SettingError: a setting is outside its range.

    >>> HopperLocomotion().network_settings()["sizes"]
    [11, 256, 256, 3]
    """

    ID: ClassVar[str] = "hopper-v1"
    ROBOT: ClassVar[str] = "Hopper-v5"


@dataclass(frozen=True, kw_only=True)
class Walker2dLocomotion(AntLocomotion):
    """A robot with two legs and six torques learns to walk, and goes on learning.

    Known (paper, 30 runs): as for the ant, standard PPO falls after a peak; continual backpropagation with L2 does not.
    The settings are the ant's.

    Scales: as for the ant.

    Versions:
        v1: as published.

    Raises:
        SettingError: a setting is outside its range.

    >>> Walker2dLocomotion().network_settings()["sizes"]
    [17, 256, 256, 6]
    """

    ID: ClassVar[str] = "walker2d-v1"
    ROBOT: ClassVar[str] = "Walker2d-v5"

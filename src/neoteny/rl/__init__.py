"""Reinforcement learning on the laboratory's learner: many agents side by side, with any of the methods.

Names are imported on first use, so that the settings can be read without importing torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from neoteny.lazy import exports

if TYPE_CHECKING:
    from neoteny.rl.environments import OneByOne as OneByOne
    from neoteny.rl.ppo import PPO as PPO
    from neoteny.rl.settings import PPOSettings as PPOSettings

_HOME = {"PPO": "ppo", "PPOSettings": "settings", "OneByOne": "environments"}

__all__ = ["PPO", "OneByOne", "PPOSettings"]

__getattr__, __dir__ = exports(__name__, _HOME)

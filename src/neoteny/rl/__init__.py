"""Reinforcement learning on the laboratory's learner: many agents train side by side, with any method.

Names are imported on first use, so that the settings can be read without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from neoteny.lazy import exports

if TYPE_CHECKING:
    from neoteny.rl.environments import OneByOne as OneByOne
    from neoteny.rl.ppo import PPO as PPO
    from neoteny.rl.settings import PPOSettings as PPOSettings
    from neoteny.rl.watching import Episode as Episode
    from neoteny.rl.watching import load_policy as load_policy
    from neoteny.rl.watching import record as record

_HOME = {
    "PPO": "ppo",
    "PPOSettings": "settings",
    "OneByOne": "environments",
    "Episode": "watching",
    "load_policy": "watching",
    "record": "watching",
}

__all__ = ["PPO", "Episode", "OneByOne", "PPOSettings", "load_policy", "record"]

__getattr__, __dir__ = exports(__name__, _HOME)

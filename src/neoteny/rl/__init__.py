"""Reinforcement learning on the laboratory's learner: many agents train side by side, with any method.

Names are imported on first use, so that the settings can be read without torch.
"""

from __future__ import annotations

from neoteny.lazy import exports

__getattr__, __dir__, __all__ = exports(__name__, __file__)

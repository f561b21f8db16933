"""Names in run folders of earlier versions, and what they are called now.

Files on disk keep the names that they were written with; whoever reads them applies these tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["METRICS", "PPO", "renamed"]

METRICS = {"clip_share": "clip_fraction", "kl": "approx_kl"}
"""Metrics."""
PPO = {
    "discount": "gamma",
    "trace_decay": "gae_lambda",
    "clip": "clip_coef",
    "value_weight": "vf_coef",
    "entropy_weight": "ent_coef",
    "gradient_norm": "max_grad_norm",
}
"""Settings of `neoteny.rl.PPOSettings`."""


def renamed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The complete settings of a benchmark under their present names, in their order.

    >>> renamed({"tasks": 10, "clip": "of another benchmark"})
    {'tasks': 10, 'clip': 'of another benchmark'}
    """
    table = PPO if PPO.keys() <= settings.keys() else {}  # a run folder has all the settings or none
    return {table.get(name, name): value for name, value in settings.items()}

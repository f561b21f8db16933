"""What the name of a metric tells: what kind of number it is, and whether more of it is better."""

from __future__ import annotations

import re

__all__ = [
    "DIAGNOSTICS",
    "EPISODES",
    "EVALUATION",
    "EVENTS",
    "FRESH",
    "OF_ALL_WEIGHTS",
    "OWN",
    "RETURN",
    "direction",
    "in_words",
    "is_beside",
    "is_performance",
    "is_share",
    "layer_order",
]

RETURN = "episodic_return"
"""Of agents: the mean over the training episodes that ended in a bin."""
EVALUATION = "evaluation_return"
"""Of agents: the mean over episodes apart from training, recorded at set steps, before a reset that is due there."""
EPISODES = frozenset({"episode_reward", "episode_length", "episode_unstable"})
"""What is recorded of each episode: an agent with several environments may have several values at a step."""
EVENTS = EPISODES | {"non_finite"}
"""Recorded when they happen, not at set steps: they make no curves."""
DIAGNOSTICS = ("loss", "policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction", "weight_change")
"""How the learning of agents went; further metrics of a whole agent follow them."""
OF_ALL_WEIGHTS = frozenset({"distance_from_init", "hessian_rank"})
"""Measures of a network that are no layer's."""

FRESH, OWN = "fresh_", "task_"
"""Before the name of a metric: that of a network which began anew at a task, and the run's own over the same task."""


def is_beside(metric: str) -> bool:
    """Whether a metric was recorded to compare a run with fresh networks; see `neoteny.lab.fresh`.

    >>> [is_beside(name) for name in ("fresh_loss", "task_test_accuracy", "loss")]
    [True, True, False]
    """
    return metric.startswith((FRESH, OWN)) and is_performance(metric)


def is_performance(metric: str) -> bool:
    """Whether a metric says how well a system did, rather than what its network is like.

    >>> [is_performance(name) for name in ("loss", "test_accuracy", "episodic_return", "dead_units")]
    [True, True, True, False]
    """
    return metric == "loss" or metric.endswith(("_loss", "accuracy", "return"))


def direction(metric: str) -> int:
    """1 where more of a performance metric is better, -1 where less is; 1 for a measure of the network.

    >>> [direction(name) for name in ("loss", "test_accuracy", "episodic_return", "dead_units")]
    [-1, 1, 1, 1]
    """
    return -1 if is_performance(metric) and not metric.endswith(("accuracy", "return")) else 1


def is_share(metric: str) -> bool:
    """Whether a metric is a share, shown in per cent.

    >>> [is_share(name) for name in ("accuracy", "dead_units", "saturated_units", "critic_bounded", "loss")]
    [True, True, True, True, False]
    """
    ends = metric.endswith(("accuracy", "_share", "_fraction", "bounded"))
    return ends or metric.startswith(("dead_units", "dormant_", "saturated_units"))


WORDS = {
    "srank_99": "stable rank (99%)",
    "approx_rank_99": "approximate rank (99%)",
    "stable_rank": "stable rank (Frobenius)",
    "approx_kl": "KL divergence",
    "td_error": "TD error",
    "weight_magnitude": "mean |weight|",
    "bounded": "shortened steps",
}
"""Names that do not read well with spaces for underscores alone."""


def in_words(metric: str) -> str:
    """A metric's name as people say it.

    >>> [in_words(name) for name in ("test_accuracy", "srank_99", "step_size_90")]
    ['test accuracy', 'stable rank (99%)', 'step size, 90th percentile']
    """
    if found := re.fullmatch(r"(.+)_(\d\d)", metric):
        return WORDS.get(metric) or f"{found[1].replace('_', ' ')}, {found[2]}th percentile"
    return WORDS.get(metric, metric.replace("_", " "))


def layer_order(name: str) -> list[str | int]:
    """Sort key under which "layer10" comes after "layer2".

    >>> sorted(["layer10", "layer2", ""], key=layer_order)
    ['', 'layer2', 'layer10']
    """
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"(\d+)", name))]

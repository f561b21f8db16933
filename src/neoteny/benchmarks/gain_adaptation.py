"""Gain adaptation: how near rules of linear cost come to a Kalman filter on a target that walks (Sutton 1992).

Sutton, "Gain adaptation beats least squares?", Proceedings of the Seventh Yale Workshop on Adaptive and Learning
Systems, 1992.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from neoteny.benchmarks.linear_tracking import LinearTrackingBenchmark
from neoteny.checks import require_nonnegative
from neoteny.lab.benchmark import System
from neoteny.optim.base import Optimizer
from neoteny.optim.k1 import K1
from neoteny.streams.linear_tracking import Motion  # the command line reads annotations

__all__ = ["GainAdaptation"]


@dataclass(frozen=True, kw_only=True)
class GainAdaptation(LinearTrackingBenchmark):
    """Five of twenty weights make a random walk with increments of variance 1; the noise in the target has variance 1.

    Squared error of each example before it is learned from; 20,000 examples to settle, then the root of the mean of
    10,000.

    Known (root mean squared error): the Kalman filter that knows which weights walk 4.83, K1 5.5, IDBD 6.6, NLMS 10.3,
    LMS 11.1.

    Scales: `paper` is 30,000 examples; `small` 10,000; `tiny` is for tests.

    Versions:
        v1: as published.

    Raises:
        SettingError: a setting is outside its range.

    >>> GainAdaptation.preset("paper").build_stream([0]).motion
    'walk'

    Source: Sutton, Yale Workshop on Adaptive and Learning Systems, 1992.
    """

    ID: ClassVar[str] = "gain-adaptation-v1"
    MOTION: ClassVar[Motion] = "walk"
    SCALES: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "small": {"tasks": 10, "bin_size": 5_000, "measure_every": 5_000},
        "tiny": {"tasks": 4, "task_length": 100, "bin_size": 80, "measure_every": 160, "probe_size": 50},
    }
    SYSTEMS: ClassVar[Mapping[str, System]] = {
        "k1": System("K1 at its best meta step size"),
        "k2": System("K2 at its best meta step size", overrides={"optimizer": "k2", "optimizer.mu": 0.003}),
        "idbd": System(
            "IDBD at its best meta step size",
            overrides={"optimizer": "idbd", "step_size": 0.05, "optimizer.theta": 6e-4},
        ),
        "autostep": System("Autostep", overrides={"optimizer": "autostep", "optimizer.mu": 0.03}),
        "nlms": System("the best share of the error", overrides={"optimizer": "nlms", "step_size": 1.0}),
        "backprop": System(
            "least mean squares: one step size for all, the best",
            overrides={"optimizer": "trace-sgd", "step_size": 0.04},
        ),
    }

    period: int = 1
    """examples between two changes of the target's weights"""
    drift: float = 1.0
    """standard deviation of a weight's increment"""
    noise: float = 1.0
    """standard deviation of the noise in the target"""
    optimizer: Optimizer = K1(step_size=1.0, mu=0.001)
    """computes the update from the prediction's error"""

    def __post_init__(self) -> None:
        """Check the settings."""
        require_nonnegative(self, "drift", "noise")
        super().__post_init__()

    def motion_settings(self) -> dict[str, Any]:
        """How far the weights walk."""
        return {"drift": self.drift}

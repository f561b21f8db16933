"""IDBD's tracking problem: a learner that learns which inputs matter follows twice as closely (Sutton 1992).

Sutton, "Adapting bias by gradient descent: an incremental version of delta-bar-delta", AAAI 1992, Experiments 1 and 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from neoteny.benchmarks.linear_tracking import LinearTrackingBenchmark
from neoteny.lab.benchmark import System
from neoteny.optim.base import Optimizer
from neoteny.optim.idbd import IDBD
from neoteny.streams.linear_tracking import Motion  # the command line reads annotations

__all__ = ["IDBDTracking"]


@dataclass(frozen=True, kw_only=True)
class IDBDTracking(LinearTrackingBenchmark):
    """Five of twenty inputs matter, with weights of +-1 of which one changes its sign every 20 examples.

    Squared error of each example before it is learned from; 20,000 examples to settle, then the mean of 10,000.

    Known (read off the paper's figures): LMS at its best step size about 3.5, IDBD about 1.5 for a broad range of
    theta. With theta = 0.001 and 250,000 examples the step sizes of the five inputs come to 0.13 +- 0.015, all others
    to less than 0.007.

    Scales: `paper` is 30,000 examples; `long`, for Experiment 2 with the system `slow`, 250,000; `small` 10,000; `tiny`
    is for tests.

    Versions:
        v1: as published.

    Raises:
        SettingError: a setting is outside its range.

    >>> IDBDTracking.preset("paper").steps
    30000

    Source: Sutton, AAAI 1992.
    """

    ID: ClassVar[str] = "idbd-tracking-v1"
    MOTION: ClassVar[Motion] = "flip"
    SCALES: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "long": {"tasks": 250},
        "small": {"tasks": 10, "bin_size": 5_000, "measure_every": 5_000},
        "tiny": {"tasks": 4, "task_length": 100, "bin_size": 80, "measure_every": 160, "probe_size": 50},
    }
    SYSTEMS: ClassVar[Mapping[str, System]] = {
        "idbd": System("IDBD at its best meta step size"),
        "backprop": System(
            "least mean squares: one step size for all, the best",
            overrides={"optimizer": "trace-sgd", "step_size": 0.035},
        ),
        "nlms": System("the best share of the error", overrides={"optimizer": "nlms", "step_size": 0.7}),
        "autostep": System("Autostep as published, untuned", overrides={"optimizer": "autostep"}),
        "smd": System("SMD", overrides={"optimizer": "smd", "step_size": 0.05, "optimizer.mu": 0.01}),
        "slow": System("IDBD with a small meta step size: Experiment 2", overrides={"optimizer.theta": 0.001}),
    }

    optimizer: Optimizer = IDBD(step_size=0.05, theta=0.01)
    """computes the update from the prediction's error"""

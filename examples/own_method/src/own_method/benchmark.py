"""A benchmark of your own: a small network follows a sum whose terms change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import neoteny
from neoteny.checks import require, require_count
from neoteny.lab.benchmark import OnlineBenchmark, System
from neoteny.optim import SGD, Optimizer
from own_method.method import Mine

if TYPE_CHECKING:
    from torch import nn

    from neoteny.streams import Stream


@neoteny.register(summary="a small network follows a sum whose terms change", source="an example")
@dataclass(frozen=True, kw_only=True)
class OwnBenchmark(OnlineBenchmark):
    """The target is the sum of three inputs, which change in every task.

    Versions:
        v1: the first. If the numbers change, it becomes v2.
    """

    ID: ClassVar[str] = "own-benchmark-v1"
    LOSS: ClassVar[Literal["mse", "cross_entropy"]] = "mse"
    MEASURES: ClassVar[tuple[str, ...]] = ("dead_units", "weight_magnitude", "own_method.measure:spread")
    SCALES: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "small": {"tasks": 20},
        "tiny": {"tasks": 3, "task_length": 40, "bin_size": 20, "measure_every": 40, "probe_size": 16},
    }
    SYSTEMS: ClassVar[Mapping[str, System]] = {
        "backprop": System("stochastic gradient descent alone"),
        "signed": System("steps of the same size", overrides={"optimizer": "signed", "step_size": 1e-3}),
        "mine": System("biases that decay", methods=(Mine(rate=0.01),)),
    }

    tasks: int = 100
    """number of tasks (choices of the terms)"""
    task_length: int = 1_000
    """examples between two changes"""
    bin_size: int = 500
    """examples over which a recorded error is averaged"""
    measure_every: int = 1_000
    """examples between two measurements of units and weights"""
    optimizer: Optimizer = SGD(step_size=0.01)
    """the optimizer and its settings"""
    inputs: int = 10
    """size of an input"""
    hidden: int = 16
    """units of each of the two hidden layers"""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count(self, "hidden", least=1)
        require(self, "inputs", self.inputs >= 3, "a whole number >= 3")

    def network_settings(self) -> dict[str, Any]:
        return {"kind": "two-ways", "sizes": [self.inputs, self.hidden, 1]}

    def build_network(self) -> nn.Module:
        from own_method.network import TwoWays

        return TwoWays(self.inputs, self.hidden)

    def build_stream(self, seeds: Sequence[int], data_dir: str | Path | None = None) -> Stream:
        from own_method.stream import ChangingSum

        return ChangingSum(seeds, self.task_length, self.inputs)

"""Online regression on real series, whose labels become known later: delays of flights, demand of electricity.

The series are those of the US Bureau of Transportation Statistics, 2001, and of the Australian Energy Market Operator,
2012. Features, delays of labels and scales are choices made here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from neoteny.benchmarks.networks import HiddenLayers
from neoteny.checks import require, require_count
from neoteny.errors import SettingError
from neoteny.lab.benchmark import OnlineBenchmark, System
from neoteny.methods.continual_backprop import ContinualBackprop
from neoteny.optim import SGD, Optimizer

if TYPE_CHECKING:
    from torch import nn

    from neoteny.lab.objective import Objective
    from neoteny.streams.feature_stream import FeatureStream

__all__ = ["ElectricityBenchmark", "FlightsBenchmark"]

_CBP = ContinualBackprop(replacement_rate=1e-4, maturity_threshold=100)
_RULES = {
    "adam": ("Adam", {"optimizer": "adam", "step_size": 1e-4}),
    "idbd": ("a step size for each weight", {"optimizer": "idbd", "step_size": 1e-3, "optimizer.theta": 1e-3}),
    "autostep": ("the same, normalised and bounded", {"optimizer": "autostep", "step_size": 1e-3}),
    "meta-optimize": ("AdamW whose step size is adapted", {"optimizer": "meta-optimize", "step_size": 1e-4}),
    "obgd": ("steps that are bounded", {"optimizer": "obgd", "step_size": 1.0}),
}
_SYSTEMS = {
    "backprop": System("stochastic gradient descent alone"),
    "linear": System("a linear prediction", overrides={"depth": 0}),
    "cbp": System("continual backpropagation", (_CBP,)),
    **{name: System(what, overrides=settings) for name, (what, settings) in _RULES.items()},
    **{
        f"{name}-cbp": System(f"{what}, with continual backpropagation", (_CBP,), settings)
        for name, (what, settings) in _RULES.items()
    },
}


@dataclass(frozen=True, kw_only=True)
class _RealStream(HiddenLayers, OnlineBenchmark):
    """What both problems share.

    Raises:
        SettingError: a setting is outside its range.
    """

    LOSS: ClassVar[Literal["mse", "cross_entropy"]] = "mse"
    MEASURES: ClassVar[tuple[str, ...]] = ("dead_units", "dormant_units", "effective_rank", "weight_magnitude")
    SYSTEMS: ClassVar[Mapping[str, System]] = _SYSTEMS

    optimizer: Optimizer = SGD(step_size=0.001)
    """computes the update from the gradient"""
    delay: int = 0
    """examples until a label is known"""
    first: int = 0
    """examples at the beginning that are left out; settings can be chosen on others than are reported"""
    width: int = 64
    """hidden units of each layer"""
    depth: int = 2
    """hidden layers; 0: the prediction is linear"""

    def __post_init__(self) -> None:
        """Check the settings; what depends on the data is checked with it."""
        super().__post_init__()
        require_count(self, "delay", "first")
        require_count(self, "width", least=1)
        require_count(self, "depth")
        require(self, "batch_size", self.batch_size == 1, "1: every example is predicted, then learned from, once")
        self.require_hidden_layers(("none", "layer"))

    def network_settings(self) -> dict[str, Any]:
        """Kind, sizes, activation and variations."""
        sizes = [self.features, *[self.width] * self.depth, 1]
        return {"kind": "mlp" if self.depth else "linear", "sizes": sizes, **self.hidden_layers()}

    def build_network(self) -> nn.Module:
        """A multi-layer perceptron, Kaiming uniform, or the linear network."""
        from neoteny.nn import MLP, LinearNetwork

        if self.depth:
            return MLP(self.features, [self.width] * self.depth, 1, **self.hidden_arguments())
        return LinearNetwork(self.features, 1)

    def build_objective(self) -> Objective | None:
        """The squared error of labels that come later."""
        from neoteny.lab.losses import LOSSES
        from neoteny.lab.temporal import delayed

        return delayed(LOSSES["mse"], self.optimizer) if self.delay else None

    @property
    @abstractmethod
    def features(self) -> int:
        """Inputs of the network."""

    def _lasting(self, stream: FeatureStream) -> FeatureStream:
        """The stream, if the series has as many steps as the run."""
        if self.steps > stream.most:
            raise SettingError(
                f"{self.tasks} tasks of {self.task_length} are {self.steps} steps; the series has {stream.most} with a "
                f"delay of {self.delay}: take fewer tasks."
            )
        return stream


@dataclass(frozen=True, kw_only=True)
class FlightsBenchmark(_RealStream):
    """How late will a flight arrive? Three million US flights in time order, each predicted before it departs.

    Features are the time of day and week, the distance, the airports, and how late flights have been of late; see
    `neoteny.streams.flights.FlightDelays`. A flight's delay becomes known 2,000 flights later, about three hours. The
    target is the delay in half hours, cut off at -1 and 3 hours; the loss is its squared error.

    Known (computed here): predicting the mean so far has a loss of 0.932 over all flights, the recent known mean of
    the origin 0.919; on the first 300,000 flights the variance is 0.947, and the best linear prediction in hindsight
    leaves 0.802.

    Scales: `paper` is 180 days of 16,575 flights, 2,983,500; `small` 3 days; `tiny` is for tests.

    Versions:
        v1: as described.

    Raises:
        SettingError: a setting is outside its range.

    >>> FlightsBenchmark().steps, FlightsBenchmark().network_settings()["sizes"]
    (2983500, [137, 64, 64, 1])
    """

    ID: ClassVar[str] = "flights-v1"
    SCALES: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "small": {"tasks": 3, "measure_every": 16_575},
        "tiny": {
            **{"tasks": 3, "task_length": 100, "bin_size": 50, "measure_every": 150, "probe_size": 50},
            **{"delay": 20, "airports": 3, "width": 8},
        },
    }

    tasks: int = 180
    """days"""
    task_length: int = 16_575
    """flights of a day"""
    bin_size: int = 16_575
    """flights over which a recorded error is averaged"""
    measure_every: int = 82_875
    """flights between two measurements of units and weights"""
    delay: int = 2_000
    """flights until the delay of one is known"""
    airports: int = 60
    """airports that have features of their own; the others share one"""

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        require_count(self, "airports")

    @property
    def features(self) -> int:
        """Inputs of the network."""
        return 15 + 2 * (self.airports + 1)

    def build_stream(self, seeds: Sequence[int], data_dir: str | Path | None = None) -> FeatureStream:
        """The flights, the same for every run; reads them, or fetches them once."""
        from neoteny import data
        from neoteny.streams.flights import FlightDelays

        found = data.flights(data_dir)
        return self._lasting(FlightDelays(found, seeds, self.delay, self.task_length, self.airports, self.first))


@dataclass(frozen=True, kw_only=True)
class ElectricityBenchmark(_RealStream):
    """How much electricity will be needed in 24 hours? The hourly demand of Victoria, 20 weeks, predicted once.

    Features are the time of day and week, the demand of the last 24 hours and that of a week before; see
    `neoteny.streams.electricity.ElectricityDemand`. The loss is the squared error in variances of the demand so far.

    Known (computed here, over the 3,384 hours): the demand 24 hours before as the prediction has a loss of 0.360, that
    of one week before 0.379, and the best linear prediction in hindsight leaves 0.174; the variance is 0.902.

    Scales: `paper` is 20 weeks; `small` 10; `tiny` is for tests.

    Versions:
        v1: as described.

    Raises:
        SettingError: a setting is outside its range.

    >>> ElectricityBenchmark().steps, ElectricityBenchmark().network_settings()["sizes"]
    (3360, [38, 64, 64, 1])
    """

    ID: ClassVar[str] = "electricity-v1"
    SCALES: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "small": {"tasks": 10},
        "tiny": {"tasks": 3, "task_length": 100, "bin_size": 50, "measure_every": 150, "probe_size": 50, "width": 8},
    }

    tasks: int = 20
    """weeks"""
    task_length: int = 168
    """hours of a week"""
    bin_size: int = 168
    """hours over which a recorded error is averaged"""
    measure_every: int = 840
    """hours between two measurements of units and weights"""
    probe_size: int = 168
    """hours of the week that the measures are taken on"""
    optimizer: Optimizer = SGD(step_size=0.01)
    """computes the update from the gradient"""
    delay: int = 24
    """hours ahead that are predicted, and until the demand is known"""

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        require(self, "delay", 1 <= self.delay < 168, "1 to 167 hours")

    @property
    def features(self) -> int:
        """Inputs of the network."""
        from neoteny.streams.electricity import ElectricityDemand

        return ElectricityDemand.inputs

    def build_stream(self, seeds: Sequence[int], data_dir: str | Path | None = None) -> FeatureStream:
        """The demand, the same for every run."""
        from neoteny import data
        from neoteny.streams.electricity import ElectricityDemand

        demand = data.electricity(data_dir)
        return self._lasting(ElectricityDemand(demand, seeds, self.delay, self.task_length, self.first))

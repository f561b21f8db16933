"""What a benchmark is: a frozen record of settings that knows its stream, its network and the systems of its paper.

A benchmark is one file with one subclass of `OnlineBenchmark` or `EpochBenchmark`, entered in
`neoteny.registry.BENCHMARKS`, or registered by `@neoteny.register`. Like everything that the command line lists, its
module does not import torch: `build_stream` and `build_network` import what they need.

    @dataclass(frozen=True, kw_only=True)
    class SlowlyChangingRegressionBenchmark(OnlineBenchmark):
        ID = "slowly-changing-regression-v1"
        LOSS = "mse"
        MEASURES = ("dead_units", "weight_magnitude")
        SCALES = {"paper": {}, "small": {"tasks": 20}, "tiny": {"tasks": 2, "task_length": 100, ...}}
        SYSTEMS = {
            "backprop": System("plain SGD"),
            "linear": System("a linear network", overrides={"activation": "linear"}),
            "cbp": System("continual backpropagation", methods=(ContinualBackprop(replacement_rate=1e-4),)),
        }

        tasks: int = 100
        optimizer: Optimizer = SGD(step_size=0.01)
        activation: str = "relu"

The fields' defaults are the paper's settings, so the scale `paper` is empty; the others say what they make smaller. A
system is what a curve of the figure stands for: some methods, and settings that differ. The laboratory runs whatever
keeps to this protocol; which class trains it follows from its kind (`neoteny.registry.TRAINERS`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from neoteny.checks import require, require_choice, require_count, require_positive
from neoteny.errors import UnknownNameError
from neoteny.lab.overriding import override
from neoteny.methods.base import Method  # not for typing alone: the command line looks the class's annotations up
from neoteny.optim.base import Optimizer
from neoteny.optim.sgd import SGD

if TYPE_CHECKING:
    from torch import nn

    from neoteny.streams.base import Stream
    from neoteny.streams.timeline import Timeline

__all__ = ["Benchmark", "EpochBenchmark", "OnlineBenchmark", "StreamBenchmark", "System"]


@dataclass(frozen=True)
class System:
    """One curve of a figure: a way of learning on a benchmark.

    Args:
        summary: one line, for `neoteny list` and the legend.
        methods: the methods that act, as the paper set them, in the order in which they act.
        overrides: settings of the benchmark that this system has otherwise (`{"activation": "linear"}`,
            `{"optimizer": "adam", "step_size": 1e-3, "optimizer.betas": (0.9, 0.99)}`).
        scaled: what the system is at other scales, where the paper's strengths are for its lengths and sizes.
    """

    summary: str
    methods: tuple[Method, ...] = ()
    overrides: Mapping[str, Any] = field(default_factory=dict)
    scaled: Mapping[str, System] = field(default_factory=dict)

    def at(self, scale: str) -> System:
        """The system at a scale."""
        return self.scaled.get(scale, self)


@dataclass(frozen=True, kw_only=True)
class Benchmark(ABC):
    """A protocol: problem, network, optimizer, schedule and measures, as settings.

    Lengths are counted in steps, that is optimizer updates; `step` in the metrics counts examples, which is the same
    where a step learns from one example. (Of agents both count steps in the environment.) How a run is divided is for
    `OnlineBenchmark`, `EpochBenchmark` and `Locomotion` to say.

    Raises:
        SettingError: a setting is outside its range.
    """

    ID: ClassVar[str]
    """The id with its version, as in the registry."""
    KIND: ClassVar[Literal["examples", "agents"]]
    """What its runs learn from, which says what trains them; see `neoteny.registry.TRAINERS`."""
    MEASURES: ClassVar[tuple[str, ...]] = ()
    """Names of `neoteny.measures` taken on the probe now and then, or functions of one's own as `module:function` (see
    `neoteny.lab.measuring.measure`)."""
    SCALES: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {}, "small": {}, "tiny": {}}
    """For each scale (`paper`, `small`, `tiny`) the settings that differ from the fields' defaults."""
    SYSTEMS: ClassVar[Mapping[str, System]] = {"backprop": System("the optimizer alone")}
    """The systems of the paper, by name."""
    PROTOCOL: ClassVar[tuple[Method, ...]] = ()
    """Methods that belong to the problem and act in every system, before the system's own."""
    CHAIN: ClassVar[bool] = False
    """Whether hidden units are those of the authors' chain (see `neoteny.units.find`)."""

    tasks: int
    """number of tasks (stretches between two changes of the problem)"""
    probe_size: int = 1_000
    """examples in the fixed probe set that the measures are taken on"""
    batch_size: int = 1
    """examples a step"""
    optimizer: Optimizer = SGD(step_size=0.01)
    """what makes a step of a gradient"""

    def __post_init__(self) -> None:
        """Refuse what no benchmark can be run with."""
        require_count(self, "tasks", "probe_size", "batch_size", least=1)
        require(self, "optimizer", isinstance(self.optimizer, Optimizer), "a neoteny.optim.Optimizer")
        require_positive(self, "step_size")

    @property
    def step_size(self) -> float:
        """The optimizer's step size (learning rate)."""
        return self.optimizer.step_size

    @classmethod
    def preset(cls, scale: str = "paper", **overrides: Any) -> Self:
        """The benchmark at one of its scales, with single settings replaced.

        Raises:
            UnknownNameError: there is no such scale.
            SettingError: a setting is outside its range.
        """
        if scale not in cls.SCALES:
            raise UnknownNameError(scale, cls.SCALES, f"scale of {cls.ID}")
        plain: Any = cls  # whose fields all have defaults
        return override(plain(), {**cls.SCALES[scale], **overrides}, cls.ID)

    @property
    def steps(self) -> int:
        """Length of a run in steps."""
        return self.timeline().steps

    @abstractmethod
    def timeline(self) -> Timeline:
        """When tasks and bins end, and when the network is looked at and tested."""

    def settings(self) -> dict[str, Any]:
        """Every field, and `steps`, as a plain dict; of the optimizer its name and step size."""
        found: dict[str, Any] = {}
        for one in fields(self):
            if one.name == "optimizer":
                found |= {"optimizer": self.optimizer.name, "step_size": self.step_size}
            else:
                found[one.name] = getattr(self, one.name)
        return {**found, "steps": self.steps}

    def optimizer_settings(self) -> dict[str, Any]:
        """The optimizer: its name, and all its settings."""
        return {"name": self.optimizer.name, **self.optimizer.settings()}

    @abstractmethod
    def network_settings(self) -> dict[str, Any]:
        """What `build_network` builds, as a plain dict: kind, widths, activation."""

    @abstractmethod
    def build_network(self) -> nn.Module:
        """A fresh network on the CPU, drawn from torch's global generator, which the caller seeds a run."""


@dataclass(frozen=True, kw_only=True)
class StreamBenchmark(Benchmark):
    """A protocol of examples: a stream hands them out, a loss says how well they were predicted.

    Raises:
        SettingError: a setting is outside its range.
    """

    KIND: ClassVar[Literal["examples", "agents"]] = "examples"
    LOSS: ClassVar[Literal["mse", "cross_entropy"]]
    """`mse`: outputs and targets are float [B, d]. `cross_entropy`: outputs are logits [B, classes], targets int64 [B];
    then `accuracy` is recorded beside `loss`."""

    def classes_seen(self, task: int) -> int | None:
        """How many of the outputs take part in a task, the first ones; None: all of them."""
        return None

    @abstractmethod
    def build_stream(self, seeds: Sequence[int], data_dir: str | Path | None = None) -> Stream:
        """The problem for a stack of runs, one independent stream a run seed.

        Args:
            seeds: one run seed a run.
            data_dir: where data sets lie; None for the usual places.

        Raises:
            DataError: the data is missing, or not what its checksum says.
        """


@dataclass(frozen=True, kw_only=True)
class OnlineBenchmark(StreamBenchmark):
    """A protocol that judges learners online: every example is predicted, then learned from, once.

    Raises:
        SettingError: a setting is outside its range.
    """

    task_length: int
    """steps between two changes"""
    bin_size: int
    """steps that one recorded value of loss and accuracy is the mean of"""
    measure_every: int
    """steps between two looks at the units and weights"""

    def __post_init__(self) -> None:
        """Check the lengths."""
        super().__post_init__()
        require_count(self, "task_length", "bin_size", "measure_every", least=1)
        require(self, "bin_size", self.bin_size <= self.steps, f"at most the run's {self.steps} steps")

    @property
    def steps(self) -> int:
        """Length of a run in steps."""
        return self.tasks * self.task_length

    def timeline(self) -> Timeline:
        """Tasks, bins and looks, each of its own length."""
        import numpy as np

        from neoteny.streams.timeline import Timeline, every

        return Timeline(
            tasks=every(self.task_length, self.steps),
            bins=every(self.bin_size, self.steps),
            looks=np.insert(every(self.measure_every, self.steps), 0, 0),
        )


@dataclass(frozen=True, kw_only=True)
class EpochBenchmark(StreamBenchmark):
    """A protocol of data sets: a task is learned from in many epochs, then tested on images that were kept back.

    Raises:
        SettingError: a setting is outside its range.
    """

    epochs: int
    """passes over the images of a task"""
    images_per_class: int
    """images of a class to learn from"""
    test_images_per_class: int = 100
    """images of a class to test with"""
    precision: Literal["float32", "bfloat16"] = "float32"
    """of products and convolutions, forwards and backwards; weights and their updates stay in float32"""

    def __post_init__(self) -> None:
        """Check the lengths."""
        super().__post_init__()
        require_count(self, "epochs", "images_per_class", "test_images_per_class", least=1)
        require_choice(self, "precision", ("float32", "bfloat16"))

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

The defaults of the fields are the paper's settings, so the scale `paper` is empty; the other scales list what they make
smaller. A system is one curve of the paper's figure: some methods, and the settings that differ. The laboratory runs
every class that follows this protocol. Its kind decides which class trains it (`neoteny.registry.TRAINERS`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from neoteny.checks import require, require_count, require_positive
from neoteny.errors import SettingError, UnknownNameError
from neoteny.kinds import Settings
from neoteny.lab.overriding import override
from neoteny.methods.base import Method  # needed at run time: the command line reads the class's annotations
from neoteny.optim.base import Optimizer
from neoteny.optim.sgd import SGD

if TYPE_CHECKING:
    from torch import nn

    from neoteny.lab.objective import Objective
    from neoteny.streams.base import Stream
    from neoteny.streams.timeline import Timeline

__all__ = ["Benchmark", "EpochBenchmark", "OnlineBenchmark", "StreamBenchmark", "System"]


@dataclass(frozen=True)
class System:
    """One curve of a figure: a way of learning on a benchmark.

    Args:
        summary: one line, for `neoteny list` and the legend.
        methods: the methods that act, as the paper set them, in the order in which they act.
        overrides: settings of the benchmark that differ in this system (`{"activation": "linear"}`,
            `{"optimizer": "adam", "step_size": 1e-3, "optimizer.betas": (0.9, 0.99)}`).
        scaled: the system at other scales, where values that suit the paper's lengths and sizes do not fit.
    """

    summary: str
    methods: tuple[Method, ...] = ()
    overrides: Mapping[str, Any] = field(default_factory=dict)
    scaled: Mapping[str, System] = field(default_factory=dict)

    def at(self, scale: str) -> System:
        """The system at a scale."""
        return self.scaled.get(scale, self)


@dataclass(frozen=True, kw_only=True)
class Benchmark(Settings, ABC):
    """A protocol: problem, network, optimizer, schedule and measures, as settings.

    Lengths are counted in steps, that is optimizer updates. `step` in the metrics counts examples, which is the same if
    a step learns from one example. (For agents both count steps in the environment.) `OnlineBenchmark`,
    `EpochBenchmark` and `Locomotion` say how a run is divided.

    Raises:
        SettingError: a setting is outside its range.
    """

    ID: ClassVar[str]
    """The id with its version, as in the registry."""
    KIND: ClassVar[Literal["examples", "agents"]]
    """What its runs learn from; it decides which class trains them (`neoteny.registry.TRAINERS`)."""
    MEASURES: ClassVar[tuple[str, ...]] = ()
    """Measures taken on the probe set: names of `neoteny.measures`, or your own functions as `module:function` (see
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
    """number of tasks (periods between two changes of the problem)"""
    probe_size: int = 1_000
    """examples in the fixed probe set that the measures are taken on"""
    batch_size: int = 1
    """examples in a step"""
    optimizer: Optimizer = SGD(step_size=0.01)
    """computes the update from the gradient"""
    fresh_tasks: int = 0
    """tasks at which a network that begins anew learns beside each run, evenly spread; 0: none"""

    def __post_init__(self) -> None:
        """Refuse settings that no benchmark can run with."""
        require_count(self, "tasks", "probe_size", "batch_size", least=1)
        require(self, "optimizer", isinstance(self.optimizer, Optimizer), "a neoteny.optim.Optimizer")
        require_positive(self, "step_size")
        require_count(self, "fresh_tasks")
        if self.fresh_tasks and (reason := self.without_fresh()):
            raise SettingError(f"{self.ID}: fresh_tasks = {self.fresh_tasks} cannot be: {reason} Leave it at 0.")
        require(self, "fresh_tasks", self.fresh_tasks <= self.tasks, f"at most the {self.tasks} tasks of the run")

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
        plain: Any = cls  # its fields all have defaults
        return override(plain(), {**cls.SCALES[scale], **overrides}, cls.ID)

    @property
    def steps(self) -> int:
        """Length of a run in steps."""
        return self.timeline().steps

    @property
    def total(self) -> int:
        """Length of a run as the metrics count it: in steps of an agent, or in examples."""
        return self.steps

    @abstractmethod
    def timeline(self) -> Timeline:
        """When tasks and bins end, and when the network is measured and tested."""

    def without_fresh(self) -> str:
        """Why no network that begins anew can learn a task beside the run (`fresh_tasks`); empty where one can."""
        return "agents learn from what they do themselves, so a new one cannot learn from the same examples."

    def settings(self) -> dict[str, Any]:
        """Every field and `steps` as a plain dict; for the optimizer its name and step size.

        `fresh_tasks` is there only where there are some: without, a run is that of versions which had no such setting.
        """
        found: dict[str, Any] = {}
        for one in fields(self):
            if one.name == "optimizer":
                found |= {"optimizer": self.optimizer.name, "step_size": self.step_size}
            elif one.name != "fresh_tasks" or self.fresh_tasks:
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
        """A fresh network on the CPU, drawn from torch's global generator; the caller seeds it for each run."""


@dataclass(frozen=True, kw_only=True)
class StreamBenchmark(Benchmark):
    """A protocol with examples: a stream provides them, a loss says how well they were predicted.

    Raises:
        SettingError: a setting is outside its range.
    """

    KIND: ClassVar[Literal["examples", "agents"]] = "examples"
    LOSS: ClassVar[Literal["mse", "cross_entropy"]]
    """`mse`: outputs and targets are float [B, d]. `cross_entropy`: outputs are logits [B, classes], targets int64 [B];
    then `accuracy` is recorded beside `loss`."""

    VARIES: ClassVar[tuple[str, ...]] = ()
    """Settings of the problem that may differ between the runs of a stack: `build_stream` takes a value for each run of
    them, by name, if a grid varies them. Nothing else may depend on them: not the timeline, nor the network."""

    @property
    def total(self) -> int:
        """Length of a run in examples."""
        return self.steps * self.batch_size

    @property
    def goal(self) -> float | None:
        """Accuracy in a bin at which a run stops learning a task; None: it learns to the task's end."""
        return None

    def implied(self) -> tuple[Method, ...]:
        """Methods that follow from the settings and act in every system, first: the clipping of gradients, say."""
        return ()

    def acting(self, methods: Sequence[Method], varied: Sequence[str] = ()) -> tuple[Method, ...]:
        """What acts in a system: what the settings imply, then the system's methods.

        Args:
            methods: of the system.
            varied: which of `VARIES` differ between the runs.
        """
        return (*self.implied(), *methods)

    def classes_seen(self, task: int) -> int | None:
        """How many outputs take part in a task (the first ones); None means all."""
        return None

    def build_objective(self) -> Objective | None:
        """What is learned from the stream's batches, where it is not `LOSS` with the optimizer."""
        return None

    def without_fresh(self) -> str:
        """Why no network that begins anew can learn a task beside the run (`fresh_tasks`); empty where one can."""
        if type(self).build_objective is not StreamBenchmark.build_objective:
            return "what is predicted here comes later, and a stretch of the stream is no task of its own."
        if self.goal is not None:
            return "a run is done with a task at its own moment, and a new network with the same task at another."
        if self.classes_seen(0) is not None:
            return "a task goes on with the classes of those before it."
        return ""

    @abstractmethod
    def build_stream(self, seeds: Sequence[int], data_dir: str | Path | None = None) -> Stream:
        """The problem for a stack of runs: one independent stream for each run seed.

        Args:
            seeds: the run seed of each run.
            data_dir: where the data sets are; None for the usual places.

        Raises:
            DataError: the data is missing, or does not match its checksum.
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
    """steps over which one recorded value of loss and accuracy is the mean"""
    measure_every: int
    """steps between two measurements of the units and weights"""

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
        """Tasks, bins and measurements, each with its own length."""
        import numpy as np

        from neoteny.streams.timeline import Timeline, every

        return Timeline(
            tasks=every(self.task_length, self.steps),
            bins=every(self.bin_size, self.steps),
            looks=np.insert(every(self.measure_every, self.steps), 0, 0),
        )


@dataclass(frozen=True, kw_only=True)
class EpochBenchmark(StreamBenchmark):
    """A protocol with data sets: a task is learned in many epochs, then tested on held-out images.

    Raises:
        SettingError: a setting is outside its range.
    """

    epochs: int
    """passes over the images of a task"""
    images_per_class: int
    """training images of each class"""
    test_images_per_class: int = 100
    """test images of each class"""
    precision: Literal["float32", "bfloat16"] = "float32"
    """precision of products and convolutions, forward and backward; weights and updates stay in float32"""

    def __post_init__(self) -> None:
        """Check the lengths."""
        super().__post_init__()
        require_count(self, "epochs", "images_per_class", "test_images_per_class", least=1)

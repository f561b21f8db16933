"""What a benchmark is: a frozen record of settings that knows its stream, its network and the systems of its paper.

A benchmark is one file with one subclass of `OnlineBenchmark` or `EpochBenchmark`, entered in
`neoteny.registry.BENCHMARKS`. Like everything that the command line lists, its module does not import torch:
`build_stream` and `build_network` import what they need.

    @dataclass(frozen=True, kw_only=True)
    class SlowlyChangingRegression(OnlineBenchmark):
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
        activation: str = "relu"

The fields' defaults are the paper's settings, so the scale `paper` is empty; the others say what they make smaller. A
system is what a curve of the figure stands for: some methods, and settings that differ. Lower rooms, the laboratory
first of all, never import this room: they reach a benchmark by name through `neoteny.registry`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from neoteny.checks import is_number, require, require_choice, require_count, require_nonnegative, require_positive
from neoteny.errors import UnknownNameError
from neoteny.methods.base import Method  # not for typing alone: the command line looks the class's annotations up

if TYPE_CHECKING:
    from torch import nn

    from neoteny.lab.training import Training
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
            `{"optimizer": "adam", "step_size": 1e-3}`).
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
    MEASURES: ClassVar[tuple[str, ...]] = ()
    """Names of `neoteny.measures` taken on the probe now and then."""
    SCALES: ClassVar[Mapping[str, Mapping[str, Any]]]
    """For each scale (`paper`, `small`, `tiny`) the settings that differ from the fields' defaults."""
    SYSTEMS: ClassVar[Mapping[str, System]]
    """The systems of the paper, by name."""
    VARIES: ClassVar[tuple[str, ...]] = ("step_size",)
    """Settings that may differ between the runs of one stack."""
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
    optimizer: Literal["sgd", "adam", "adamw", "muon"] = "sgd"
    """what makes a step of a gradient"""
    step_size: float = 0.01
    """the optimizer's step size (learning rate)"""
    momentum: float = 0.0
    """momentum of sgd and muon (which is usually given 0.95)"""
    betas: tuple[float, float] = (0.9, 0.999)
    """decay rates of the two averages of adam and adamw, and of the adam within muon"""
    epsilon: float = 1e-8
    """what adam, adamw and the adam within muon add to the denominator"""

    def __post_init__(self) -> None:
        """Refuse what no benchmark can be run with."""
        require_count(self, "tasks", "probe_size", "batch_size", least=1)
        require_choice(self, "optimizer", ("sgd", "adam", "adamw", "muon"))
        require_positive(self, "step_size")
        require(self, "momentum", is_number(self.momentum) and 0 <= self.momentum < 1, "a number in [0, 1)")
        betas = self.betas
        pair = isinstance(betas, tuple) and len(betas) == 2 and all(is_number(b) and 0 <= b < 1 for b in betas)
        require(self, "betas", pair, "two numbers in [0, 1)")
        require_nonnegative(self, "epsilon")

    @classmethod
    def preset(cls, scale: str = "paper", **overrides: Any) -> Self:
        """The benchmark at one of its scales, with single settings replaced.

        Raises:
            UnknownNameError: there is no such scale.
            SettingError: a setting is outside its range.
        """
        if scale not in cls.SCALES:
            raise UnknownNameError(scale, cls.SCALES, f"scale of {cls.ID}")
        return cls(**{**cls.SCALES[scale], **overrides})

    @property
    def steps(self) -> int:
        """Length of a run in steps."""
        return self.timeline().steps

    @abstractmethod
    def timeline(self) -> Timeline:
        """When tasks and bins end, and when the network is looked at and tested."""

    def settings(self) -> dict[str, Any]:
        """Every field, and `steps`, as a plain dict."""
        return {**asdict(self), "steps": self.steps}

    def optimizer_settings(self) -> dict[str, Any]:
        """The optimizer: its name, and those settings that it has."""
        own = {"sgd": ("momentum",), "muon": ("momentum", "betas", "epsilon")}.get(self.optimizer, ("betas", "epsilon"))
        return {"name": self.optimizer, "step_size": self.step_size, **{name: getattr(self, name) for name in own}}

    @abstractmethod
    def network_settings(self) -> dict[str, Any]:
        """What `build_network` builds, as a plain dict: kind, widths, activation."""

    @abstractmethod
    def build_network(self) -> nn.Module:
        """A fresh network on the CPU, drawn from torch's global generator, which the caller seeds a run."""

    @abstractmethod
    def training(self) -> Callable[..., Training]:
        """The class that trains a stack of runs of these settings; see `neoteny.lab.training`."""


@dataclass(frozen=True, kw_only=True)
class StreamBenchmark(Benchmark):
    """A protocol of examples: a stream hands them out, a loss says how well they were predicted.

    Raises:
        SettingError: a setting is outside its range.
    """

    LOSS: ClassVar[Literal["mse", "cross_entropy"]]
    """`mse`: outputs and targets are float [B, d]. `cross_entropy`: outputs are logits [B, classes], targets int64 [B];
    then `accuracy` is recorded beside `loss`."""

    def classes_seen(self, task: int) -> int | None:
        """How many of the outputs take part in a task, the first ones; None: all of them."""
        return None

    def training(self) -> Callable[..., Training]:
        """What learns from a stream."""
        from neoteny.lab.supervised import Supervised

        return Supervised

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

"""The base of benchmarks whose tasks are the same images, changed in some way and learned in several epochs.

As in Lyle et al., "Understanding plasticity in neural networks", ICML 2023, a learner is judged by how well it still
fits what it is trained on. Dohare et al., Nature 632, 2024, judge it by examples that it has not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from neoteny.benchmarks.networks import ImagePerceptron
from neoteny.checks import require, require_count
from neoteny.lab.benchmark import StreamBenchmark, System
from neoteny.methods.continual_backprop import ContinualBackprop
from neoteny.methods.full_reset import FullReset
from neoteny.methods.head_reset import HeadReset
from neoteny.methods.l2 import L2
from neoteny.methods.redo import ReDo
from neoteny.methods.regenerative import L2Init
from neoteny.methods.shrink_and_perturb import ShrinkAndPerturb

if TYPE_CHECKING:
    from torch import nn

    from neoteny.streams.base import Stream
    from neoteny.streams.timeline import Timeline

__all__ = ["ImageEpochsBenchmark", "systems"]


def systems(
    *,
    pull: float,
    period: tuple[int, int],
    adam: tuple[float, float],
    tuned_adam: tuple[float, float],
    muon: tuple[float, float] = (0.02, 0.05),
) -> dict[str, System]:
    """The systems of such a benchmark, with strengths for the paper's scale and for `table` and `fast`.

    Args:
        pull: strength of L2 towards the initial weights.
        period: updates between two resets by ReDo, at the paper's scale and at the short ones.
        adam: step sizes of Adam, likewise.
        tuned_adam: step sizes of tuned Adam, likewise.
        muon: step sizes of Muon, likewise.
    """

    def both(summary: str, make: Callable[[Any], dict[str, Any]], values: tuple[Any, Any]) -> System:
        paper, short = (System(summary, **make(value)) for value in values)
        return replace(paper, scaled={"table": short, "fast": short})

    def optimizer(settings: Mapping[str, Any]) -> Callable[[float], dict[str, Any]]:
        return lambda step_size: {"overrides": {**settings, "step_size": step_size}}

    return {
        "backprop": System("stochastic gradient descent alone"),
        "linear": System("a linear network", overrides={"depth": 0}),
        "l2": System("L2 regularisation in the gradient", (L2(strength=1e-3),)),
        "l2-init": System("L2 towards the initial weights", (L2Init(strength=pull),)),
        "shrink-and-perturb": System(
            "L2 and noise on every weight, at every step", (ShrinkAndPerturb(weight_decay=1e-3, sigma=1e-4),)
        ),
        "redo": both("resets of dormant units", lambda period: {"methods": (ReDo(tau=0.1, period=period),)}, period),
        "head-reset": System("reset of the output layer at each task", (HeadReset(),)),
        "full-reset": System("reset of the whole network at each task", (FullReset(),)),
        "cbp": both(
            "continual backpropagation",
            lambda rate: {"methods": (ContinualBackprop(replacement_rate=rate),)},
            (1e-4, 1e-3),
        ),
        "adam": both("Adam alone", optimizer({"optimizer": "adam"}), adam),
        "tuned-adam": both(
            "Adam with averages of equal length",
            optimizer({"optimizer": "adam", "optimizer.betas": (0.99, 0.99)}),
            tuned_adam,
        ),
        "muon": both("Muon alone", optimizer({"optimizer": "muon"}), muon),
    }


@dataclass(frozen=True, kw_only=True)
class ImageEpochsBenchmark(ImagePerceptron, StreamBenchmark):
    """Some images of MNIST, changed in every task, learned in several epochs, and used for the score as well.

    A bin is an epoch. So the metrics have the loss and accuracy of a task's last epoch (`step` in `last_epochs`), which
    show how far the network can still be trained. Their mean over all epochs also shows how fast.

    Raises:
        SettingError: a setting is outside its range.
    """

    CHANGE: ClassVar[Literal["pixels", "labels"]]
    """What a new task changes."""
    LOSS: ClassVar[Literal["mse", "cross_entropy"]] = "cross_entropy"
    MEASURES: ClassVar[tuple[str, ...]] = (
        "dead_units",
        "dormant_units",
        "srank_99",
        "effective_rank",
        "stable_rank",
        "weight_magnitude",
        "distance_from_init",
        "hessian_rank",
    )

    epochs: int
    """passes over the images in each task"""
    images: int
    """images in a run's own subset, the same in every task"""
    measure_every: int = 1
    """tasks between two measurements of units and weights, each at the end of a task"""
    initialisation: Literal["kaiming_uniform", "default"] = "kaiming_uniform"
    """how weights are drawn: Kaiming uniform with biases 0, or both as torch draws them by default"""

    def __post_init__(self) -> None:
        """Check the settings of the problem and the network."""
        super().__post_init__()
        require_count(self, "epochs", "images", "measure_every", least=1)
        self.require_perceptron()
        self.require_several(self.batch_size)
        require(self, "images", self.images <= 60_000, "at most 60,000, as many as MNIST has")
        whole = self.images % self.batch_size == 0
        require(self, "batch_size", whole, f"a divisor of the {self.images} images of an epoch")

    @property
    def epoch_steps(self) -> int:
        """Steps of an epoch."""
        return self.images // self.batch_size

    @property
    def task_length(self) -> int:
        """Steps of a task."""
        return self.epochs * self.epoch_steps

    @property
    def last_epochs(self) -> list[int]:
        """The `step` of the metrics, counted in examples, at which the tasks' last epochs are recorded."""
        return [int(end) * self.batch_size for end in self.timeline().tasks]

    def timeline(self) -> Timeline:
        """A bin is an epoch. Measurements come before the first step and after every `measure_every` tasks."""
        import numpy as np

        from neoteny.streams.timeline import Timeline, every

        steps = self.tasks * self.task_length
        return Timeline(
            tasks=every(self.task_length, steps),
            bins=every(self.epoch_steps, steps),
            looks=np.insert(every(self.measure_every * self.task_length, steps), 0, 0),
        )

    def network_settings(self) -> dict[str, Any]:
        """Kind, sizes, initialisation, activation and variations."""
        return {**super().network_settings(), "initialisation": self.initialisation}

    def build_network(self) -> nn.Module:
        """784-width-...-10."""
        return self.build_perceptron(initialisation=self.initialisation)

    def build_stream(self, seeds: Sequence[int], data_dir: str | Path | None = None) -> Stream:
        """One subset of the images a run; reads MNIST, or fetches it once."""
        from neoteny import data
        from neoteny.streams.image_epochs import ImageEpochs
        from neoteny.streams.images import shrink_flat

        images, labels = data.mnist(data_dir)
        return ImageEpochs(
            shrink_flat(images, self.side), labels, seeds, self.CHANGE, self.epochs, self.images, self.batch_size
        )

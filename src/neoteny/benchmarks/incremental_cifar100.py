"""Class-incremental CIFAR-100: a ResNet-18 learns five classes, then ten, then fifteen, up to a hundred.

Dohare et al., "Loss of plasticity in deep continual learning", Nature 632, 2024, Fig. 2 and Methods; CIFAR-100:
Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from neoteny.checks import require, require_count
from neoteny.lab.benchmark import EpochBenchmark, System
from neoteny.methods.continual_backprop import ContinualBackprop
from neoteny.methods.full_reset import FullReset
from neoteny.methods.head_reset import HeadReset
from neoteny.methods.l2 import L2
from neoteny.methods.shrink_and_perturb import ShrinkAndPerturb
from neoteny.optim import SGD, Optimizer

if TYPE_CHECKING:
    from torch import nn

    from neoteny.streams.base import Stream
    from neoteny.streams.timeline import Timeline

__all__ = ["IncrementalCIFAR100"]

_DECAY = L2(strength=5e-4, norms=True)
_SMALL = {
    "tasks": 6,
    "epochs": 20,
    "images_per_class": 45,
    "validation_images_per_class": 10,
    "test_images_per_class": 50,
    "batch_size": 45,
    "width": 8,
    "side": 16,
    "augment": False,
    "step_size": 1.0,
    "probe_size": 225,
}


@dataclass(frozen=True, kw_only=True)
class IncrementalCIFAR100(EpochBenchmark):
    """A ResNet-18 learns five classes of CIFAR-100; every 200 epochs five more are added, up to 100.

    Of each class 450 images are for training, 50 for validation, 100 for testing. Batches of 90; only the logits of the
    classes seen so far are used. SGD with step size 0.1, momentum 0.9 and weight decay 5e-4 (the system `no-l2` has no
    weight decay); within an increment the step size is multiplied by 0.2 at epochs 60, 120 and 160. Images are flipped,
    cropped after padding by 4 and rotated by up to 15 degrees. At the end of an increment the weights with its best
    validation accuracy are restored and tested. Before an increment dormant units and ranks are measured on images of
    the classes that it adds. Hidden units are the outputs of all 17 convolutions of the network's main path, those on
    the residual stream included.

    Known (paper, 30 runs, end, per cent; read off the figures): base 71.1, head reset 73.7, shrink and perturb 74.5,
    continual backpropagation 76.15, retrained 76.05; dormant units 55.5, 41, 7.6 and 1.4; srank_99 75, 89.6, 89.4 and
    92.7 (base, head reset, shrink and perturb, continual backpropagation). At first the base system profits from what
    it learned before; after about 40 classes it falls behind the retrained one.

    Scales: `paper` is 20 increments of 200 epochs; `small` has 6 increments of 20 epochs on images shrunk to 16x16, an
    eighth of the width, 45 training images a class, batches of 45, no augmentation, and ten times the step size, with
    which units soon become dormant; `table`, that of the leaderboard, is the same with the paper's step size; `tiny` is
    for tests.

    Versions:
        v1: as published. The weight decay covers norms and biases, as torch's does.

    Raises:
        SettingError: a setting is outside its range.

    >>> IncrementalCIFAR100().steps, IncrementalCIFAR100().classes_seen(19)
    (1050000, 100)
    """

    ID: ClassVar[str] = "incremental-cifar100-v1"
    LOSS: ClassVar[Literal["mse", "cross_entropy"]] = "cross_entropy"
    MEASURES: ClassVar[tuple[str, ...]] = ("dormant_units", "srank_99", "weight_magnitude")
    CHAIN = True
    SCALES: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "small": _SMALL,
        "table": {**_SMALL, "step_size": 0.1},
        "tiny": {
            "tasks": 3,
            "classes_per_increment": 2,
            "epochs": 2,
            "images_per_class": 10,
            "validation_images_per_class": 5,
            "test_images_per_class": 5,
            "batch_size": 10,
            "width": 2,
            "side": 8,
            "probe_size": 20,
        },
    }
    SYSTEMS: ClassVar[Mapping[str, System]] = {
        "backprop": System("the base system: the network goes on learning", (_DECAY,)),
        "head-reset": System("reset of the output layer at each increment", (_DECAY, HeadReset())),
        "shrink-and-perturb": System(
            "noise on every weight, at every step",
            (ShrinkAndPerturb(weight_decay=5e-4, sigma=1e-5, norms=True),),
            scaled={
                "small": System(
                    "noise on every weight, at every step",
                    (ShrinkAndPerturb(weight_decay=5e-4, sigma=1e-4, norms=True),),
                )
            },
        ),
        "cbp": System(
            "continual backpropagation",
            (_DECAY, ContinualBackprop(replacement_rate=1e-5, maturity_threshold=1_000)),
            scaled={"small": System("continual backpropagation", (_DECAY, ContinualBackprop(replacement_rate=1e-3)))},
        ),
        "retrained": System("a new network for each increment: the reference", (_DECAY, FullReset())),
        "no-l2": System("the base system without weight decay"),
    }

    tasks: int = 20
    """number of increments"""
    classes_per_increment: int = 5
    """classes that each increment adds"""
    epochs: int = 200
    """passes over the images in each increment"""
    images_per_class: int = 450
    """images of a class to learn from"""
    validation_images_per_class: int = 50
    """images of a class to choose the best weights with"""
    early_stopping: bool = True
    """at the end of an increment go back to the weights with its best validation accuracy"""
    probe_size: int = 1_000
    """images of the coming classes that the measures are taken on"""
    batch_size: int = 90
    """images a step"""
    optimizer: Optimizer = SGD(step_size=0.1, momentum=0.9)
    """the optimizer and its settings; the step size is that at the beginning of an increment"""
    drops: tuple[float, ...] = (0.3, 0.6, 0.8)
    """after which shares of an increment's epochs the step size is multiplied by `drop_factor`"""
    drop_factor: float = 0.2
    """what the step size is multiplied by"""
    width: int = 64
    """feature maps of the network's first stage; the last has eight times as many"""
    side: int = 32
    """pixels of a side; images are shrunk to fewer than 32"""
    augment: bool = True
    """flip, crop and rotate the images at random"""

    def __post_init__(self) -> None:
        """Check the settings of the problem and the network."""
        super().__post_init__()
        require_count(self, "classes_per_increment", "validation_images_per_class", "width", least=1)
        most = self.tasks * self.classes_per_increment <= 100
        require(self, "tasks", most, f"few enough for {self.classes_per_increment} classes each: there are 100")
        whole = self.classes_per_increment * self.images_per_class % self.batch_size == 0
        brings = self.classes_per_increment * self.images_per_class
        require(self, "batch_size", whole, f"a divisor of the {brings} images that an increment adds")
        drops = isinstance(self.drops, tuple) and all(0 < drop < 1 for drop in self.drops)
        require(self, "drops", drops, "shares between 0 and 1")
        factor = isinstance(self.drop_factor, (int, float)) and 0 < self.drop_factor <= 1
        require(self, "drop_factor", factor, "a number in (0, 1]")
        require(self, "side", self.side in (8, 16, 32), "8, 16 or 32")

    @property
    def epoch_steps(self) -> list[int]:
        """Steps of an epoch in each increment."""
        first = self.classes_per_increment * self.images_per_class // self.batch_size
        return [first * (task + 1) for task in range(self.tasks)]

    @property
    def task_length(self) -> list[int]:
        """Steps of each increment."""
        return [steps * self.epochs for steps in self.epoch_steps]

    def timeline(self) -> Timeline:
        """A bin is an epoch, validated at its end. An increment is measured before it begins, tested at its end."""
        import numpy as np

        from neoteny.streams.timeline import Timeline

        tasks = np.cumsum(self.task_length)
        starts = [0, *tasks[:-1].tolist()]
        epochs = np.cumsum(np.repeat(self.epoch_steps, self.epochs))
        rates: dict[int, float] = {}
        for start, steps in zip(starts, self.epoch_steps, strict=True):
            for place, share in enumerate((0.0, *sorted(self.drops))):
                rates[start + round(share * self.epochs) * steps] = self.drop_factor**place
        return Timeline(
            tasks=tasks,
            bins=epochs,
            looks=np.array(starts),
            tests=tasks,
            validations=epochs if self.early_stopping else np.empty(0, np.int64),
            rates=rates,
        )

    def without_fresh(self) -> str:
        """An increment has the classes of those before it, too."""
        return "the system `retrained` has a new network for each increment: run it beside the others."

    def classes_seen(self, task: int) -> int:
        """The number of classes up to and including an increment."""
        return self.classes_per_increment * (task + 1)

    def network_settings(self) -> dict[str, Any]:
        """Kind, width and number of outputs."""
        return {"kind": "resnet18", "width": self.width, "outputs": self.tasks * self.classes_per_increment}

    def build_network(self) -> nn.Module:
        """The authors' ResNet-18 for small images, Kaiming normal."""
        from neoteny.nn import ResNet18

        return ResNet18(self.tasks * self.classes_per_increment, self.width)

    def build_stream(self, seeds: Sequence[int], data_dir: str | Path | None = None) -> Stream:
        """One order of the classes a run; reads CIFAR-100, or fetches it once."""
        from neoteny import data
        from neoteny.streams.augment import Augmentation
        from neoteny.streams.class_increments import ClassIncrements

        return ClassIncrements(
            *data.cifar100(data_dir),
            *data.cifar100(data_dir, train=False),
            seeds,
            increments=self.tasks,
            classes=self.classes_per_increment,
            epochs=self.epochs,
            batch_size=self.batch_size,
            train=self.images_per_class,
            validation=self.validation_images_per_class,
            test=self.test_images_per_class,
            side=self.side,
            augmentation=Augmentation() if self.augment else None,
            source="CIFAR-100",
        )

"""Continual ImageNet: thousands of binary tasks, each with two classes of ImageNet to tell apart.

Dohare et al., "Loss of plasticity in deep continual learning", Nature 632, 2024, Fig. 1 and Methods; images of 32x32:
Chrabaszcz, Loshchilov & Hutter, arXiv 1707.08819.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from neoteny.benchmarks.networks import HiddenLayers
from neoteny.checks import require, require_choice, require_count
from neoteny.lab.benchmark import EpochBenchmark, System
from neoteny.methods.continual_backprop import ContinualBackprop
from neoteny.methods.head_reset import HeadReset
from neoteny.methods.l2 import L2
from neoteny.methods.redo import ReDo
from neoteny.methods.regenerative import L2Init
from neoteny.methods.shrink_and_perturb import ShrinkAndPerturb
from neoteny.optim import SGD, Optimizer

if TYPE_CHECKING:
    from torch import nn

    from neoteny.streams.base import Stream
    from neoteny.streams.timeline import Timeline

__all__ = ["ContinualImageNet"]

_SMALL = {
    "tasks": 100,
    "epochs": 15,
    "images_per_class": 100,
    "batch_size": 20,
    "width": 0.25,
    "pixels": "imagenet",
    "step_size": 0.02,
    "measure_every": 10,
    "probe_size": 200,
}


def _cbp(rate: float) -> ContinualBackprop:
    """With the authors' settings for this problem."""
    return ContinualBackprop(
        replacement_rate=rate, maturity_threshold=100, utility="adaptable_contribution", replacement="accumulate"
    )


@dataclass(frozen=True, kw_only=True)
class ContinualImageNet(HiddenLayers, EpochBenchmark):
    """In each task the network learns to tell two classes apart, from 600 images of each, in 250 epochs.

    Three convolutions and three linear layers, SGD with momentum 0.9, batches of 100, cross-entropy. At each change of
    task the output layer is set to zero, in every system. The score is the accuracy on 100 other images of each class
    at the end of a task. Each run has its own order of the classes, and draws a new one when all have been used.

    Known (paper, 30 runs, bins of 50 tasks, per cent; read off the figures): first task about 89; backprop with
    step size 0.01 84.3 in the first bin and about 74 after 2,000 tasks, where 0.001 has 78.7, 0.0001 78.4 and a linear
    network 77.1. After 5,000 tasks: continual backpropagation 90.4 (from 84.4), L2 89.2, shrink and perturb 89.2.

    If a class has fewer images than asked for, a task goes through them more often, with the same number of updates.
    The run's provenance says so, and which images were used.

    Scales: `paper` is 2,000 tasks of 250 epochs (the paper's comparison of methods has 5,000: `--tasks 5000`); `small`
    has short tasks and a larger step size, with which plasticity is lost soonest: a quarter of the width, 100 images a
    class, batches of 20, 15 epochs, standardised pixels; `table`, that of the leaderboard, is the same; `tiny` is for
    tests.

    Versions:
        v1: as published; pixels are bytes, as the authors' code feeds them to the network.

    Raises:
        SettingError: a setting is outside its range.

    >>> ContinualImageNet().task_length, ContinualImageNet.preset("small").task_length
    (3000, 150)
    """

    ID: ClassVar[str] = "continual-imagenet-v1"
    LOSS: ClassVar[Literal["mse", "cross_entropy"]] = "cross_entropy"
    MEASURES: ClassVar[tuple[str, ...]] = ("dead_units", "dormant_units", "srank_99", "weight_magnitude")
    PROTOCOL = (HeadReset(to="zero", keep_momentum=True),)
    SCALES: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "small": _SMALL,
        "table": _SMALL,
        "tiny": {
            "tasks": 3,
            "epochs": 2,
            "images_per_class": 20,
            "test_images_per_class": 10,
            "batch_size": 10,
            "width": 0.1,
            "pixels": "imagenet",
            "measure_every": 1,
            "probe_size": 20,
        },
    }
    SYSTEMS: ClassVar[Mapping[str, System]] = {
        "backprop": System("stochastic gradient descent alone"),
        "linear": System("a linear network: it cannot lose plasticity", overrides={"network": "linear"}),
        "l2": System(
            "L2 regularisation in the gradient",
            (L2(strength=3e-6),),
            {"step_size": 0.03},
            scaled={"small": System("L2 regularisation in the gradient", (L2(strength=1e-3),))},
        ),
        "l2-init": System("L2 towards the initial weights", (L2Init(strength=1e-4),)),
        "shrink-and-perturb": System(
            "L2 and noise on every weight, at every step",
            (ShrinkAndPerturb(weight_decay=1e-5, sigma=1e-5),),
            scaled={
                "small": System(
                    "L2 and noise on every weight, at every step", (ShrinkAndPerturb(weight_decay=1e-3, sigma=3e-4),)
                )
            },
        ),
        "redo": System("resets of dormant units", (ReDo(tau=0.025, period=1_000),)),
        "cbp": System(
            "continual backpropagation",
            (_cbp(3e-4),),
            scaled={"small": System("continual backpropagation", (_cbp(1e-3),))},
        ),
        "adam": System("Adam alone", overrides={"optimizer": "adam", "step_size": 1e-3}),
    }

    tasks: int = 2_000
    """number of tasks (pairs of classes)"""
    epochs: int = 250
    """passes over the images of a task"""
    images_per_class: int = 600
    """images of a class to learn from"""
    test_every: int = 1
    """tasks between two tests, each at the end of a task"""
    measure_every: int = 50
    """tasks between two measurements of units and weights"""
    probe_size: int = 1_000
    """images of the coming task that the measures are taken on"""
    batch_size: int = 100
    """images a step"""
    optimizer: Optimizer = SGD(step_size=0.01, momentum=0.9)
    """the optimizer and its settings"""
    network: Literal["convolutional", "linear"] = "convolutional"
    """the paper's network, or one that is linear in the pixels"""
    width: float = 1.0
    """each layer's share of the paper's feature maps or hidden units"""
    pixels: Literal["bytes", "unit", "imagenet"] = "bytes"
    """values from 0 to 255, from 0 to 1, or standardised by ImageNet's means and deviations"""
    class_order: Literal["fresh", "repeated"] = "fresh"
    """after all classes have been used: a new order, or the same one again, as in the authors' code"""

    def __post_init__(self) -> None:
        """Check the settings of the problem and the network."""
        super().__post_init__()
        require_count(self, "test_every", "measure_every", least=1)
        whole = 2 * self.images_per_class % self.batch_size == 0
        require(self, "batch_size", whole, f"a divisor of a task's {2 * self.images_per_class} images")
        require(self, "width", isinstance(self.width, (int, float)) and 0 < self.width <= 100, "a number in (0, 100]")
        self.require_hidden_layers()
        self.require_several(self.batch_size)
        for name, known in (
            ("network", ("convolutional", "linear")),
            ("pixels", ("bytes", "unit", "imagenet")),
            ("class_order", ("fresh", "repeated")),
        ):
            require_choice(self, name, known)

    @property
    def task_length(self) -> int:
        """Steps a task."""
        return self.epochs * 2 * self.images_per_class // self.batch_size

    def timeline(self) -> Timeline:
        """A bin is a task. Tests come at the ends of tasks, measurements before every `measure_every` tasks."""
        import numpy as np

        from neoteny.streams.timeline import Timeline, every

        steps = self.tasks * self.task_length
        return Timeline(
            tasks=every(self.task_length, steps),
            bins=every(self.task_length, steps),
            looks=np.insert(every(self.task_length * self.measure_every, steps), 0, 0),
            tests=every(self.task_length * self.test_every, steps),
        )

    def network_settings(self) -> dict[str, Any]:
        """Kind, width, activation and variations."""
        if self.network == "linear":
            return {"kind": "linear", "sizes": [3 * 32 * 32, 2]}
        return {"kind": "continual-imagenet", "width": self.width, **self.hidden_layers()}

    def build_network(self) -> nn.Module:
        """The network with its output layer at zero, as at the beginning of every task."""
        import torch

        from neoteny.nn import ContinualImageNetNet, LinearNetwork

        if self.network == "linear":
            network: nn.Module = LinearNetwork(3 * 32 * 32, 2)
        else:
            network = ContinualImageNetNet(width=self.width, **self.hidden_arguments())
        head = [parameter for name, parameter in network.named_parameters()][-2:]
        with torch.no_grad():
            for parameter in head:
                parameter.zero_()
        return network

    def build_stream(self, seeds: Sequence[int], data_dir: str | Path | None = None) -> Stream:
        """One order of the classes a run; reads ImageNet at 32x32 from `data_dir`."""
        from neoteny import data
        from neoteny.streams.class_pairs import ClassPairs

        found = data.imagenet32(data_dir)
        return ClassPairs(
            found.images,
            seeds,
            self.task_length,
            self.batch_size,
            train=self.images_per_class,
            test=self.test_images_per_class,
            pixels=self.pixels,
            order=self.class_order,
            source=found.source,
        )

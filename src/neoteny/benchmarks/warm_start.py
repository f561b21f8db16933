"""Warm starting: a network that has first learned half of the images is worse on the test than one that starts afresh.

Ash & Adams, "On warm-starting neural network training", NeurIPS 2020, arXiv 1910.08475.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from neoteny.benchmarks.staged import Data, StagedBenchmark
from neoteny.checks import require, require_count
from neoteny.lab.benchmark import System
from neoteny.methods.full_reset import FullReset
from neoteny.methods.head_reset import HeadReset
from neoteny.methods.shrink_and_perturb import ShrinkAndPerturb
from neoteny.optim import SGD, Optimizer

if TYPE_CHECKING:
    from neoteny.streams.stages import StagedImages
    from neoteny.streams.timeline import Timeline

__all__ = ["WarmStart"]

_ADAM = {"optimizer": "adam", "step_size": 1e-3}


def _systems() -> dict[str, System]:
    """Each system with SGD, and with Adam."""
    found = {}
    for suffix, words, more in (("", "", {}), ("-adam", ", with Adam", _ADAM)):
        found |= {
            f"backprop{suffix}": System(f"the warm-started network goes on learning{words}", (), more),
            f"fresh{suffix}": System(f"a new network on all images: the reference{words}", (), {"tasks": 1, **more}),
            f"shrink-and-perturb{suffix}": System(
                f"weights shrunk to 0.4 with 0.1 of fresh ones, at each stage{words}",
                (ShrinkAndPerturb(when="at_task", shrink=0.4, perturb=0.1, statistics=True),),
                more,
            ),
            f"new-statistics{suffix}": System(
                f"running statistics of norms begin anew, as in the authors' warm start{words}",
                (ShrinkAndPerturb(when="at_task", shrink=1.0, perturb=0.0, statistics=True),),
                more,
            ),
            f"head-reset{suffix}": System(f"reset of the output layer at each stage{words}", (HeadReset(),), more),
            f"full-reset{suffix}": System(f"reset of the whole network at each stage{words}", (FullReset(),), more),
        }
    return found


@dataclass(frozen=True, kw_only=True)
class WarmStart(StagedBenchmark):
    """A network learns half of the images, then all of them, each until it fits 99 % of them; the score is the test.

    Of the training images of a data set each run fits a random two thirds and is tested on the rest. Batches of 128, a
    new optimizer for each stage, no augmentation, no weight decay. A stage ends when the accuracy of an epoch, as it is
    trained, reaches 99 % (`bins_to_goal`), or after `epochs`. The system `fresh` has the last stage alone. With more
    stages (`tasks`) an equal part of the images is added at each: 33 add about 1,000 at a time (batch-online learning).

    Known (paper, Table 1, test accuracy in per cent, random and warm; ResNet SGD, ResNet Adam, MLP SGD, MLP Adam,
    logistic regression SGD and Adam): CIFAR-10 56.2 and 51.7, 78.0 and 74.4, 39.0 and 37.4, 39.4 and 36.1, 40.5 and
    39.6, 33.8 and 33.3; CIFAR-100 18.2 and 15.5, 41.4 and 35.0, 10.3 and 9.4, 11.6 and 9.9, 16.9 and 16.3, 10.2 and
    9.9.

    Scales: `paper` is a 3072-100-100-10 network on CIFAR-10; `resnet18` and `logistic` are the paper's other networks
    (`--data` chooses the data set); `small` has 3,000 images of CIFAR-100's superclasses; `tiny` is for tests.

    Versions:
        v1: as published. The accuracy that ends a stage is the plain mean of an epoch. Images that do not fill a batch
            wait for the next epoch. Weights are changed before the second stage, not before the first.

    Raises:
        SettingError: a setting is outside its range.

    >>> WarmStart().timeline().tasks
    array([130000, 390000])
    """

    ID: ClassVar[str] = "warm-start-v1"
    SCALES: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "resnet18": {"network": "resnet18", "hidden": ()},
        "logistic": {"network": "linear"},
        "small": {"data": "cifar100-superclasses", "images": 3_000, "epochs": 200, "step_size": 0.01},
        "tiny": {
            "data": "mnist",
            "images": 72,
            "hidden": (12,),
            "epochs": 6,
            "batch_size": 6,
            "side": 7,
            "step_size": 0.05,
            "target": 0.5,
            "probe_size": 32,
        },
    }
    SYSTEMS: ClassVar[Mapping[str, System]] = _systems()

    tasks: int = 2
    """number of stages, each with an equal part of the images more; 1 has all of them at once"""
    data: Data = "cifar10"
    """the data set"""
    optimizer: Optimizer = SGD(step_size=1e-3)
    """computes the update from the gradient"""
    target: float = 0.99
    """accuracy of an epoch, as it is trained, at which a stage ends"""
    epochs: int = 1_000
    """the most epochs of a stage"""

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        require_count(self, "epochs", least=1)
        require(self, "target", 0 < self.target <= 1, "in (0, 1]")
        fitted = self.count * 2 // 3
        fills = fitted // self.tasks >= self.batch_size
        require(self, "tasks", fills, f"so few that a part of {fitted} images fills a batch of {self.batch_size}")

    @property
    def goal(self) -> float:
        """The target."""
        return self.target

    @property
    def epoch_steps(self) -> list[int]:
        """Steps of an epoch of each stage."""
        return [round(share * (self.count * 2 // 3)) // self.batch_size for share in self._shares]

    @property
    def _shares(self) -> list[float]:
        return [(stage + 1) / self.tasks for stage in range(self.tasks)]

    def timeline(self) -> Timeline:
        """A bin is an epoch; tests and measurements come at the ends of stages."""
        import numpy as np

        from neoteny.streams.timeline import Timeline

        ends = np.cumsum([steps * self.epochs for steps in self.epoch_steps])
        epochs = np.cumsum(np.repeat(self.epoch_steps, self.epochs))
        return Timeline(tasks=ends, bins=epochs, looks=np.insert(ends, 0, 0), tests=ends)

    def build_stream(self, seeds: Sequence[int], data_dir: str | Path | None = None) -> StagedImages:
        """The images in stages; reads the data set, or fetches it once."""
        steps = [count * self.epochs for count in self.epoch_steps]
        noises = [0.0] * self.tasks
        return self.staged(seeds, data_dir, shares=self._shares, noises=noises, steps=steps, split=True)

"""Trainability: the same images of MNIST in every task, under a new permutation of the pixels, in several epochs.

The images and tasks are those of Kumar, Marklund & Van Roy, "Maintaining plasticity in continual learning via
regenerative regularization", arXiv 2308.11958, 2023, where each task is seen once. The question whether the
network can still fit its training data is that of Lyle et al., ICML 2023. Unlike in Dohare et al., Nature 632, 2024,
the score is not taken on new examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from neoteny.benchmarks.image_epochs import ImageEpochsBenchmark, systems
from neoteny.lab.benchmark import System

__all__ = ["TrainabilityBenchmark"]


@dataclass(frozen=True, kw_only=True)
class TrainabilityBenchmark(ImageEpochsBenchmark):
    """A 784-100-100-100-10 network fits the same 10,000 images under a new permutation of the pixels in each task.

    Every task is equally hard: a new network would reach the same loss in the last epoch of the first task and of the
    last. Five epochs a task in batches of 16; ReLU, Kaiming uniform, pixels in [0, 1], cross-entropy.
    Settings to vary: `step_size`, `depth`, `epochs` (how often the task changes) and the optimizer.

    Known (in words): the training loss that is reached rises from task to task, sooner with larger step sizes,
    shallower networks and more frequent changes, and more under Adam than under SGD. Dead units and weights grow as
    well, and the effective rank falls. L2, dropout and norms do not cure it; L2 towards the initial weights and
    concatenated ReLUs do. In 500 tasks of one epoch (Kumar et al., best step sizes) SGD is best with 0.01, and Adam
    with 1e-4, where it loses least.

    Scales: `paper` is 500 tasks; `small` has 60 of 1,600 images and ten epochs; `table`, that of the leaderboard, 50
    of 320 images and ten epochs; `fast` 20 of 400 images of 7x7 and ten epochs, with 32 units a layer and step size
    0.3: backprop falls from 61 to 53 per cent within seconds; `tiny` is for tests.

    Versions:
        v1: as described; the five epochs are ours.

    Raises:
        SettingError: a setting is outside its range.

    >>> TrainabilityBenchmark().steps, TrainabilityBenchmark.preset("fast").task_length
    (1562500, 250)
    """

    ID: ClassVar[str] = "trainability-v1"
    CHANGE = "pixels"
    SCALES: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "small": {"tasks": 60, "epochs": 10, "images": 1_600, "probe_size": 1_000},
        "table": {
            "tasks": 50,
            "epochs": 10,
            "images": 320,
            "measure_every": 50,
            "probe_size": 320,
            "step_size": 0.03,
        },
        "fast": {
            "tasks": 20,
            "epochs": 10,
            "images": 400,
            "measure_every": 4,
            "probe_size": 256,
            "side": 7,
            "width": 32,
            "step_size": 0.3,
        },
        "tiny": {"tasks": 3, "epochs": 3, "images": 48, "probe_size": 32, "side": 7, "width": 12},
    }
    SYSTEMS: ClassVar[Mapping[str, System]] = systems(
        pull=1e-3, period=(3_125, 250), adam=(1e-4, 3e-3), tuned_adam=(1e-4, 1e-3)
    )

    tasks: int = 500
    """number of tasks (permutations of the pixels)"""
    epochs: int = 5
    """passes over the images in each task"""
    images: int = 10_000
    """images in a run's own subset, the same in every task"""
    batch_size: int = 16
    """images a step"""

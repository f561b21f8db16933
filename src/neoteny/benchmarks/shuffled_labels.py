"""Shuffled labels: the same images of MNIST in every task, with new random labels to memorise.

Lyle et al., "Understanding plasticity in neural networks", ICML 2023; the settings are those of "Random Label MNIST" in
Kumar, Marklund & Van Roy, "Maintaining plasticity in continual learning via regenerative regularization", arXiv
2308.11958, 2023. The measures are those of Dohare et al., Nature 632, 2024.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from neoteny.benchmarks.image_epochs import ImageEpochsBenchmark, systems
from neoteny.lab.benchmark import System

__all__ = ["ShuffledLabels"]


@dataclass(frozen=True, kw_only=True)
class ShuffledLabels(ImageEpochsBenchmark):
    """A 784-100-100-10 network memorises random labels of 1,200 images, and new ones in each of 50 tasks.

    In every task each image gets one of the ten labels at random, and the network has 400 epochs in batches of 16 to
    learn them; ReLU, torch's default initialisation, cross-entropy. Nothing generalises, so the accuracy shows what was
    memorised: that of the last epoch how much, the mean over all epochs (the paper's) how fast.

    Known (in words, Kumar et al., Fig. 1 and 7): under Adam the network soon fails to memorise and L2 hardly helps,
    while L2 towards the initial weights, continual backpropagation and ReDo still work; under SGD the best step size is
    the smallest tried, 0.001. Lyle et al.: after a few sets of labels training under Adam stays at a plateau.

    Scales: `paper` is 50 tasks; `small` has 20 of 400 images and 100 epochs; `fast` 20 of 160 images of 7x7 and 30
    epochs, with three layers of 32 units, Kaiming uniform, and step size 0.1: backprop falls from half to what
    guessing gives within seconds; `tiny` is for tests.

    Versions:
        v1: as published. (Pixels lie in [0, 1]; the paper does not say.)

    Raises:
        SettingError: a setting is outside its range.

    >>> ShuffledLabels().steps, ShuffledLabels.preset("fast").task_length
    (1500000, 300)
    """

    ID: ClassVar[str] = "shuffled-labels-v1"
    CHANGE = "labels"
    SCALES: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "small": {"tasks": 20, "epochs": 100, "images": 400, "probe_size": 400},
        "fast": {
            "tasks": 20,
            "epochs": 30,
            "images": 160,
            "measure_every": 4,
            "probe_size": 160,
            "side": 7,
            "width": 32,
            "depth": 3,
            "initialisation": "kaiming_uniform",
            "step_size": 0.1,
        },
        "tiny": {"tasks": 3, "epochs": 4, "images": 32, "probe_size": 32, "side": 7, "width": 12},
    }
    SYSTEMS: ClassVar[Mapping[str, System]] = systems(
        pull=1e-2, period=(30_000, 300), adam=(1e-3, 3e-3), tuned_adam=(1e-3, 1e-3)
    )

    tasks: int = 50
    """number of tasks (sets of random labels)"""
    epochs: int = 400
    """passes over the images in each task"""
    images: int = 1_200
    """images in a run's own subset, the same in every task"""
    batch_size: int = 16
    """images a step"""
    depth: int = 2
    """hidden layers; 0 makes the network linear"""
    initialisation: Literal["kaiming_uniform", "default"] = "default"
    """how weights are drawn: Kaiming uniform with biases 0, or both as torch draws them by default"""

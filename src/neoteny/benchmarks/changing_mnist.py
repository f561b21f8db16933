"""MNIST, one example at a time, whose pixels or labels are permuted anew every few thousand examples.

The protocol of Elsayed & Mahmood, "Addressing loss of plasticity and catastrophic forgetting in continual learning",
ICLR 2024, arXiv 2404.00781: a million examples, each predicted, then learned from, once. Their label-permuted problem
has EMNIST and CIFAR-10; here it has MNIST.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from neoteny.benchmarks.online_permuted_mnist import OnlinePermutedMNIST
from neoteny.lab.benchmark import System
from neoteny.methods.continual_backprop import ContinualBackprop
from neoteny.methods.l2 import L2
from neoteny.methods.shrink_and_perturb import ShrinkAndPerturb
from neoteny.methods.upgd import UPGD
from neoteny.optim import SGD, Optimizer
from neoteny.streams.permuted_images import Permute

if TYPE_CHECKING:
    from torch import nn

    from neoteny.streams.base import Stream

__all__ = ["InputPermutedMNIST", "LabelPermutedMNIST"]


@dataclass(frozen=True, kw_only=True)
class InputPermutedMNIST(OnlinePermutedMNIST):
    """The pixels are permuted anew every 5,000 examples: nothing that was learned helps, and units are lost.

    The network is 784-300-150-10 with ReLU; pixels lie in [0, 1]; cross-entropy. The score is the online accuracy of
    each task. Step sizes and settings of methods are choices made here.

    Known (in words, Elsayed & Mahmood, Fig. 3): the accuracy of SGD and Adam falls from task to task, and UPGD's does
    not.

    Scales: `paper` is 200 tasks; `small` is 40; `tiny` is for tests.

    Versions:
        v1: as published.

    Raises:
        SettingError: a setting is outside its range.

    >>> InputPermutedMNIST().steps, InputPermutedMNIST().network_settings()["sizes"]
    (1000000, [784, 300, 150, 10])
    """

    ID: ClassVar[str] = "input-permuted-mnist-v1"
    PERMUTED: ClassVar[Permute] = "pixels"
    SCALES: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "small": {"tasks": 40},
        "tiny": {
            "tasks": 3,
            "task_length": 100,
            "bin_size": 50,
            "measure_every": 100,
            "probe_size": 64,
            "width": 16,
        },
    }
    SYSTEMS: ClassVar[Mapping[str, System]] = {
        "backprop": System("stochastic gradient descent alone"),
        "linear": System("a linear network: it cannot lose plasticity", overrides={"depth": 0}),
        "l2": System("L2 regularisation in the gradient", (L2(strength=1e-4),)),
        "shrink-and-perturb": System(
            "L2 and noise on every weight, at every step", (ShrinkAndPerturb(weight_decay=1e-4, sigma=1e-5),)
        ),
        "upgd": System("useful weights protected, the others perturbed", (UPGD(sigma=1e-3, beta=0.9999),)),
        "cbp": System("continual backpropagation", (ContinualBackprop(replacement_rate=1e-5, maturity_threshold=100),)),
        "adam": System("Adam alone", overrides={"optimizer": "adam", "step_size": 1e-4}),
    }

    tasks: int = 200
    """number of tasks (permutations)"""
    task_length: int = 5_000
    """examples a task"""
    bin_size: int = 5_000
    """examples over which a recorded accuracy is averaged"""
    measure_every: int = 50_000
    """examples between two measurements of units and weights"""
    probe_size: int = 1_000
    """images that the measures are taken on"""
    optimizer: Optimizer = SGD(step_size=0.01)
    """the optimizer and its settings"""
    width: int = 300
    """units of the first hidden layer; each further one has half as many"""
    depth: int = 2
    """hidden layers; 0 makes the network linear"""

    def network_settings(self) -> dict[str, Any]:
        """Kind, sizes, activation and variations."""
        hidden = [max(self.width >> layer, 1) for layer in range(self.depth)]
        return {**super().network_settings(), "sizes": [self.side**2, *hidden, self.CLASSES]}

    def build_network(self) -> nn.Module:
        """784-300-150-10, Kaiming uniform, biases 0."""
        from neoteny.nn import MLP

        inputs, *hidden, outputs = self.network_settings()["sizes"]
        return MLP(inputs, hidden, outputs, **self.hidden_arguments())

    def build_stream(self, seeds: Sequence[int], data_dir: str | Path | None = None) -> Stream:
        """One order of the images and one permutation a run and task; reads MNIST, or fetches it once."""
        from neoteny import data
        from neoteny.streams.images import shrink_flat
        from neoteny.streams.permuted_images import PermutedImages

        images, labels = data.mnist(data_dir)
        images = shrink_flat(images, self.side)
        return PermutedImages(images, labels, seeds, self.task_length, self.batch_size, self.PERMUTED)


@dataclass(frozen=True, kw_only=True)
class LabelPermutedMNIST(InputPermutedMNIST):
    """The ten labels are permuted anew every 2,500 examples: features stay useful, the output layer does not.

    The network is 784-300-150-10 with ReLU; pixels lie in [0, 1]; cross-entropy. The score is the online accuracy of
    each task. Step sizes and settings of methods are choices made here.

    Known (in words, Elsayed & Mahmood, Fig. 4, on other images): methods that keep useful features gain from task to
    task; SGD and Adam lose.

    Scales: `paper` is 400 tasks; `small` is 40; `table`, that of the leaderboard, is 100 tasks of 100 batches of 16,
    with a 784-100-50-10 network; `tiny` is for tests.

    Versions:
        v1: as published, with MNIST.

    Raises:
        SettingError: a setting is outside its range.

    >>> LabelPermutedMNIST().steps
    1000000
    """

    ID: ClassVar[str] = "label-permuted-mnist-v1"
    PERMUTED: ClassVar[Permute] = "labels"
    SCALES: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "small": {"tasks": 40},
        "table": {
            "tasks": 100,
            "task_length": 100,
            "bin_size": 100,
            "measure_every": 5_000,
            "probe_size": 512,
            "batch_size": 16,
            "width": 100,
            "step_size": 0.1,
        },
        "tiny": InputPermutedMNIST.SCALES["tiny"],
    }

    tasks: int = 400
    """number of tasks (permutations)"""
    task_length: int = 2_500
    """examples a task"""
    bin_size: int = 2_500
    """examples over which a recorded accuracy is averaged"""

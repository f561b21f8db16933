"""Online Permuted MNIST: the same digits in every task, under a new permutation of the pixels.

Dohare et al., "Loss of plasticity in deep continual learning", Nature 632, 2024, Methods and Extended Data Figs. 3 and
4; the permutations are Goodfellow et al.'s, arXiv 1312.6211.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from neoteny.benchmarks.networks import ImagePerceptron
from neoteny.lab.benchmark import OnlineBenchmark, System
from neoteny.methods.continual_backprop import ContinualBackprop
from neoteny.methods.full_reset import FullReset
from neoteny.methods.head_reset import HeadReset
from neoteny.methods.l2 import L2
from neoteny.methods.redo import ReDo
from neoteny.methods.regenerative import L2Init
from neoteny.methods.shrink_and_perturb import ShrinkAndPerturb
from neoteny.optim import SGD, Optimizer

if TYPE_CHECKING:
    from torch import nn

    from neoteny.streams.base import Stream

__all__ = ["OnlinePermutedMNIST"]

_REDO = "reset of the units that are silent at a change"


@dataclass(frozen=True, kw_only=True)
class OnlinePermutedMNIST(ImagePerceptron, OnlineBenchmark):
    """A task is one pass over the 60,000 training images of MNIST under a new pixel permutation, one example at a time.

    The network is 784-2000-2000-2000-10 with ReLU, Kaiming uniform, biases 0; pixels lie in [0, 1]; cross-entropy. The
    score is the online accuracy: each example is predicted before it is learned from.

    Known (paper, 30 runs, first task and 800th, per cent; read off the figures): SGD with step size 0.003 95.2, then
    93.7; with 0.001 94.8, then 93.95; with 0.01 94.7, then 90.2; width 100 with 0.003 93.3, then under 88 by task 150.
    Continual backpropagation loses nothing, shrink and perturb nearly nothing.

    Scales: `paper` is 800 tasks; `small` is 100 tasks of 10,000 examples with 100 units a layer: with small
    networks and frequent changes plasticity is lost soonest; `table`, that of the leaderboard, is 100 tasks of 100
    batches of 16, with 100 units a layer; `fast` is 40 tasks of 1,024 examples of 14x14 pixels, with 40 units a layer
    and step size 0.015: backprop falls from 60 to 49 per cent within seconds; `tiny` is for tests.

    Versions:
        v1: as published.

    Raises:
        SettingError: a setting is outside its range.

    >>> OnlinePermutedMNIST.preset("small").network_settings()["sizes"]
    [784, 100, 100, 100, 10]
    """

    ID: ClassVar[str] = "online-permuted-mnist-v1"
    LOSS: ClassVar[Literal["mse", "cross_entropy"]] = "cross_entropy"
    MEASURES: ClassVar[tuple[str, ...]] = (
        "dead_units",
        "dormant_units",
        "srank_99",
        "approx_rank_99",
        "effective_rank",
        "stable_rank",
        "weight_magnitude",
    )
    SCALES: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "small": {
            "tasks": 100,
            "task_length": 10_000,
            "bin_size": 10_000,
            "measure_every": 10_000,
            "probe_size": 1_000,
            "width": 100,
        },
        "table": {
            "tasks": 100,
            "task_length": 100,
            "bin_size": 100,
            "measure_every": 5_000,
            "probe_size": 512,
            "batch_size": 16,
            "width": 100,
            "step_size": 0.03,
        },
        "fast": {
            "tasks": 40,
            "task_length": 1_024,
            "bin_size": 1_024,
            "measure_every": 4_096,
            "probe_size": 512,
            "side": 14,
            "width": 40,
            "step_size": 0.015,
        },
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
        "l2-init": System("L2 towards the initial weights", (L2Init(strength=1e-4),)),
        "shrink-and-perturb": System(
            "L2 and noise on every weight, at every step", (ShrinkAndPerturb(weight_decay=1e-4, sigma=1e-5),)
        ),
        "redo": System(
            _REDO,
            (ReDo(tau=0.0, period=60_000),),
            scaled={
                scale: System(_REDO, (ReDo(tau=0.0, period=period),))
                for scale, period in (("table", 100), ("fast", 1_024))
            },
        ),
        "head-reset": System("reset of the output layer", (HeadReset(),)),
        "full-reset": System("reset of the whole network", (FullReset(),)),
        "cbp": System(
            "continual backpropagation",
            (
                ContinualBackprop(
                    replacement_rate=1e-5,
                    maturity_threshold=100,
                    utility="adaptable_contribution",
                    replacement="accumulate",
                ),
            ),
        ),
        "adam": System(
            "Adam alone",
            overrides={"optimizer": "adam", "step_size": 5e-5},
            scaled={
                scale: System("Adam alone", overrides={"optimizer": "adam", "step_size": step_size})
                for scale, step_size in (("small", 3e-4), ("table", 1e-3), ("fast", 1e-3))
            },
        ),
        "tuned-adam": System(
            "Adam with averages of equal length",
            overrides={"optimizer": "adam", "step_size": 5e-5, "optimizer.betas": (0.99, 0.99)},
        ),
        "muon": System(
            "Muon alone",
            overrides={"optimizer": "muon", "step_size": 0.001},
        ),
    }

    tasks: int = 800
    """number of tasks (permutations of the pixels)"""
    task_length: int = 60_000
    """examples a task: fewer than 60,000 are the first of its order, more repeat the order"""
    bin_size: int = 60_000
    """examples over which a recorded accuracy is averaged"""
    measure_every: int = 60_000
    """examples between two measurements of units and weights"""
    probe_size: int = 2_000
    """images that the measures are taken on, under the task's permutation"""
    optimizer: Optimizer = SGD(step_size=0.003)
    """the optimizer and its settings"""
    width: int = 2_000
    """units of each hidden layer"""

    def __post_init__(self) -> None:
        """Check the settings of the network."""
        super().__post_init__()
        self.require_perceptron()
        self.require_several(self.batch_size)

    def build_network(self) -> nn.Module:
        """784-width-...-10, Kaiming uniform, biases 0."""
        return self.build_perceptron()

    def build_stream(self, seeds: Sequence[int], data_dir: str | Path | None = None) -> Stream:
        """One order of the images and one permutation a run and task; reads MNIST, or fetches it once."""
        from neoteny import data
        from neoteny.streams.images import shrink_flat as shrunk
        from neoteny.streams.permuted_images import PermutedImages

        images, labels = data.mnist(data_dir)
        return PermutedImages(shrunk(images, self.side), labels, seeds, self.task_length, self.batch_size)

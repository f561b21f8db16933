"""Slowly-changing regression: an idealised problem that a network learns well at first, then worse and worse.

Dohare et al., "Loss of plasticity in deep continual learning", Nature 632, 2024, Methods and Extended Data Fig. 1;
first in Dohare, Sutton & Mahmood, arXiv 2108.06325.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from neoteny.checks import require_choice, require_count
from neoteny.lab.benchmark import OnlineBenchmark, System
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

__all__ = ["SlowlyChangingRegressionBenchmark"]


@dataclass(frozen=True, kw_only=True)
class SlowlyChangingRegressionBenchmark(OnlineBenchmark):
    """A 20-5-1 network follows a fixed target of 100 threshold units, seen through inputs that slowly change.

    Of 20 input bits, 15 are held for 10,000 examples and then drawn anew; 5 are random in every example. The learner is
    too small for the target, so it can only track it. Squared error, one example at a time, averaged over bins of
    20,000.

    Known (100 runs, SGD 0.01; read off the paper's figures): ReLU about 0.62 at first and 1.25 after 1 M examples; a
    linear network about 0.88 throughout; tanh about 0.40, then 0.9; continual backpropagation keeps what it had.

    Scales: `paper` is 1 M examples; `small` 300,000, after which a ReLU network's loss of plasticity shows; `table`,
    that of the leaderboard, is the paper's; `fast` 600,000, which take seconds; `tiny` is for tests.

    Versions:
        v1: as published, with the threshold of the authors' code (see `neoteny.streams.SlowlyChangingRegression`). The
            paper's text has 3 M examples, its figures and files 1 M (5 M at step size 0.001).

    Raises:
        SettingError: a setting is outside its range.

    >>> SlowlyChangingRegressionBenchmark.preset("paper").steps
    1000000
    >>> SlowlyChangingRegressionBenchmark(activation="linear").network_settings()["kind"]
    'linear'
    """

    ID: ClassVar[str] = "slowly-changing-regression-v1"
    LOSS: ClassVar[Literal["mse", "cross_entropy"]] = "mse"
    MEASURES: ClassVar[tuple[str, ...]] = (
        "dead_units",
        "dormant_units",
        "srank_99",
        "effective_rank",
        "stable_rank",
        "weight_magnitude",
    )
    SCALES: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "small": {"tasks": 30},
        "table": {},
        "fast": {"tasks": 60},
        "tiny": {"tasks": 4, "task_length": 100, "bin_size": 80, "measure_every": 160, "probe_size": 50},
    }
    SYSTEMS: ClassVar[Mapping[str, System]] = {
        "backprop": System("stochastic gradient descent alone"),
        "linear": System("a linear network: it cannot lose plasticity", overrides={"activation": "linear"}),
        "l2": System("L2 regularisation in the gradient", (L2(strength=1e-2),)),
        "l2-init": System("L2 towards the initial weights", (L2Init(strength=1e-2),)),
        "shrink-and-perturb": System(
            "L2 and noise on every weight, at every step", (ShrinkAndPerturb(weight_decay=1e-2, sigma=1e-3),)
        ),
        "redo": System("reset of the units that are silent at a change", (ReDo(tau=0.0, period=10_000),)),
        "head-reset": System("reset of the output layer", (HeadReset(),)),
        "full-reset": System("reset of the whole network", (FullReset(),)),
        "cbp": System(
            "continual backpropagation",
            (
                ContinualBackprop(
                    replacement_rate=1e-4,
                    maturity_threshold=10,
                    utility="adaptable_contribution",
                    replacement="drawn",
                ),
            ),
        ),
        "adam": System("Adam alone", overrides={"optimizer": "adam", "step_size": 0.01}),
        "tuned-adam": System(
            "Adam with averages of equal length",
            overrides={"optimizer": "adam", "step_size": 0.01, "optimizer.betas": (0.99, 0.99)},
        ),
        "muon": System(
            "Muon alone; it leaves a network of one hidden layer to Adam",
            overrides={"optimizer": "muon", "step_size": 0.3},
        ),
    }

    tasks: int = 100
    """number of tasks (stretches between two changes of the held bits)"""
    task_length: int = 10_000
    """examples between two changes"""
    bin_size: int = 20_000
    """examples over which a recorded error is averaged"""
    measure_every: int = 20_000
    """examples between two measurements of units and weights"""
    flip: Literal["all", "one"] = "all"
    """at a change draw all held bits anew, or flip one of them"""
    inputs: int = 20
    """input bits"""
    held_bits: int = 15
    """input bits that are held within a task"""
    features: int = 100
    """linear threshold units of the target"""
    beta: float = 0.7
    """share of its inputs that must agree for a threshold unit of the target to fire"""
    threshold: Literal["authors", "paper"] = "authors"
    """how the target's thresholds count the bias: as in the authors' code, or as in the paper"""
    hidden: int = 5
    """hidden units of the learner"""
    activation: Literal["relu", "leaky_relu", "elu", "tanh", "sigmoid", "swish", "linear"] = "relu"
    """activation of the hidden units; linear: a network without hidden units"""

    def __post_init__(self) -> None:
        """Check the settings of the network; those of the problem are checked with it."""
        super().__post_init__()
        require_count(self, "hidden", least=1)
        known = ("relu", "leaky_relu", "elu", "tanh", "sigmoid", "swish", "linear")
        require_choice(self, "activation", known)
        self._stream([0])

    def network_settings(self) -> dict[str, Any]:
        """Kind, sizes and activation."""
        if self.activation == "linear":
            return {"kind": "linear", "sizes": [self.inputs, 1]}
        return {"kind": "mlp", "sizes": [self.inputs, self.hidden, 1], "activation": self.activation}

    def build_network(self) -> nn.Module:
        """20-5-1, Kaiming uniform; or the linear network."""
        from neoteny.nn import MLP, LinearNetwork

        if self.activation == "linear":
            return LinearNetwork(self.inputs, 1)
        return MLP(self.inputs, [self.hidden], 1, activation=self.activation)

    def build_stream(self, seeds: Sequence[int], data_dir: str | Path | None = None) -> Stream:
        """One target and one sequence of examples a run; no data is needed."""
        return self._stream(seeds)

    def _stream(self, seeds: Sequence[int]) -> Stream:
        from neoteny.streams.slowly_changing_regression import SlowlyChangingRegression

        return SlowlyChangingRegression(
            seeds,
            flip=self.flip,
            inputs=self.inputs,
            held_bits=self.held_bits,
            features=self.features,
            beta=self.beta,
            threshold=self.threshold,
            task_length=self.task_length,
            batch_size=self.batch_size,
        )

"""Sums of threshold features that learners have to find: some stay, some keep changing, some go and come back.

After Mahmood & Sutton, "Representation search through generate and test", AAAI Workshops 2013, and Sutton, Bowling &
Pilarski, "The Alberta Plan for AI research", arXiv 2208.11173, 2022 (step 2: finding features).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from neoteny.benchmarks.networks import HiddenLayers
from neoteny.checks import require, require_count
from neoteny.lab.benchmark import OnlineBenchmark, System
from neoteny.methods.continual_backprop import ContinualBackprop
from neoteny.methods.regenerative import L2Init
from neoteny.methods.upgd import UPGD
from neoteny.optim import SGD, Optimizer

if TYPE_CHECKING:
    from torch import nn

    from neoteny.streams.base import Stream

__all__ = ["GEOFF", "DriftingFeatures", "RepresentationSearch"]

_AUTOSTEP = {"optimizer": "autostep", "optimizer.curvature": "gauss-newton"}
_CBP = ContinualBackprop(replacement_rate=1e-4)


@dataclass(frozen=True, kw_only=True)
class DriftingFeatures(HiddenLayers, OnlineBenchmark):
    """A 20-40-1 network follows a sum of 20 threshold features of 20 random bits, one example at a time.

    Ten of the features stay. Each of the others changes the sign of its output weight with probability 0.0005 in a step
    and is replaced with probability 0.00005, so that some change comes about every 180 examples. The score is the
    squared error of predictions made before learning. With a `period` the changing features also go away and come back:
    a network that protects what it had learned of the others, and of these, is back sooner.

    Known: nothing is published. With 8 runs of 150,000 examples SGD's squared error over the last 30 % is 1.26 at its
    best step size (0.003), continual backpropagation's and Autostep's about 1.21; the target's variance is 2.6.

    Scales: `paper` is 300,000 examples; `small` 100,000; `tiny` is for tests.

    Versions:
        v1: as described.

    Raises:
        SettingError: a setting is outside its range.

    >>> DriftingFeatures().steps
    300000
    """

    ID: ClassVar[str] = "drifting-features-v1"
    LOSS: ClassVar[Literal["mse", "cross_entropy"]] = "mse"
    MEASURES: ClassVar[tuple[str, ...]] = ("dead_units", "dormant_units", "srank_99", "weight_magnitude")
    SCALES: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "small": {"tasks": 100},
        "tiny": {"tasks": 4, "task_length": 100, "bin_size": 80, "measure_every": 160, "probe_size": 50},
    }
    SYSTEMS: ClassVar[Mapping[str, System]] = {
        "backprop": System("stochastic gradient descent alone", overrides={"step_size": 3e-3}),
        "adam": System("Adam alone", overrides={"optimizer": "adam", "step_size": 1e-3}),
        "l2-init": System("L2 towards the initial weights", (L2Init(strength=1e-3),)),
        "cbp": System("continual backpropagation", (_CBP,)),
        "upgd": System("noise on weights of little use, protection of the others", (UPGD(),)),
        "idbd": System(
            "a step size for each weight", overrides={"optimizer": "idbd", "optimizer.curvature": "gauss-newton"}
        ),
        "autostep": System("a step size for each weight, normalised", overrides=_AUTOSTEP),
        "cbp-autostep": System("continual backpropagation with Autostep", (_CBP,), _AUTOSTEP),
    }

    tasks: int = 300
    """number of stretches of `task_length` examples; nothing happens between two of them"""
    task_length: int = 1_000
    """examples of such a stretch"""
    bin_size: int = 2_000
    """examples over which a recorded error is averaged"""
    measure_every: int = 20_000
    """examples between two measurements of units and weights"""
    inputs: int = 20
    """bits that the target reads"""
    irrelevant: int = 0
    """more bits, which it does not read"""
    features: int = 20
    """threshold features of the target"""
    outputs: int = 1
    """targets, each a sum of its own of the same features"""
    lasting: float = 0.5
    """share of the features that stay for ever"""
    flips: float = 5e-4
    """probability of a change of sign of each of the others, in a step"""
    replacements: float = 5e-5
    """probability of a replacement of each of the others, in a step"""
    period: int = 0
    """examples for which the others are present, then absent; 0: always present"""
    noise: float = 0.0
    """standard deviation of noise on the targets"""
    output_weights: Literal["signs", "normal"] = "signs"
    """what the features' weights in the target are: -1 or 1, or drawn from N(0, 1)"""
    width: int = 40
    """units of each hidden layer of the learner"""
    depth: int = 1
    """hidden layers of the learner"""

    def __post_init__(self) -> None:
        """Check the settings of the network; those of the problem are checked with it."""
        super().__post_init__()
        require_count(self, "width", "depth", least=1)
        self.require_hidden_layers(("none", "layer"))
        require(self, "dropout", self.dropout == 0, "0: every example is seen once")
        self._stream([0])

    def network_settings(self) -> dict[str, Any]:
        """Kind, sizes and activation."""
        sizes = [self.inputs + self.irrelevant, *[self.width] * self.depth, self.outputs]
        return {"kind": "mlp", "sizes": sizes, **self.hidden_layers()}

    def build_network(self) -> nn.Module:
        """Kaiming uniform."""
        from neoteny.nn import MLP

        first, *hidden, last = self.network_settings()["sizes"]
        return MLP(first, hidden, last, **self.hidden_arguments())

    def build_stream(self, seeds: Sequence[int], data_dir: str | Path | None = None) -> Stream:
        """One target and one sequence of examples a run; no data is needed."""
        return self._stream(seeds)

    def _stream(self, seeds: Sequence[int]) -> Stream:
        from neoteny.streams.threshold_features import ThresholdFeatures

        names = ("inputs", "irrelevant", "features", "outputs", "lasting", "flips", "replacements", "period", "noise")
        settings = {name: getattr(self, name) for name in (*names, "output_weights", "task_length", "batch_size")}
        return ThresholdFeatures(seeds, **settings)


@dataclass(frozen=True, kw_only=True)
class GEOFF(DriftingFeatures):
    """All 20 threshold features stay, and only how they are put together changes: their signs, one by one.

    So a learner that has found the features only has to follow twenty output weights. It is known as GEOFF, "generic
    online feature finding". Each sign changes with probability 0.001 in a step: some sign every 50 examples.

    Known: nothing is published in numbers.

    Scales: as `DriftingFeatures`.

    Versions:
        v1: as described; the rate is ours.

    Raises:
        SettingError: a setting is outside its range.

    >>> GEOFF().lasting
    0.0
    """

    ID: ClassVar[str] = "geoff-v1"

    lasting: float = 0.0
    """share of the features that stay for ever, signs included"""
    flips: float = 1e-3
    """probability of a change of sign of each of the others, in a step"""
    replacements: float = 0.0
    """probability of a replacement of each of the others, in a step"""


_SEARCH = ContinualBackprop(utility="weight", replacement_rate=0.005, decay_rate=0.99, maturity_threshold=100)


@dataclass(frozen=True, kw_only=True)
class RepresentationSearch(DriftingFeatures):
    """A target of 20 threshold features that stay; the learner has many threshold features and a linear output.

    Its features have no gradient: they are what was drawn, and only a method that replaces units finds better ones.
    Gradient descent trains the output weights, which begin at 0. The target has noise of variance 1, which no learner
    can predict. With another `activation` the features are learned, too, from usual initial weights.

    Known: nothing is published in numbers. In the paper the error falls with the number of features, and a search
    through features (new ones in place of the 1/200 that count least, at every step) lowers it further.

    Scales: `paper` is 1,000,000 examples and 1,024 features; `small` 100,000 and 256; `tiny` is for tests.

    Versions:
        v1: the paper's problem; width, step sizes and the share that is replaced are those of later work.

    Raises:
        SettingError: a setting is outside its range.

    >>> RepresentationSearch().network_settings()
    {'kind': 'threshold', 'sizes': [20, 1024, 1]}
    """

    ID: ClassVar[str] = "representation-search-v1"
    MEASURES: ClassVar[tuple[str, ...]] = ("dead_units", "srank_99", "weight_magnitude")
    SCALES: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "small": {"tasks": 100, "width": 256},
        "tiny": {**DriftingFeatures.SCALES["tiny"], "width": 30},
    }
    SYSTEMS: ClassVar[Mapping[str, System]] = {
        "backprop": System("features that stay, with SGD on the output weights"),
        "search": System("generate and test: the features of the smallest weights are replaced", (_SEARCH,)),
        "adam": System("Adam on the output weights", overrides={"optimizer": "adam", "step_size": 1e-3}),
        "cbp": System("continual backpropagation", (_CBP,)),
        "idbd": DriftingFeatures.SYSTEMS["idbd"],
        "autostep": System("features that stay, with Autostep", overrides=_AUTOSTEP),
        "search-autostep": System("generate and test with Autostep", (_SEARCH,), _AUTOSTEP),
        "learned": System("hidden units that learn by gradient descent", overrides={"activation": "relu"}),
    }

    tasks: int = 1_000
    """number of stretches of `task_length` examples; nothing happens between two of them"""
    optimizer: Optimizer = SGD(step_size=1e-3)
    """computes the update from the gradient"""
    activation: Literal["threshold", "relu", "leaky_relu", "elu", "tanh", "sigmoid", "swish"] = "threshold"  # pyright: ignore[reportIncompatibleVariableOverride]
    """activation of the hidden units; threshold units do not learn"""
    lasting: float = 1.0
    """share of the features that stay for ever"""
    flips: float = 0.0
    """probability of a change of sign of each of the others, in a step"""
    replacements: float = 0.0
    """probability of a replacement of each of the others, in a step"""
    noise: float = 1.0
    """standard deviation of noise on the targets"""
    output_weights: Literal["signs", "normal"] = "normal"
    """what the features' weights in the target are: -1 or 1, or drawn from N(0, 1)"""
    width: int = 1_024
    """features of the learner"""

    def require_hidden_layers(self, norms: Sequence[str] = ("none", "layer", "batch")) -> None:
        """Check the settings of hidden layers; threshold units have one layer, without variations."""
        if self.activation != "threshold":
            return super().require_hidden_layers(norms)
        require(self, "depth", self.depth == 1, "1 for threshold units, which pass no gradient on")
        require(self, "normalisation", self.normalisation == "none", "none for threshold units")

    def network_settings(self) -> dict[str, Any]:
        """Kind, sizes, and the activation where units learn."""
        found = super().network_settings()
        return {"kind": "threshold", "sizes": found["sizes"]} if self.activation == "threshold" else found

    def build_network(self) -> nn.Module:
        """Threshold units with random signs, or a multi-layer perceptron."""
        if self.activation != "threshold":
            return super().build_network()
        from neoteny.nn.threshold import ThresholdNetwork

        return ThresholdNetwork(*self.network_settings()["sizes"])

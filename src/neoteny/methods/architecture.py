"""Methods that change the network before training and do nothing afterwards: other activations, dropout, norms.

Each is done once the network is prepared (`neoteny.prepare`). A hidden activation stands between two layers with
weights; it may be a module, also one of the user's own, or a function. What stands in the place of each f(x):

| class | registered as | in place of f(x) |
|---|---|---|
| `WithCReLU` | crelu | [max(x, 0), max(-x, 0)], in narrower layers |
| `WithDeepFourier` | deep-fourier | [sin(x), cos(x)], in narrower layers |
| `WithSmoothLeaky` | smooth-leaky | α x + (1 - α) x σ(c x / p) |
| `WithIntervalDropout` | aid | max(x, 0) or min(x, 0), drawn for each number |
| `WithDropout` | dropout | dropout(f(x)) |
| `WithLayerNorm` | layer-norm | f(layer norm(x)) |
| `WithBatchNorm` | batch-norm | f(batch norm(x)) |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from neoteny.checks import (
    require_fraction,
    require_nonnegative,
    require_positive,
    require_probability,
)
from neoteny.errors import NetworkError
from neoteny.methods.base import Contract, Method, Stage

if TYPE_CHECKING:
    from torch import nn

    from neoteny.nn.activation_modules import Concatenated
    from neoteny.nn.surgery.replacing import Place

Match = Literal["parameters", "features"]


class Architecture(Method):
    """The base of methods that are done once the network is prepared."""

    stage: ClassVar[Stage] = "architecture"
    memory: ClassVar[tuple[float, float]] = (0.0, 0.0)
    changes: ClassVar[str] = "activations"
    """What it changes in the network; a second method that changes the same is refused."""

    def excludes(self, other: Method) -> str | None:
        """Another method that changes the same."""
        same = isinstance(other, Architecture) and other.changes == self.changes and other.name != self.name
        return f"both change the network's {self.changes}" if same else None

    @classmethod
    def contract(cls) -> Contract:
        """Active methods and inactive ones, for `neoteny.testing`: on a prepared network it is inactive."""
        return [cls()], [cls()]


class Replacing(Architecture, ABC):
    """The base of methods that put another module in the place of each hidden activation."""

    once: ClassVar[bool] = False
    """Whether each place needs a module of its own."""

    @abstractmethod
    def module(self, old: nn.Module, place: Place) -> nn.Module:
        """What stands in the place of the activation `old`, which it may contain."""

    def prepare(self, model: nn.Module, example_inputs: Any) -> nn.Module:
        """A copy of the network with every hidden activation changed."""
        from neoteny.nn.surgery.replacing import replace_activations

        return replace_activations(model, example_inputs, self.module, self.once)


@dataclass(frozen=True, kw_only=True)
class Concatenating(Architecture, ABC):
    """The base of activations that give two numbers for each unit, in networks that are made narrower in return."""

    match: Match = "parameters"

    @property
    @abstractmethod
    def activation(self) -> type[Concatenated]:
        """The module, made with the dimension along which the two numbers lie."""

    def prepare(self, model: nn.Module, example_inputs: Any) -> nn.Module:
        """A copy of the network with every hidden activation changed and the widths scaled."""
        from neoteny.nn.surgery.narrowing import double

        return double(model, example_inputs, self.activation, self.match)


@dataclass(frozen=True, kw_only=True)
class WithCReLU(Concatenating):
    """Put concatenated rectifiers in place of all hidden activations, and make the layers narrower in return.

        h = [max(x, 0), max(-x, 0)]    along the channels; x is what the layer or the norm behind it gives

    Whatever reads h has twice as many inputs. So all widths are multiplied by one factor, such that the network has as
    many parameters as before, as nearly as whole widths allow. See `neoteny.nn.surgery.narrowing.double`, also for
    which networks can be changed. Layers whose shape changes are drawn anew by the rule by which they were drawn.

    One of the two numbers of a unit is always positive, so a gradient always reaches its weights; and |h|² = |x|².

    Abbas, Zhao, Modayil, White & Machado, "Loss of plasticity in continual deep reinforcement learning", CoLLAs 2023
    (PMLR 232), after Shang, Sohn, Almeida & Lee, "Understanding and improving convolutional neural networks via
    concatenated rectified linear units", ICML 2016, Definition 2.1.

    Args:
        match: what stays as it was: `parameters`, or `features`. The latter gives each layer half as many units; then
            it has as many inputs as before and about half the parameters.

    Raises:
        SettingError: another `match`.

    >>> import torch, neoteny
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> neoteny.prepare(model, WithCReLU(), torch.zeros(1, 3))
    Sequential(
      (0): Linear(in_features=3, out_features=7, bias=True)
      (1): CReLU(dim=-1)
      (2): Linear(in_features=14, out_features=1, bias=True)
    )
    """

    name: ClassVar[str] = "crelu"
    avoid: ClassVar[str] = (
        "Where the network's widths have to stay. Where the number of units limits what the network can learn, rather "
        "than the number of weights: with as many parameters it has over a quarter fewer units."
    )

    @property
    def activation(self) -> type[Concatenated]:
        """Concatenated rectifiers."""
        from neoteny.nn.activation_modules import CReLU

        return CReLU


@dataclass(frozen=True, kw_only=True)
class WithDeepFourier(Concatenating):
    """Put sine and cosine in place of all hidden activations, and make the layers narrower in return.

        h = [sin(x), cos(x)]    along the channels; x is what the layer or the norm behind it gives

    The features have no frequency or phase of their own: the weights and biases of the layer play that part. The output
    layer stays linear in h. For every x, one of the two functions is within 0.11 of a linear one on
    [x - π/4, x + π/4] (Proposition 1 of the paper). So such a network lies between a linear network, which does not
    lose plasticity, and an ordinary one.

    Whatever reads h has twice as many inputs. So all widths are multiplied by one factor, such that the network has as
    many parameters as before, as nearly as whole widths allow. See `neoteny.nn.surgery.narrowing.double`, also for
    which networks can be changed. Layers whose shape changes are drawn anew by the rule by which they were drawn.

    Lewandowski, Schuurmans & Machado, "Plastic learning with deep Fourier features", ICLR 2025, arXiv 2410.20634
    (Section 4).

    Args:
        match: what stays as it was: `parameters`, or `features`. The latter gives each layer half as many units; then
            it has as many inputs as before and about half the parameters.

    Raises:
        SettingError: another `match`.

    >>> import torch, neoteny
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> neoteny.prepare(model, WithDeepFourier(match="features"), torch.zeros(1, 3))
    Sequential(
      (0): Linear(in_features=3, out_features=4, bias=True)
      (1): SinCos(dim=-1)
      (2): Linear(in_features=8, out_features=1, bias=True)
    )
    """

    name: ClassVar[str] = "deep-fourier"
    avoid: ClassVar[str] = (
        "On inputs far from unit scale, or with large step sizes: over such a range the features go through many "
        "periods, and a small change of a weight changes everything. The authors add a regulariser of the weights."
    )

    @property
    def activation(self) -> type[Concatenated]:
        """Sine and cosine."""
        from neoteny.nn.activation_modules import SinCos

        return SinCos


@dataclass(frozen=True, kw_only=True)
class WithSmoothLeaky(Replacing):
    """Put a smooth leaky rectifier in place of all hidden activations:

        f(x) = α x + (1 - α) x σ(c x / p)    with the logistic function σ

    It is α x far below 0 and x far above. Its slope at 0 is (1 + α) / 2; the least slope is α - 0.0998 (1 - α). That is
    positive for α > 0.0908, whatever c and p are, so that a gradient always passes. All weights keep names and values.

    Lillo & Cheney, "Activation function design sustains plasticity in continual learning", ICLR 2026, arXiv 2509.22562
    (Eq. 1; the defaults are those of its Figure 5).

    Args:
        alpha: α, the slope far below 0.
        c: curvature of the transition.
        p: width of the transition; only c / p counts.

    Raises:
        SettingError: a setting outside its range.

    >>> import torch, neoteny
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> neoteny.prepare(model, WithSmoothLeaky(), torch.zeros(1, 3))[1]
    SmoothLeakyReLU(alpha=0.1, c=5.0, p=3.0)
    """

    name: ClassVar[str] = "smooth-leaky"
    avoid: ClassVar[str] = (
        "Where exact zeros are wanted: no activation is ever exactly 0, so measures of dormant units say nothing. The "
        "authors tuned three settings on every problem."
    )

    alpha: float = 0.1
    c: float = 5.0
    p: float = 3.0

    def __post_init__(self) -> None:
        """Check the settings."""
        require_fraction(self, "alpha")
        require_positive(self, "c", "p")

    def module(self, old: nn.Module, place: Place) -> nn.Module:
        """The smooth leaky rectifier."""
        from neoteny.nn.activation_modules import SmoothLeakyReLU

        return SmoothLeakyReLU(self.alpha, self.c, self.p)


@dataclass(frozen=True, kw_only=True)
class WithIntervalDropout(Replacing):
    """Put interval-wise dropout (AID), in its simplified form, in place of all hidden activations.

    In training it is drawn for each number x by itself:

        AID(x) = max(x, 0) with probability p, else min(x, 0)

    So positive numbers are dropped with probability 1 - p and negative ones with p. In evaluation it is the mean,
    p max(x, 0) + (1 - p) min(x, 0). Neither is rescaled by 1 / p, as ordinary dropout does. With p = 1 it is a ReLU,
    with p = 1/2 the mean is linear. For symmetric x, E AID(x)² = E x² / 2, as for a ReLU, so He's initialisation fits.
    All weights keep names and values.

    Park, Han, Oh & Kim, "Activation by interval-wise dropout: a simple way to prevent neural networks from plasticity
    loss", ICML 2025 (PMLR 267), arXiv 2502.01342 (Algorithm 2 and Property 1).

    Args:
        p: probability of the rectifier.

    Raises:
        SettingError: a p outside [0, 1].

    >>> import torch, neoteny
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> neoteny.prepare(model, WithIntervalDropout(), torch.zeros(1, 3))[1]
    IntervalDropout(p=0.9)
    """

    name: ClassVar[str] = "aid"
    avoid: ClassVar[str] = (
        "With one example at a step, where no batch averages its noise; in small networks; and where outputs have to "
        "be exact, as in regression."
    )

    p: float = 0.9

    def __post_init__(self) -> None:
        """Check the settings."""
        require_fraction(self, "p")

    @classmethod
    def contract(cls) -> Contract:
        """Active methods and inactive ones, for `neoteny.testing`."""
        return [cls()], [cls(p=1)]

    def inert(self) -> str | None:
        """With p = 1 nothing is random."""
        return "p = 1, so activations are plain rectifiers" if self.p == 1 else None

    def module(self, old: nn.Module, place: Place) -> nn.Module:
        """Interval dropout."""
        from neoteny.nn.activation_modules import IntervalDropout

        return IntervalDropout(self.p)


@dataclass(frozen=True, kw_only=True)
class WithDropout(Replacing):
    """Put dropout behind every hidden activation. In training

        h ← m h / (1 - p)    with m = 0 with probability p, else 1, drawn for each number

    In evaluation h stays as it is. The paper's p is the share that is kept, and it scales by p in evaluation. Here p is
    the share that is dropped, and the scale is in training, as in torch: the same in expectation. Weights keep their
    values. They keep their names too, but for those of activations with parameters.

    Srivastava, Hinton, Krizhevsky, Sutskever & Salakhutdinov, "Dropout: a simple way to prevent neural networks from
    overfitting", JMLR 15, 2014 (Section 4); as a baseline: Dohare et al., Nature 632, 2024 (Extended Data Fig. 4b).

    Args:
        p: probability with which an activation is dropped; the authors drop half.

    Raises:
        SettingError: a p outside [0, 1).
        NetworkError: the network has dropout already.

    >>> import torch, neoteny
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> neoteny.prepare(model, WithDropout(p=0.2), torch.zeros(1, 3))[1]
    Sequential(
      (0): ReLU()
      (1): Dropout(p=0.2, inplace=False)
    )
    """

    name: ClassVar[str] = "dropout"
    changes: ClassVar[str] = "dropout"
    avoid: ClassVar[str] = (
        "Against loss of plasticity itself: in the paper it makes that worse. It is here as a baseline, and against "
        "overfitting on few examples seen many times."
    )

    p: float = 0.1

    def __post_init__(self) -> None:
        """Check the settings."""
        require_probability(self, "p")

    @classmethod
    def contract(cls) -> Contract:
        """Active methods and inactive ones, for `neoteny.testing`."""
        return [cls(p=0.3)], [cls(p=0)]

    def inert(self) -> str | None:
        """With p = 0 nothing is dropped."""
        return "p = 0, so nothing is dropped" if self.p == 0 else None

    def module(self, old: nn.Module, place: Place) -> nn.Module:
        """Dropout behind the activation."""
        from torch import nn

        return nn.Sequential(old, nn.Dropout(self.p))

    def prepare(self, model: nn.Module, example_inputs: Any) -> nn.Module:
        """A copy of the network with dropout behind each hidden activation."""
        from torch.nn.modules.dropout import _DropoutNd

        there = next((name for name, module in model.named_modules() if isinstance(module, _DropoutNd)), None)
        if there is not None:
            raise NetworkError(f"The network has dropout already, {there!r}; set its p, or leave the method out.")
        return super().prepare(model, example_inputs)


class Normalising(Replacing, ABC):
    """The base of methods that put a norm in front of every hidden activation."""

    changes: ClassVar[str] = "norms"
    once: ClassVar[bool] = True

    @abstractmethod
    def norm(self, place: Place) -> nn.Module:
        """The norm in front of the activation at this place."""

    def module(self, old: nn.Module, place: Place) -> nn.Module:
        """The norm, then the activation."""
        from torch import nn

        there = next((read for read in place.reads if read.kind == "norm"), None)
        if there is not None:
            raise NetworkError(
                f"{there.name!r} ({type(there.module).__name__}) normalises what {place.name!r} reads already; leave "
                "the method out, or build the network without that norm."
            )
        return nn.Sequential(self.norm(place), old)


@dataclass(frozen=True, kw_only=True)
class WithLayerNorm(Normalising):
    """Normalise what each hidden activation f reads, over the units and for each example by itself:

        f(γ (x - μ) / √(σ² + ε) + β),    μ and σ² the mean and variance of x over the units of the layer

    Behind a convolution the mean goes over maps and positions together (`nn.GroupNorm` with one group), and each map
    has a γ and a β. γ begins at 1 and β at 0. All weights keep names and values.

    Ba, Kiros & Hinton, "Layer normalization", arXiv 1607.06450, 2016 (Eqs. 3 and 4).

    Args:
        epsilon: ε.

    Raises:
        SettingError: an epsilon that is not a finite number >= 0.
        NetworkError: a norm is there already.

    >>> import torch, neoteny
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> neoteny.prepare(model, WithLayerNorm(), torch.zeros(1, 3))[1]
    Sequential(
      (0): LayerNorm((8,), eps=1e-05, elementwise_affine=True, bias=True)
      (1): ReLU()
    )
    """

    name: ClassVar[str] = "layer-norm"
    avoid: ClassVar[str] = (
        "In very narrow layers, where it takes away two of few degrees of freedom. By itself it does not keep a "
        "network plastic: weights grow, and the effective step size falls; combine it with a decay or a projection."
    )

    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        """Check the settings."""
        require_nonnegative(self, "epsilon")

    def norm(self, place: Place) -> nn.Module:
        """A layer norm; for feature maps a group norm of one group."""
        from neoteny.nn.surgery.replacing import layer_norm

        return layer_norm(place, self.epsilon)


@dataclass(frozen=True, kw_only=True)
class WithBatchNorm(Normalising):
    """Normalise what each hidden activation f reads, over the batch and for each unit by itself:

        f(γ (x - μ) / √(σ² + ε) + β),    μ and σ² the mean and variance of x over examples (and positions of a map)

    In evaluation μ and σ² are running averages of those seen in training; each batch moves them by the share `momentum`
    towards its own. γ begins at 1 and β at 0. All weights keep names and values.

    Ioffe & Szegedy, "Batch normalization: accelerating deep network training by reducing internal covariate shift",
    ICML 2015 (Algorithm 1).

    Args:
        epsilon: ε.
        momentum: share of a batch in the running averages.

    Raises:
        SettingError: a setting outside its range.
        NetworkError: a norm is there already, an activation reads a sequence of vectors, or `example_inputs` is a
            single example.

    >>> import torch, neoteny
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> neoteny.prepare(model, WithBatchNorm(), torch.zeros(2, 3))[1][0].num_features
    8
    """

    name: ClassVar[str] = "batch-norm"
    avoid: ClassVar[str] = (
        "With one example at a step, where it is refused, or with a few; and where the distribution changes between "
        "batches faster than the running averages follow."
    )

    epsilon: float = 1e-5
    momentum: float = 0.1

    def __post_init__(self) -> None:
        """Check the settings."""
        require_nonnegative(self, "epsilon")
        require_fraction(self, "momentum")

    def norm(self, place: Place) -> nn.Module:
        """A batch norm of the fitting number of dimensions."""
        from torch import nn

        dims, norms = place.value.dim(), {-1: nn.BatchNorm1d, -2: nn.BatchNorm1d, -3: nn.BatchNorm2d}
        if place.channels == -1 and dims != 2:
            raise NetworkError(
                f"{place.name!r} reads an input of shape {list(place.value.shape)}, whose second dimension "
                "nn.BatchNorm1d would take for the units; use WithLayerNorm there."
            )
        if place.value.numel() == place.size:
            raise NetworkError(
                f"{place.name!r} reads an input of shape {list(place.value.shape)}: the variance over a single "
                "example is 0. Train on batches of two examples or more, and give one of them as example_inputs."
            )
        kind = norms.get(place.channels, nn.BatchNorm3d)
        options = {"device": place.value.device, "dtype": place.value.dtype}
        return kind(place.size, eps=self.epsilon, momentum=self.momentum, **options)

"""The bases of methods that change the network before training and do nothing afterwards.

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

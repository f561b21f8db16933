"""The settings of networks that several benchmarks have: hidden layers, and multi-layer perceptrons made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from neoteny.checks import require, require_choice, require_count, require_probability

if TYPE_CHECKING:
    from torch import nn

__all__ = ["HiddenLayers", "ImagePerceptron"]

ACTIVATIONS = ("relu", "leaky_relu", "elu", "tanh", "sigmoid", "swish")


@dataclass(frozen=True, kw_only=True)
class HiddenLayers:
    """Hidden layers of any network.

    Raises:
        SettingError: a setting is outside its range.
    """

    activation: Literal["relu", "leaky_relu", "elu", "tanh", "sigmoid", "swish"] = "relu"
    """activation of the hidden units"""
    normalisation: Literal["none", "layer", "batch"] = "none"
    """a norm in front of each activation (batch needs more than one example a step)"""
    dropout: float = 0.0
    """probability with which a hidden activation is dropped in training"""

    def require_hidden_layers(self, norms: Sequence[str] = ("none", "layer", "batch")) -> None:
        """Check these settings."""
        require_choice(self, "activation", ACTIVATIONS)
        require_choice(self, "normalisation", norms)
        require_probability(self, "dropout")

    def require_several(self, examples: int) -> None:
        """Refuse a batch norm where a step has a single example, which has no variance."""
        suits = self.normalisation != "batch" or examples > 1
        require(self, "normalisation", suits, "none or layer for steps of one example (batch_size = 1)")

    def hidden_layers(self) -> dict[str, Any]:
        """These settings as a plain dict."""
        return {"activation": self.activation, "normalisation": self.normalisation, "dropout": self.dropout}

    def hidden_arguments(self) -> dict[str, Any]:
        """The same as arguments of `neoteny.nn`'s networks."""
        return {**self.hidden_layers(), "normalisation": None if self.normalisation == "none" else self.normalisation}


@dataclass(frozen=True, kw_only=True)
class ImagePerceptron(HiddenLayers):
    """A multi-layer perceptron on the 28x28 images of MNIST, or on smaller ones made of them.

    Raises:
        SettingError: a setting is outside its range.
    """

    CLASSES: ClassVar[int] = 10

    side: int = 28
    """pixels of a side; images are shrunk to fewer than 28"""
    width: int = 100
    """units of each hidden layer"""
    depth: int = 3
    """hidden layers; 0 makes the network linear"""

    def require_perceptron(self) -> None:
        """Check these settings."""
        require_count(self, "width", least=1)
        require_count(self, "depth")
        require(self, "side", self.side in (7, 14, 28), "7, 14 or 28")
        self.require_hidden_layers()

    def network_settings(self) -> dict[str, Any]:
        """Kind, sizes, activation and variations."""
        return {
            "kind": "mlp" if self.depth else "linear",
            "sizes": [self.side**2, *[self.width] * self.depth, self.CLASSES],
            **self.hidden_layers(),
        }

    def build_perceptron(self, **options: Any) -> nn.Module:
        """The network; options are those of `neoteny.nn.MLP` beside these settings."""
        from neoteny.nn import MLP

        return MLP(self.side**2, [self.width] * self.depth, self.CLASSES, **self.hidden_arguments(), **options)

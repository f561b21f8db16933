"""A module that remembers how each of its parameters was drawn.

The record serves twice: it makes the first weights, and a method that makes a unit or a network new again redraws from
it. So a newborn unit has the distribution of the units the network began with, by construction.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

from torch import nn

from neoteny.errors import SettingError, UnknownNameError
from neoteny.units.initialise import Initialiser

__all__ = ["InitialisedModule", "Layered", "Normalisation", "Scheme", "check_variations", "initialisers_of", "norm_of"]

Scheme = Literal["kaiming_uniform", "xavier", "lecun", "default", "sparse", "sparse_layer", "orthogonal"]
"""How weights are drawn, all uniformly: with variance g^2 / fan_in (`kaiming_uniform`), 2 g^2 / (fan_in + fan_out)
(`xavier`), 1 / fan_in (`lecun`) or 1 / (3 fan_in) (`default`, what torch does). `sparse` draws as `default`, then sets
nine tenths of each unit's incoming weights to 0; `sparse_layer` sets those from the same inputs to 0 for all units of a
layer, which cuts these inputs off. `orthogonal` draws a matrix with orthonormal rows or columns, times g. Biases begin
at 0; under `default` they are drawn as torch draws them."""
Normalisation = Literal["layer", "plain_layer", "batch"]
"""What normalises in front of every activation; `plain_layer` is layer norm without gain and shift."""
SPARSITY = 0.9
"""The share of a unit's incoming weights that a sparse initialisation sets to 0."""


def initialisers_of(layer: nn.Module, scheme: Scheme | Literal["zero"], gain: float) -> dict[str, Initialiser]:
    """The initialisers of one layer's own parameters, by their names in the layer.

    Args:
        layer: a linear or convolutional layer; or a norm, whose gain begins at 1 and shift at 0.
        scheme: see `Scheme`.
        gain: g of the activation that follows.

    Raises:
        UnknownNameError: there is no such scheme.

    >>> initialisers_of(nn.Linear(3, 2), "kaiming_uniform", 1.0)["weight"]
    Initialiser(kind='uniform', scale=1.0)
    """
    if scheme not in (*get_args(Scheme), "zero"):
        raise UnknownNameError(scheme, get_args(Scheme), "initialisation")
    shapes = {name: parameter.shape for name, parameter in layer.named_parameters(recurse=False)}
    if not shapes:
        return {}
    if len(shapes["weight"]) == 1:  # a norm
        weight, bias = Initialiser("constant", 1.0), Initialiser("constant", 0.0)
    else:
        fan_in, fan_out = shapes["weight"][1:].numel(), shapes["weight"][0] * shapes["weight"][2:].numel()
        bias = Initialiser("constant", 0.0)
        match scheme:
            case "kaiming_uniform":
                weight = Initialiser.kaiming_uniform(fan_in, gain)
            case "xavier":
                weight = Initialiser.xavier_uniform(fan_in, fan_out, gain)
            case "lecun":
                weight = Initialiser.lecun_uniform(fan_in)
            case "default":
                weight = bias = Initialiser.torch_default(fan_in)
            case "zero":
                weight = bias
            case "orthogonal":
                weight = Initialiser.orthogonal_matrix(fan_in, fan_out, gain)
            case "sparse" | "sparse_layer":
                weight = replace(Initialiser.torch_default(fan_in), sparsity=SPARSITY, alike=scheme == "sparse_layer")
    return {"weight": weight, "bias": bias} if "bias" in shapes else {"weight": weight}


def check_variations(normalisation: Normalisation | None, dropout: float) -> None:
    """Refuse a normalisation that does not exist and a dropout outside [0, 1).

    Raises:
        SettingError: the dropout is no probability below 1.
        UnknownNameError: there is no such normalisation.
    """
    if not 0 <= dropout < 1:
        raise SettingError(f"dropout = {dropout}: the probability of dropping a unit must lie in [0, 1).")
    if normalisation is not None and normalisation not in get_args(Normalisation):
        raise UnknownNameError(normalisation, get_args(Normalisation), "normalisation")


def norm_of(normalisation: Normalisation, size: int, maps: bool = False) -> nn.Module:
    """The norm in front of an activation; layer norms go over a whole layer of an example.

    Args:
        normalisation: which.
        size: number of units, or of feature maps.
        maps: whether it follows a convolution of images.

    >>> norm_of("plain_layer", 5, maps=True)
    GroupNorm(1, 5, eps=1e-05, affine=False...)
    """
    if normalisation == "batch":
        return nn.BatchNorm2d(size) if maps else nn.BatchNorm1d(size)
    own = normalisation == "layer"
    return nn.GroupNorm(1, size, affine=own) if maps else nn.LayerNorm(size, elementwise_affine=own)


class InitialisedModule(nn.Module):
    """A module each of whose parameters is drawn from its recorded initialiser.

    Attributes:
        initialisers: for each parameter, by its name in the module, how it was drawn.
    """

    initialisers: dict[str, Initialiser]

    def reset_parameters(self) -> None:
        """Draw every parameter anew, from torch's global generator; running statistics begin anew too."""
        for name, parameter in self.named_parameters():
            self.initialisers[name].fill_(parameter)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.reset_running_stats()


class Layered(InitialisedModule):
    """Layers that the input goes through one after another.

    Attributes:
        layers: what the input goes through.
    """

    layers: nn.Sequential

    def __init__(self, layers: nn.Sequential, scheme: Scheme | Literal["zero"], gain: float):
        super().__init__()
        self.layers = layers
        self.initialisers = {}
        parametrised = [name for name, layer in layers.named_children() if next(layer.parameters(), None) is not None]
        for name in parametrised:
            # Nothing follows the output, so its gain is that of a linear layer, 1.
            layer_gain = 1.0 if name == parametrised[-1] else gain
            for parameter, initialiser in initialisers_of(layers.get_submodule(name), scheme, layer_gain).items():
                self.initialisers[f"layers.{name}.{parameter}"] = initialiser
        self.reset_parameters()

    def forward(self, x):
        """The output [batch, outputs] for inputs [batch, ...]."""
        return self.layers(x)

"""The paper's six activations, and the gain that keeps a signal's scale through each.

The gain g enters the weights' initial variance, g^2 / fan_in (He et al. 2015). The values are those of the authors of
the paper: sqrt(2) for the rectifiers - leaky ReLU without its correction for the slope, 1 / sqrt(1 + 0.01^2) - and also
for ELU and swish, which have no published gain; 5/3 for tanh and 1 for sigmoid, as in torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from neoteny.errors import UnknownNameError

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["ACTIVATIONS", "Activation", "activation"]


@dataclass(frozen=True)
class Activation:
    """An activation: what makes it in `torch.nn` and in `torch.nn.functional`, and its gain.

    Attributes:
        module_name: the class in `torch.nn`.
        function_name: the function in `torch.nn.functional`.
        gain: g of the initial variance g^2 / fan_in of the weights in front of it.
    """

    module_name: str
    function_name: str
    gain: float

    def module(self) -> nn.Module:
        """A new module that applies it."""
        from torch import nn

        return getattr(nn, self.module_name)()

    @property
    def function(self) -> Callable[[Tensor], Tensor]:
        """The function that applies it."""
        from torch.nn import functional

        return getattr(functional, self.function_name)


ACTIVATIONS: Mapping[str, Activation] = MappingProxyType(
    {
        "relu": Activation("ReLU", "relu", math.sqrt(2)),
        "leaky_relu": Activation("LeakyReLU", "leaky_relu", math.sqrt(2)),
        "elu": Activation("ELU", "elu", math.sqrt(2)),
        "tanh": Activation("Tanh", "tanh", 5 / 3),
        "sigmoid": Activation("Sigmoid", "sigmoid", 1.0),
        "swish": Activation("SiLU", "silu", math.sqrt(2)),
    }
)
"""Every activation, by name."""


def activation(name: str) -> Activation:
    """The activation of that name.

    Raises:
        UnknownNameError: nothing goes by that name.

    >>> activation("tanh").gain
    1.6666666666666667
    >>> activation("swish").module()
    SiLU()
    """
    if name not in ACTIVATIONS:
        raise UnknownNameError(name, ACTIVATIONS, "activation")
    return ACTIVATIONS[name]

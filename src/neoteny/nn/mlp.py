"""The paper's fully connected networks: 20-5-1 for regression, 784-2000-2000-2000-10 for permuted MNIST."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from neoteny.errors import SettingError
from neoteny.nn.activations import activation as find_activation
from neoteny.nn.initialised import Layered, Normalisation, Scheme, check_variations, norm_of

__all__ = ["MLP", "LinearNetwork", "UnitNorm"]


class UnitNorm(nn.Module):
    """x / |x|_2, of the last dimension; 0 stays 0, with a gradient of 0.

    >>> UnitNorm()(torch.tensor([[3.0, -4.0]]))
    tensor([[ 0.6000, -0.8000]])
    """

    def forward(self, x: Tensor) -> Tensor:
        """The normalised vectors."""
        square = x.square().sum(-1, keepdim=True)
        return x * torch.where(square > 1e-16, square.clamp_min(1e-16).rsqrt(), 0.0)


class MLP(Layered):
    """Linear layers with an activation after each but the last.

    Of hidden layer l: h_l = dropout(f(norm(W_l h_(l-1) + b_l))); the output is W h_L + b. As the authors do it, weights
    are Kaiming uniform, |w| <= g sqrt(3 / fan_in) with the activation's gain g for hidden layers and 1 for the output,
    and biases begin at 0.

    Args:
        inputs: number of inputs.
        hidden: the sizes of the hidden layers; none makes a linear network.
        outputs: number of outputs.
        activation: `relu`, `leaky_relu`, `elu`, `tanh`, `sigmoid` or `swish`.
        initialisation: `kaiming_uniform`, `xavier`, `lecun`, `default` (torch's, biases too), `sparse` or
            `sparse_layer`; see `neoteny.nn.initialised.Scheme`.
        normalisation: `layer`, `plain_layer` (without gain and shift) or `batch` puts that norm in front of every
            activation.
        dropout: the probability with which a hidden activation is dropped in training.
        unit_features: whether the last hidden layer is divided by its Euclidean norm.

    Shapes: inputs [batch, inputs], outputs [batch, outputs].

    Raises:
        SettingError: a size below 1, or a dropout outside [0, 1).
        UnknownNameError: an activation, initialisation or normalisation that does not exist.

    >>> MLP(20, [5], 1).layers
    Sequential(
      (0): Linear(in_features=20, out_features=5, bias=True)
      (1): ReLU()
      (2): Linear(in_features=5, out_features=1, bias=True)
    )

    Source: Dohare et al., Nature 632, 2024, Methods; the authors' public `lop/nets/ffnn.py` and `deep_ffnn.py`.
    """

    def __init__(
        self,
        inputs: int,
        hidden: Sequence[int],
        outputs: int,
        activation: str = "relu",
        initialisation: Scheme = "kaiming_uniform",
        normalisation: Normalisation | None = None,
        dropout: float = 0.0,
        unit_features: bool = False,
    ):
        sizes = [inputs, *hidden, outputs]
        if min(sizes) < 1:
            raise SettingError(f"A network of sizes {sizes} has an empty layer: every size must be at least 1.")
        check_variations(normalisation, dropout)
        nonlinearity = find_activation(activation)
        layers: list[nn.Module] = []
        for fan_in, size in pairwise(sizes[:-1]):
            layers.append(nn.Linear(fan_in, size))
            if normalisation is not None:
                layers.append(norm_of(normalisation, size))
            layers.append(nonlinearity.module())
            if dropout:
                layers.append(nn.Dropout(dropout))
        if unit_features:
            layers.append(UnitNorm())
        layers.append(nn.Linear(sizes[-2], outputs))
        super().__init__(nn.Sequential(*layers), initialisation, nonlinearity.gain)


class LinearNetwork(Layered):
    """One linear layer, W x + b, with |w| <= sqrt(3 / inputs) and b = 0 at first.

    It cannot lose plasticity, so it is the baseline that a deep network should stay above.

    Args:
        inputs: number of inputs.
        outputs: number of outputs.
        initialisation: as for `neoteny.nn.MLP`; or `zero`.
        bias: whether there is b.

    Shapes: inputs [batch, inputs] or what has as many numbers, such as images; outputs [batch, outputs].

    Raises:
        SettingError: a size below 1.

    >>> LinearNetwork(20, 1).initialisers["layers.0.bias"]
    Initialiser(kind='constant', scale=0.0)

    Source: Dohare et al., Nature 632, 2024, Extended Data Fig. 1; the authors' public `lop/nets/linear.py`.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        initialisation: Scheme | Literal["zero"] = "kaiming_uniform",
        bias: bool = True,
    ):
        if min(inputs, outputs) < 1:
            raise SettingError(f"A network of sizes {[inputs, outputs]} has an empty layer: sizes must be at least 1.")
        super().__init__(nn.Sequential(nn.Linear(inputs, outputs, bias)), initialisation, gain=1.0)

    def forward(self, x):
        """The output [batch, outputs] for inputs [batch, ...]."""
        return self.layers(x.flatten(1))

"""The linear network: the baseline that cannot lose plasticity, and the mark that a deep network should stay above."""

from __future__ import annotations

from torch import nn

from neoteny.errors import SettingError
from neoteny.nn.initialised import Layered, Scheme

__all__ = ["LinearNetwork"]


class LinearNetwork(Layered):
    """One linear layer, W x + b, with |w| <= sqrt(3 / inputs) and b = 0 at first.

    Args:
        inputs: number of inputs.
        outputs: number of outputs.
        initialisation: as for `neoteny.nn.MLP`.

    Shapes: inputs [batch, inputs] or what has as many numbers, such as images; outputs [batch, outputs].

    Raises:
        SettingError: a size below 1.

    >>> LinearNetwork(20, 1).initialisers["layers.0.bias"]
    Initialiser(kind='constant', scale=0.0)

    Source: Dohare et al., Nature 632, 2024, Extended Data Fig. 1; the authors' public `lop/nets/linear.py`.
    """

    def __init__(self, inputs: int, outputs: int, initialisation: Scheme = "kaiming_uniform"):
        if min(inputs, outputs) < 1:
            raise SettingError(f"A network of sizes {[inputs, outputs]} has an empty layer: sizes must be at least 1.")
        super().__init__(nn.Sequential(nn.Linear(inputs, outputs)), initialisation, gain=1.0)

    def forward(self, x):
        """The output [batch, outputs] for inputs [batch, ...]."""
        return self.layers(x.flatten(1))

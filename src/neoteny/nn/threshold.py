"""Linear threshold units: features that are there or not, which only a search can change.

A step function has no gradient, so gradient descent trains the output weights alone. Methods that replace units draw
new features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neoteny.errors import SettingError
from neoteny.nn.initialised import InitialisedModule
from neoteny.units.initialise import Initialiser

__all__ = ["Step", "ThresholdNetwork"]


class Step(nn.Module):
    """1 where x > threshold, else 0; its gradient is 0 everywhere.

    Args:
        threshold: of all units.

    >>> Step(2.0)(torch.tensor([1.0, 2.0, 3.0]))
    tensor([0., 0., 1.])
    """

    def __init__(self, threshold: float):
        super().__init__()
        self.threshold = threshold

    def forward(self, x: Tensor) -> Tensor:
        """Zeros and ones of the shape of x."""
        return torch.sign(x - self.threshold).relu()

    def extra_repr(self) -> str:
        """The threshold."""
        return f"threshold={self.threshold}"


class ThresholdNetwork(InitialisedModule):
    """A sum of linear threshold units of bits: y = sum_i v_i f_i(x) + b, with f_i(x) = [W_i x > beta m - S_i].

    W_i in {-1, +1}^m, and S_i is the number of -1 in it: f_i is 1 where more than a share beta of the m bits agree with
    the signs of W_i. With bits written as s = 2 x - 1 the threshold is the same for all units, W_i s > (2 beta - 1) m,
    and so it is computed. v and b begin at 0.

    Args:
        inputs: bits, m.
        features: threshold units.
        outputs: number of outputs.
        beta: share of the bits that must agree.

    Shapes: x [batch, inputs] of zeros and ones; outputs [batch, outputs].

    Raises:
        SettingError: a size below 1, or a share outside [0, 1].

    >>> ThresholdNetwork(20, 100, 1)(torch.ones(2, 20))
    tensor([[0.],
            [0.]], grad_fn=<AddmmBackward0>)

    Source: Mahmood & Sutton, "Representation search through generate and test", AAAI Workshops 2013.
    """

    def __init__(self, inputs: int, features: int, outputs: int, beta: float = 0.6):
        if min(inputs, features, outputs) < 1:
            raise SettingError(f"A network of sizes {[inputs, features, outputs]} has an empty layer.")
        if not 0 <= beta <= 1:
            raise SettingError(f"beta = {beta}: the share of bits that must agree must lie in [0, 1].")
        super().__init__()
        hidden = nn.Linear(inputs, features, bias=False)
        threshold = round((2 * beta - 1) * inputs, 9)  # 2 * 0.6 - 1 is a little less than 0.2, which exact ties show
        self.layers = nn.Sequential(hidden, Step(threshold), nn.Linear(features, outputs))
        zero = Initialiser("constant", 0.0)
        self.initialisers = {
            "layers.0.weight": Initialiser("sign", 1.0),
            "layers.2.weight": zero,
            "layers.2.bias": zero,
        }
        self.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """The sums."""
        return self.layers(2 * x - 1)

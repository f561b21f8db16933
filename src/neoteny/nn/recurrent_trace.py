"""Recurrent trace units: a memory whose exact gradient through all time costs no more than the weights.

Elelimy, White, Bowling & White, "Real-time recurrent learning using trace units in reinforcement learning", NeurIPS
2024. Each unit turns and shrinks a complex number of its own and adds what it sees, and reads no other unit. So the
derivative of a unit's state by its own weights can be carried forward in time as one complex number for each weight.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from neoteny.errors import SettingError
from neoteny.nn.activations import activation as find_activation
from neoteny.nn.initialised import InitialisedModule
from neoteny.units.initialise import Initialiser

__all__ = ["RecurrentTraceNetwork", "RecurrentTraceUnits"]

State = Mapping[str, Tensor]


class RecurrentTraceUnits(nn.Module):
    r"""h_t = r e^(i phi) h_(t-1) + sqrt(1 - r^2) W x_t, with r = exp(-exp(nu)) and phi = exp(theta), unit by unit.

    W is complex, so each unit has two numbers, Re h and Im h. The state also holds the sensitivities S = dh / dw of
    each unit to its own weights, which follow from lambda = r e^(i phi) alone:

        S <- lambda S + d lambda / dw h_(t-1) + d (sqrt(1 - r^2) W x_t) / dw

    The output depends on the weights through the present step and through S_(t-1). So its gradient is that of
    back-propagation through the whole history as long as weights stay, and is the usual one of real-time recurrent
    learning where they change. It takes 2 (inputs + 2) numbers a unit and as many operations a step.

    Args:
        inputs: number of inputs.
        units: number of units.

    Shapes: x [B, inputs], output [B, 2 units], all Re h before all Im h. The state, one history for each example, real
    and imaginary parts in dimension 1: `h` [B, 2, units] and `sensitivity` [B, 2, units, inputs + 2], to W, nu, theta.

    >>> layer = RecurrentTraceUnits(3, 4)
    >>> h, state = layer(torch.ones(1, 3), layer.state(1))
    >>> h.shape, state["sensitivity"].shape
    (torch.Size([1, 8]), torch.Size([1, 2, 4, 5]))
    """

    def __init__(self, inputs: int, units: int):
        super().__init__()
        if min(inputs, units) < 1:
            raise SettingError(f"inputs = {inputs}, units = {units}: both must be at least 1.")
        self.inputs, self.units = inputs, units
        self.nu, self.theta = nn.Parameter(torch.zeros(units)), nn.Parameter(torch.zeros(units))
        self.input = nn.Linear(inputs, 2 * units, bias=False)

    def state(self, examples: int) -> dict[str, Tensor]:
        """The state before the first step."""
        shapes = {"h": (2, self.units), "sensitivity": (2, self.units, self.inputs + 2)}
        return {name: self.nu.new_zeros(examples, *shape) for name, shape in shapes.items()}

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, dict[str, Tensor]]:
        """The output, and the state after the step, through which no gradient flows."""
        weights = self._weights()
        rate, turn = self.nu.exp(), self.theta.exp()
        size, gain = (-rate).exp(), (-torch.expm1(-2 * rate)).sqrt()
        cos, sin = size * turn.cos(), size * turn.sin()
        # numerically 0: it carries the derivative of the state by the weights of all earlier steps
        earlier = _times(state["sensitivity"], weights - weights.detach()).sum(-1)
        kept = _turned(state["h"] + earlier, cos, sin)
        drive = self.input(x).unflatten(-1, (2, self.units))
        h = kept + gain * drive
        with torch.no_grad():
            along_nu = (size * size * rate / gain) * drive - rate * kept
            along_theta = turn * torch.stack([-kept[:, 1], kept[:, 0]], 1)
            seen = gain[:, None] * x[:, None]
            along_weights = torch.stack([seen, torch.zeros_like(seen)], 1)
            new = torch.cat([along_weights, along_nu[..., None], along_theta[..., None]], -1)
            after = {"h": h, "sensitivity": _turned(state["sensitivity"], cos[:, None], sin[:, None]) + new}
        return h.flatten(1), {name: value.detach() for name, value in after.items()}

    def _weights(self) -> Tensor:
        """W, nu and theta as complex numbers, [2, units, inputs + 2]: the sensitivities are to these."""
        real = torch.stack([self.nu, self.theta], -1)
        others = torch.stack([real, torch.zeros_like(real)])
        return torch.cat([self.input.weight.unflatten(0, (2, self.units)), others], -1)


def _turned(z: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Lambda z, real and imaginary parts in dimension 1."""
    re, im = z.unbind(1)
    return torch.stack([cos * re - sin * im, cos * im + sin * re], 1)


def _times(s: Tensor, w: Tensor) -> Tensor:
    """S w of complex numbers, [B, 2, units, n] and [2, units, n]."""
    return torch.stack([s[:, 0] * w[0] - s[:, 1] * w[1], s[:, 0] * w[1] + s[:, 1] * w[0]], 1)


class RecurrentTraceNetwork(InitialisedModule):
    """A layer of recurrent trace units, an activation, and a linear output: W f([Re h, Im h]) + b.

    At first log(-log r) is normal about that of r = 0.9 with deviation 1, so that most units remember between 3 and 60
    steps; log phi likewise about 0.3; weights are as `lecun`, and the output begins at 0.

    Args:
        inputs: number of inputs.
        units: of the layer.
        outputs: number of outputs.
        activation: as for `neoteny.nn.MLP`.

    Shapes: x [B, inputs], outputs [B, outputs]. Given a state as well (`layer.state(B)`), it gives the outputs and the
    state after the step; without one it begins with nothing remembered, and gives the outputs alone.

    Raises:
        SettingError: a size below 1.

    >>> network = RecurrentTraceNetwork(12, 8, 1)
    >>> network(torch.ones(2, 12)).shape
    torch.Size([2, 1])
    """

    def __init__(self, inputs: int, units: int, outputs: int, activation: str = "relu"):
        super().__init__()
        if outputs < 1:
            raise SettingError(f"outputs = {outputs}: a network needs at least one output.")
        self.layer = RecurrentTraceUnits(inputs, units)
        self.activation = find_activation(activation).module()
        self.output = nn.Linear(2 * units, outputs)
        nothing = Initialiser("constant", 0.0)
        self.initialisers = {
            "layer.nu": Initialiser("normal", 1.0, mean=math.log(-math.log(0.9))),
            "layer.theta": Initialiser("normal", 1.0, mean=math.log(0.3)),
            "layer.input.weight": Initialiser.lecun_uniform(inputs),
            "output.weight": nothing,
            "output.bias": nothing,
        }
        self.reset_parameters()

    def forward(self, x: Tensor, state: State | None = None) -> Any:
        """The outputs, and the state after the step where one is given."""
        h, after = self.layer(x, self.layer.state(len(x)) if state is None else state)
        outputs = self.output(self.activation(h))
        return outputs if state is None else (outputs, after)

"""Muon (Jordan et al. 2024): momentum with all singular values near one for hidden matrices, Adam for the rest.

A few directions dominate the gradient of a weight matrix. Muon makes steps of the same size in all directions: it
replaces the momentum U S V^T by approximately U V^T, which five iterations of a matrix polynomial of degree five give.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from neoteny.checks import is_number, require, require_count, require_nonnegative, require_positive
from neoteny.optim.adam import Adam, require_betas
from neoteny.optim.base import Counts, Optimizer

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Muon", "orthogonalised"]

Tensors = dict[str, "Tensor"]

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""a, b, c of the polynomial: as steep at 0 as possible, so that few iterations raise small singular values."""


@dataclass(frozen=True, kw_only=True)
class Muon(Optimizer):
    """m <- b m + (1-b) g; theta <- theta - alpha sqrt(max(1, rows/columns)) NS5((1-b) g + b m), of hidden matrices.

    Hidden matrices are all parameters of two or more dimensions except the network's first and last, in the order of
    its parameters; kernels of convolutions count as matrices with one row for each map. Adam trains biases, gains and
    the weights of the input and output layers, with step size `rest * alpha`. So it trains all of a network with one
    hidden layer.

    The iteration runs in the gradient's own precision; the authors' code and torch's run it in bfloat16, which changes
    single entries by a few thousandths of the largest.

    Args:
        step_size: alpha; the authors take 0.02.
        momentum: b in [0, 1).
        iterations: of the polynomial; 5 leave singular values between about 0.7 and 1.2.
        rest: step size of Adam as a multiple of alpha; the authors' 3e-4 beside 0.02.
        betas: Adam's b1, b2; the authors have (0.9, 0.95).
        eps: Adam's.

    >>> import torch
    >>> muon = Muon(step_size=0.1, momentum=0.0)
    >>> tensors = {name: torch.zeros(2, 2) for name in ("first", "hidden", "last")}
    >>> grads = {name: torch.tensor([[9.0, 0.0], [0.0, 3.0]]) for name in tensors}
    >>> muon.update(tensors, grads, muon.init(tensors), {name: torch.tensor(1) for name in tensors})
    >>> tensors["hidden"].diagonal()  # gradients of different size, steps of about the same size
    tensor([-0.0753, -0.1134])

    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks",
    https://kellerjordan.github.io/posts/muon, 2024; decoupled weight decay is the method `L2`.
    """

    step_size: float = 0.02
    momentum: float = 0.95
    iterations: int = 5
    rest: float = 0.015
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    name: ClassVar[str] = "muon"
    counts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        require(self, "momentum", is_number(self.momentum) and 0 <= self.momentum < 1, "a number in [0, 1)")
        require_positive(self, "rest")
        require_count(self, "iterations", least=1)
        require_betas(self)
        require_nonnegative(self, "eps")

    def init(self, tensors: Tensors) -> dict[str, Tensors]:
        """Momentum of hidden matrices, Adam's averages of the others, and `step`, the updates so far, int32 `[]`."""
        state, matrices = Adam().init(tensors), hidden_matrices(tensors)
        for name in matrices:
            state[name] = {"momentum_buffer": tensors[name] * 0, "step": state[name]["step"]}
        return state

    def update(
        self,
        tensors: Tensors,
        grads: Tensors,
        optim: dict[str, Tensors],
        count: Counts,
        signals: Mapping[str, Tensor] | None = None,
    ) -> None:
        """One update."""
        matrices = [name for name in grads if "momentum_buffer" in optim[name]]
        for name in matrices:
            gradient = grads[name]
            m = optim[name]["momentum_buffer"] * self.momentum + gradient * (1 - self.momentum)
            optim[name] = {"momentum_buffer": m, "step": optim[name]["step"] + 1}
            direction = (gradient * (1 - self.momentum) + m * self.momentum).flatten(1)
            rows, columns = direction.shape
            length = math.sqrt(max(1.0, rows / columns))
            change = orthogonalised(direction, self.iterations).reshape(gradient.shape)
            tensors[name] = tensors[name] - self.step_size * length * change
        others = {name: gradient for name, gradient in grads.items() if name not in matrices}
        adam = Adam(betas=self.betas, eps=self.eps).bind({"step_size": self.step_size * self.rest})
        adam.update(tensors, others, optim, count)


def hidden_matrices(tensors: Mapping[str, Tensor]) -> list[str]:
    """The names of the parameters of two or more dimensions, without the first and the last.

    >>> import torch
    >>> hidden_matrices({name: torch.zeros(3, 3) for name in "abcd"} | {"bias": torch.zeros(3)})
    ['b', 'c']
    """
    return [name for name, value in tensors.items() if value.dim() >= 2][1:-1]


def orthogonalised(matrix: Tensor, iterations: int = 5) -> Tensor:
    """Approximately U V^T of a matrix U S V^T: X <- a X + (b X X^T + c (X X^T)^2) X, from X = matrix / |matrix|.

    Singular values that are not tiny compared with the largest become about 0.7 to 1.2.

    >>> import torch
    >>> values = torch.linalg.svdvals(orthogonalised(torch.diag(torch.tensor([1.0, 0.5, 0.1]))))
    >>> bool((0.65 < values).all() and (values < 1.25).all())
    True
    """
    a, b, c = COEFFICIENTS
    tall = matrix.shape[-2] > matrix.shape[-1]
    x = matrix.mT if tall else matrix
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.mT if tall else x

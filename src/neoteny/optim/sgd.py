"""Stochastic gradient descent, with heavy-ball momentum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from neoteny.checks import is_number, require
from neoteny.optim.base import Counts, Optimizer

if TYPE_CHECKING:
    from torch import Tensor

Tensors = dict[str, "Tensor"]


@dataclass(frozen=True, kw_only=True)
class SGD(Optimizer):
    """v <- beta v + g; theta <- theta - alpha v (torch's convention: alpha is outside of the momentum).

    Args:
        step_size: alpha.
        momentum: beta in [0, 1); 0 keeps no state.

    >>> import torch
    >>> sgd, tensors = SGD(step_size=0.5), {"w": torch.tensor([1.0])}
    >>> sgd.update(tensors, {"w": torch.tensor([1.0])}, sgd.init(tensors), {})
    >>> tensors["w"]
    tensor([0.5000])
    """

    momentum: float = 0.0
    name: ClassVar[str] = "sgd"

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        require(self, "momentum", is_number(self.momentum) and 0 <= self.momentum < 1, "a number in [0, 1)")

    def init(self, tensors: Tensors) -> dict[str, Tensors]:
        """The momentum of each parameter, if momentum is used."""
        return {name: {"momentum_buffer": value * 0} if self.momentum else {} for name, value in tensors.items()}

    def update(
        self,
        tensors: Tensors,
        grads: Tensors,
        optim: dict[str, Tensors],
        count: Counts,
        signals: Mapping[str, Tensor] | None = None,
    ) -> None:
        """One update."""
        for name, gradient in grads.items():
            if self.momentum:
                gradient = optim[name]["momentum_buffer"] * self.momentum + gradient
                optim[name] = {"momentum_buffer": gradient}
            tensors[name] = tensors[name] - self.step_size * gradient

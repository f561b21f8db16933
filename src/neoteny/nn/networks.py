"""Several networks of one learner as one module: an actor and its critic, with or without layers in common."""

from __future__ import annotations

from typing import Any

from torch import nn

__all__ = ["Networks"]


class Networks(nn.ModuleDict):
    """Networks by name; `forward` calls one of them.

    They may share modules (an encoder in an actor and in a critic): such parameters are trained and saved once.

    Args:
        modules: the networks by name.

    >>> import torch
    >>> both = Networks({"actor": nn.Linear(3, 2), "critic": nn.Linear(3, 1)})
    >>> both("critic", torch.zeros(5, 3)).shape
    torch.Size([5, 1])
    """

    def forward(self, network: str, *inputs: Any) -> Any:
        """The outputs of the network of that name."""
        return self[network](*inputs)

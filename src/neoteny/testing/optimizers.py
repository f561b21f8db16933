"""The optimizers that methods ride on in the checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

__all__ = ["OPTIMIZERS", "OptimizerCase"]


@dataclass(frozen=True)
class OptimizerCase:
    """An optimizer that methods are tried on.

    Args:
        name: what reports call it.
        make: builds it from a network's parameters.
        closure: whether its step needs a closure.
    """

    name: str
    make: Callable[[list[nn.Parameter]], torch.optim.Optimizer]
    closure: bool = False


def _two_groups(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Step sizes and betas differ between the halves of a network."""
    half = len(parameters) // 2
    first, second = parameters[:half], parameters[half:]
    return torch.optim.Adam([{"params": first, "lr": 3e-3, "betas": (0.8, 0.99)}, {"params": second}], lr=0.01)


OPTIMIZERS = {
    optimizer.name: optimizer
    for optimizer in (
        OptimizerCase("adam", lambda p: torch.optim.Adam(p, 0.01)),
        OptimizerCase("momentum", lambda p: torch.optim.SGD(p, 0.02, momentum=0.9)),
        OptimizerCase("sgd", lambda p: torch.optim.SGD(p, 0.05)),
        OptimizerCase("adamw", lambda p: torch.optim.AdamW(p, 0.01, foreach=False)),
        OptimizerCase("adamw-foreach", lambda p: torch.optim.AdamW(p, 0.01, foreach=True)),
        OptimizerCase("rmsprop", lambda p: torch.optim.RMSprop(p, 1e-3, momentum=0.5)),
        OptimizerCase("adagrad", lambda p: torch.optim.Adagrad(p, 0.05, initial_accumulator_value=0.1)),
        OptimizerCase("lbfgs", lambda p: torch.optim.LBFGS(p, 0.1, max_iter=2), closure=True),
        OptimizerCase("two-groups", _two_groups),
    )
}
"""The optimizers of the contract suite, by name."""

"""Ways of training R independent runs, chosen by measurement; equal results."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from neoteny.lab.strategies.base import Strategy
from neoteny.lab.strategies.loop import Loop
from neoteny.lab.strategies.stack import Stack
from neoteny.methods.base import Method
from neoteny.optim.base import Optimizer
from neoteny.units.records import Network

STRATEGIES: dict[str, type[Strategy]] = {"stack": Stack, "loop": Loop}

STACK_BYTES = 2**18
"""Parameters of a whole stack up to this size fit into a core's cache beside their gradients."""


def choose(
    module: nn.Module,
    network: Network,
    optimizer: Optimizer,
    example: Tensor,
    runs: int,
    loss: str,
    device: torch.device,
    methods: Sequence[Method],
) -> type[Strategy]:
    """The strategy that was fastest where it was measured (`make bench`).

    A GPU stacks everything. On a CPU a stack pays while it fits into the cache: there the number of calls decides.
    Convolutions and larger networks go one run after the other.
    """
    size = 4 * sum(parameter.numel() for parameter in module.parameters())
    if device.type != "cpu" or runs * size <= STACK_BYTES:
        return Stack
    return Loop


__all__ = ["STRATEGIES", "Loop", "Stack", "Strategy", "choose"]

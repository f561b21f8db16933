"""All runs as one stacked model: parameters `[runs, ...]`, `torch.func.vmap` over the step.

For GPUs, and for networks so small that the number of calls decides the speed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch

from neoteny.lab.objective import Batch
from neoteny.lab.step import Carry
from neoteny.lab.strategies.base import Due, Strategy


class Stack(Strategy):
    """One call advances all runs by one unrolled graph of steps."""

    name: ClassVar[str] = "stack"
    steps_dim: ClassVar[int] = 1

    def load(self, carry: Carry) -> None:
        """Take over a carry of all runs."""
        self._carry = carry

    def carry(self) -> Carry:
        """The carry of all runs."""
        return self._carry

    def mapped(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function over all runs at once."""
        return torch.func.vmap(function)

    @torch.no_grad()
    def advance(self, batches: Batch, due: Due) -> None:
        """Train on batches, a pytree of tensors `[R, S, B, ...]`."""
        self._carry = self.run(self._carry, self.hyper, self.keys, batches, due)

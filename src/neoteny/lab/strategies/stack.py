"""All runs as one stacked model: parameters `[runs, ...]`, `torch.func.vmap` over the step.

For networks so small that the number of calls decides, and for GPUs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from neoteny.lab.step import Carry
from neoteny.lab.strategies.base import Due, Strategy


class Stack(Strategy):
    """One call advances all runs by one unrolled graph of steps."""

    name: ClassVar[str] = "stack"
    steps_dim: ClassVar[int] = 1

    def load(self, carry: Carry) -> None:
        self._carry = carry

    def carry(self) -> Carry:
        return self._carry

    def mapped(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return torch.func.vmap(function)

    @torch.no_grad()
    def advance(self, x: Tensor, y: Tensor, due: Due) -> None:
        self._carry = self.run(self._carry, self.hyper, self.keys, x, y, due)
